// Package dynamo speaks the DynamoDB API: JSON 1.0 over HTTP, with the operations, checks, messages and limits of the service, so
// that any AWS SDK works unchanged. It decodes and checks requests, makes commands of those that write, and reads for the others;
// what keeps the tables is behind the Store that it declares.
//
// An API has no goroutines of its own; Server has those of its connections.
package dynamo

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// Store is what the API needs of what keeps the tables.
type Store interface {
	// Table returns the description of a table, nil if there is none; Tables all of them.
	Table(name string) *shard.Table
	Tables() []*shard.Table
	// Now is the clock in milliseconds.
	Now() int64
	// Write carries writes out and returns the result once it is durable.
	Write(ctx context.Context, w *shard.Writes) (*shard.Result, error)
	// Read returns where the data keys from lower up to upper may be read, which lie in one home; with a nil upper, the one at lower.
	Read(ctx context.Context, lower, upper []byte, consistent bool) (pebble.Reader, error)
	// Together reads several items as of one instant: the outcomes' Old of checks that want it.
	Together(ctx context.Context, checks []shard.Write) (*shard.Result, error)
	// Durable waits until what was read is; with no key, whatever was.
	Durable(ctx context.Context, key []byte) error
	// Define and Drop change tables.
	Define(ctx context.Context, t *shard.Table) (*shard.Result, error)
	Drop(ctx context.Context, t *shard.Table) (*shard.Result, error)
	// DiskUsage is about how many bytes a range of keys takes.
	DiskUsage(lower, upper []byte) (uint64, error)
}

// Config of an API.
type Config struct {
	Store Store
	// Region that ARNs name. Default us-east-1.
	Region string
	// Users may sign requests: secrets by access key. Empty: requests are not checked.
	Users map[string]string
	// Overloaded says that an error of the Store means that the client is to slow down. Default: none does.
	Overloaded func(error) bool
	// Unavailable says that an error of the Store means that nothing was done, for it can't be at present. Default: none does.
	Unavailable func(error) bool
	// Operations beside those of DynamoDB, by target: parameters and answer are JSON. Default: none.
	Operations map[string]func(ctx context.Context, in []byte) (out []byte, err error)
	// Now is the clock that signatures are checked by. Default: time.Now.
	Now func() time.Time
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// API answers requests.
type API struct {
	cfg         Config
	store       Store
	conditions  parsed[*expr.Node]
	updates     parsed[*expr.Update]
	projections parsed[[]expr.Path]
	operations  map[string]operation
	signatures  signatures
	counters    map[string]*operationCounter
	iterators   iterators
	dates       dates
	meters      meters
	requests    sync.Pool // of *request
}

// operation answers the parameters in r, and appends the answer to out.
type operation func(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error)

// New makes an API.
func New(cfg Config) *API {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, store: cfg.Store, counters: map[string]*operationCounter{}}
	a.conditions.parse, a.updates.parse, a.projections.parse = expr.ParseCondition, expr.ParseUpdate, expr.ParseProjection
	a.operations = map[string]operation{}
	for name, op := range map[string]operation{
		"GetItem": a.onItem(reads, a.getItem), "PutItem": a.onItem(writes, a.putItem), "UpdateItem": a.onItem(writes, a.updateItem), "DeleteItem": a.onItem(writes, a.deleteItem),
		"Query": a.onItem(reads, a.query), "Scan": a.onItem(reads, a.scan),
		"BatchGetItem": a.batchGetItem, "BatchWriteItem": a.batchWriteItem, "TransactGetItems": a.transactGetItems, "TransactWriteItems": a.transactWriteItems,
		"CreateTable": a.createTable, "DescribeTable": a.describeTable, "UpdateTable": a.updateTable, "DeleteTable": a.deleteTable, "ListTables": a.listTables,
		"TagResource": a.tagResource, "UntagResource": a.untagResource, "ListTagsOfResource": a.listTagsOfResource,
		"DescribeLimits": a.describeLimits, "DescribeEndpoints": a.describeEndpoints,
		"UpdateTimeToLive": a.updateTimeToLive, "DescribeTimeToLive": a.describeTimeToLive,
		"DescribeContinuousBackups": a.describeContinuousBackups,
	} {
		a.operations["DynamoDB_20120810."+name] = op
		a.counters["DynamoDB_20120810."+name] = &operationCounter{name: name}
	}
	for name, op := range map[string]operation{
		"ListStreams": a.listStreams, "DescribeStream": a.describeStream, "GetShardIterator": a.getShardIterator, "GetRecords": a.getRecords,
	} {
		a.operations["DynamoDBStreams_20120810."+name] = op
		a.counters["DynamoDBStreams_20120810."+name] = &operationCounter{name: name}
	}
	for target := range cfg.Operations {
		_, name, _ := strings.Cut(target, ".")
		a.counters[target] = &operationCounter{name: name}
	}
	a.requests.New = func() any { return new(request) }
	a.iterators.init()
	a.meters.cpu.Every = cpuEvery
	return a
}

// notBuilt are operations of DynamoDB that are not here, which the answer then says.
var notBuilt = []string{
	"BatchExecuteStatement", "CreateBackup", "CreateGlobalTable", "DeleteBackup", "DeleteResourcePolicy", "DescribeBackup", "DescribeContributorInsights",
	"DescribeExport", "DescribeGlobalTable", "DescribeGlobalTableSettings", "DescribeImport", "DescribeKinesisStreamingDestination",
	"DescribeTableReplicaAutoScaling", "DisableKinesisStreamingDestination", "EnableKinesisStreamingDestination", "ExecuteStatement", "ExecuteTransaction",
	"ExportTableToPointInTime", "GetResourcePolicy", "ImportTable", "ListBackups", "ListContributorInsights", "ListExports", "ListGlobalTables",
	"ListImports", "PutResourcePolicy", "RestoreTableFromBackup", "RestoreTableToPointInTime", "UpdateContinuousBackups",
	"UpdateContributorInsights", "UpdateGlobalTable", "UpdateGlobalTableSettings", "UpdateKinesisStreamingDestination", "UpdateTableReplicaAutoScaling",
}

// Answer carries out the operation that a target names and appends the answer, or the error, to out. status is HTTP's.
func (a *API) Answer(ctx context.Context, target string, body, out []byte) (status int, answer []byte) {
	start := len(out)
	counter := a.counters[target]
	out, err := a.carryOut(ctx, target, body, out)
	if err == nil {
		counter.done(nil)
		return 200, out
	}
	e, ok := a.asError(err)
	if !ok {
		a.cfg.Log.Error("a request to the tables failed", "operation", target, "error", err)
	}
	if counter != nil {
		counter.done(e)
	}
	return e.status(), e.append(out[:start])
}

func (a *API) carryOut(ctx context.Context, target string, body, out []byte) (answer []byte, err error) {
	defer func() { // so that a mistake of ours fails one request, not all
		if p := recover(); p != nil {
			answer, err = out, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if other, ok := a.cfg.Operations[target]; ok {
		b, err := other(ctx, body)
		return append(out, b...), err
	}
	op, ok := a.operations[target]
	if !ok {
		_, name, _ := strings.Cut(target, ".")
		e := &Error{Code: "UnknownOperationException"}
		if slices.Contains(notBuilt, name) {
			e.Message = "The operation " + name + " is not supported by these tables"
		}
		return out, e
	}
	if len(body) == 0 {
		return out, &wire.SyntaxError{}
	}
	return op(ctx, wire.NewReader(body), out)
}

// The kinds of operations on items.
const (
	reads  = false
	writes = true
)

// onItem is an operation whose parameters are a request.
func (a *API) onItem(write bool, f func(ctx context.Context, q *request, out []byte) ([]byte, error)) operation {
	return func(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
		q := a.requests.Get().(*request)
		defer func() {
			*q = request{} // what it held is the connection's
			a.requests.Put(q)
		}()
		if err := decodeRequest(r, q); err != nil {
			return out, err
		}
		if err := r.End(); err != nil {
			return out, err
		}
		a.noteItem(ctx, write, q)
		return f(ctx, q, out)
	}
}

// find returns a request's table, and the index that it names, if it does.
func (a *API) find(q *request) (*shard.Table, *shard.Index, error) {
	t := a.store.Table(q.table.s)
	if t == nil {
		return nil, nil, errNoTable
	}
	if !q.index.set {
		return t, nil, nil
	}
	x := t.Index(q.index.s)
	if x == nil {
		return nil, nil, invalidf("The table does not have the specified index: %s", q.index.s)
	}
	if x.Backfilling {
		return nil, nil, invalidf("Cannot read from backfilling global secondary index: %s", x.Name)
	}
	return t, x, nil
}

// Region that ARNs name.
func (a *API) Region() string { return a.cfg.Region }
