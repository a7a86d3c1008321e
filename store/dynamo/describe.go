package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// account that ARNs name, as DynamoDB Local's do.
const account = "000000000000"

func (a *API) arn(t *shard.Table) string {
	return "arn:aws:dynamodb:" + a.cfg.Region + ":" + account + ":table/" + t.Name
}

func (a *API) streamARN(t *shard.Table, s *shard.Stream) string {
	return a.arn(t) + "/stream/" + s.Label
}

// Descriptions on the wire, in the order of DynamoDB's.
type (
	keyOut struct {
		AttributeName, KeyType string
	}
	attributeOut struct {
		AttributeName, AttributeType string
	}
	throughputOut struct {
		NumberOfDecreasesToday                int
		ReadCapacityUnits, WriteCapacityUnits int64
	}
	projectionOut struct {
		ProjectionType   string
		NonKeyAttributes []string `json:",omitempty"`
	}
	indexOut struct {
		IndexName             string
		KeySchema             []keyOut
		Projection            projectionOut
		IndexStatus           string         `json:",omitempty"`
		Backfilling           *bool          `json:",omitempty"`
		ProvisionedThroughput *throughputOut `json:",omitempty"`
		IndexSizeBytes        uint64
		ItemCount             int64
		IndexArn              string
	}
	tableOut struct {
		AttributeDefinitions      []attributeOut
		TableName                 string
		KeySchema                 []keyOut
		TableStatus               string
		CreationDateTime          float64
		ProvisionedThroughput     throughputOut
		TableSizeBytes            uint64
		ItemCount                 int64
		TableArn                  string
		TableId                   string
		BillingModeSummary        map[string]any `json:",omitempty"`
		LocalSecondaryIndexes     []indexOut     `json:",omitempty"`
		GlobalSecondaryIndexes    []indexOut     `json:",omitempty"`
		StreamSpecification       map[string]any `json:",omitempty"`
		LatestStreamLabel         string         `json:",omitempty"`
		LatestStreamArn           string         `json:",omitempty"`
		TableClassSummary         map[string]any `json:",omitempty"`
		DeletionProtectionEnabled bool
	}
)

func keySchema(k shard.Key) []keyOut {
	out := []keyOut{{k.Hash.Name, "HASH"}}
	if k.Range.Kind != attr.None {
		out = append(out, keyOut{k.Range.Name, "RANGE"})
	}
	return out
}

// appendDescription appends the description of a table and closes the object around it. With sizes, items are counted.
func (a *API) appendDescription(out []byte, t *shard.Table, status string, sizes bool) ([]byte, error) {
	d := tableOut{
		TableName: t.Name, KeySchema: keySchema(t.Key), TableStatus: status, CreationDateTime: float64(t.Created) / 1000, TableArn: a.arn(t), TableId: t.UUID,
		ProvisionedThroughput:     throughputOut{ReadCapacityUnits: t.Throughput.Read, WriteCapacityUnits: t.Throughput.Write},
		DeletionProtectionEnabled: t.Protected,
	}
	for _, k := range t.Attributes {
		d.AttributeDefinitions = append(d.AttributeDefinitions, attributeOut{k.Name, k.Kind.String()})
	}
	if t.OnDemand {
		d.BillingModeSummary = map[string]any{"BillingMode": "PAY_PER_REQUEST", "LastUpdateToPayPerRequestDateTime": float64(t.Created) / 1000}
	}
	if t.Class != "" {
		d.TableClassSummary = map[string]any{"TableClass": t.Class}
	}
	for i := range t.Streams {
		s := &t.Streams[i]
		d.LatestStreamLabel, d.LatestStreamArn = s.Label, a.streamARN(t, s)
		if s.Ended == 0 {
			d.StreamSpecification = map[string]any{"StreamEnabled": true, "StreamViewType": s.View}
		}
	}
	var err error
	if sizes {
		if d.ItemCount, d.TableSizeBytes, err = a.measure(t, nil); err != nil {
			return out, err
		}
	}
	for i := range t.Indexes {
		x, err := a.describeIndex(t, &t.Indexes[i], status, sizes)
		if err != nil {
			return out, err
		}
		if t.Indexes[i].Local {
			d.LocalSecondaryIndexes = append(d.LocalSecondaryIndexes, x)
		} else {
			d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, x)
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		return out, err
	}
	return append(append(out, b...), '}'), nil
}

func (a *API) describeIndex(t *shard.Table, x *shard.Index, status string, sizes bool) (d indexOut, err error) {
	d = indexOut{IndexName: x.Name, KeySchema: keySchema(x.Key), Projection: projectionOut{x.Projection, x.Include}, IndexArn: a.arn(t) + "/index/" + x.Name}
	if sizes {
		if d.ItemCount, d.IndexSizeBytes, err = a.measure(t, x); err != nil {
			return d, err
		}
	}
	if x.Local {
		return d, nil
	}
	d.ProvisionedThroughput = &throughputOut{ReadCapacityUnits: x.Throughput.Read, WriteCapacityUnits: x.Throughput.Write}
	switch d.IndexStatus = "ACTIVE"; {
	case status == "CREATING" || status == "DELETING":
		d.IndexStatus = status
	case x.Backfilling:
		yes := true
		d.IndexStatus, d.Backfilling = "CREATING", &yes
	}
	return d, nil
}

// countedItems are counted one by one; what is more is estimated from their mean size.
const countedItems = 20_000

// measure counts the items of a table or index, and their bytes. Beyond countedItems both are estimates.
func (a *API) measure(t *shard.Table, x *shard.Index) (items int64, bytes uint64, err error) {
	spans := t.Spans(x)
	stored := uint64(0)
	for i, span := range spans {
		last, err := a.count(span, &items, &bytes, &stored)
		if err != nil {
			return 0, 0, err
		}
		if last == nil {
			continue
		}
		rest, err := a.store.DiskUsage(last, span.Upper)
		for _, other := range spans[i+1:] {
			n, e := a.store.DiskUsage(other.Lower, other.Upper)
			rest, err = rest+n, errors.Join(err, e)
		}
		factor := 1 + float64(rest)/float64(stored)
		return int64(float64(items) * factor), uint64(float64(bytes) * factor), err
	}
	return items, bytes, nil
}

// count adds the items of a span, and returns the key at which it had counted enough; nil: at the end.
func (a *API) count(s shard.Span, items *int64, bytes, stored *uint64) (last []byte, err error) {
	r, err := a.store.Read(context.Background(), s.Lower, s.Upper, false)
	if err != nil {
		return nil, err
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: s.Lower, UpperBound: s.Upper})
	if err != nil {
		return nil, err
	}
	for more := it.First(); more; more = it.Next() {
		if *items >= countedItems {
			last = slices.Clone(it.Key())
			break
		}
		n, err := attr.EncodedSize(it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		*items++
		*bytes += uint64(n)
		*stored += uint64(len(it.Key()) + len(it.Value()))
	}
	return last, it.Close()
}

// resource finds the table that an ARN names.
func (a *API) resource(arn *string) (string, error) {
	var c constraints
	c.notNull(arn != nil, "resourceArn")
	if err := c.err(); err != nil {
		return "", err
	}
	name := tableName(*arn)
	if name == *arn {
		return "", invalidf("Invalid TableArn: Invalid ResourceArn provided as input %s", *arn)
	}
	if t := a.store.Table(name); t == nil || a.arn(t) != *arn {
		return "", &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: ResourcArn: " + *arn + " not found"}
	}
	return name, nil
}

func (a *API) tagResource(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		ResourceArn *string
		Tags        []tag
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	name, err := a.resource(in.ResourceArn)
	if err != nil {
		return out, err
	}
	if len(in.Tags) == 0 {
		return out, invalidf("Atleast one Tag needs to be provided as Input.")
	}
	_, err = a.change(ctx, name, func(t *shard.Table) error { return addTags(t, in.Tags) })
	return out, err
}

// addTags adds tags to a table's; there are 50 at most.
func addTags(t *shard.Table, tags []tag) error {
	for _, g := range tags {
		var c constraints
		c.notNull(g.Key != nil, "tags.member.key")
		c.notNull(g.Value != nil, "tags.member.value")
		if err := c.err(); err != nil {
			return err
		}
		if n := len(*g.Key); n < 1 || n > 128 || len(*g.Value) > 256 || strings.HasPrefix(*g.Key, "aws:") {
			return invalidf("Tag key or value is not valid: %s", *g.Key)
		}
		t.Tags[*g.Key] = *g.Value
	}
	if len(t.Tags) > 50 {
		return invalidf("Too many tags: a resource may have 50 at most")
	}
	return nil
}

func (a *API) untagResource(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		ResourceArn *string
		TagKeys     []string
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	name, err := a.resource(in.ResourceArn)
	if err != nil {
		return out, err
	}
	if len(in.TagKeys) == 0 {
		return out, invalidf("Atleast one Tag Key needs to be provided as Input.")
	}
	_, err = a.change(ctx, name, func(t *shard.Table) error {
		for _, k := range in.TagKeys {
			delete(t.Tags, k)
		}
		return nil
	})
	return out, err
}

func (a *API) listTagsOfResource(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct{ ResourceArn, NextToken *string }
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	name, err := a.resource(in.ResourceArn)
	if err != nil {
		return out, err
	}
	t := a.store.Table(name)
	if t == nil {
		return out, noTable(name)
	}
	keys := make([]string, 0, len(t.Tags))
	for k := range t.Tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out = append(out, `{"Tags":[`...)
	for i, k := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendString(append(out, `{"Key":`...), k)
		out = append(wire.AppendString(append(out, `,"Value":`...), t.Tags[k]), '}')
	}
	return append(out, `]}`...), nil
}

func (a *API) describeLimits(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	if err := decodeInto(r, &struct{}{}); err != nil {
		return out, err
	}
	return append(out, `{"AccountMaxReadCapacityUnits":80000,"AccountMaxWriteCapacityUnits":80000,"TableMaxReadCapacityUnits":40000,"TableMaxWriteCapacityUnits":40000}`...), nil
}

// describeEndpoints names no other endpoint than the one that was asked.
func (a *API) describeEndpoints(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	if err := decodeInto(r, &struct{}{}); err != nil {
		return out, err
	}
	out = wire.AppendSafe(append(out, `{"Endpoints":[{"Address":`...), hostOf(ctx))
	return append(out, `,"CachePeriodInMinutes":1440}]}`...), nil
}

// describeContinuousBackups says that there are none, for tools ask before they change a table.
func (a *API) describeContinuousBackups(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	name, err := named(r)
	if err != nil {
		return out, err
	}
	if a.store.Table(name) == nil {
		return out, &Error{Code: "TableNotFoundException", Message: "Table not found: " + name}
	}
	return append(out, `{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"DISABLED","PointInTimeRecoveryDescription":{"PointInTimeRecoveryStatus":"DISABLED"}}}`...), nil
}
