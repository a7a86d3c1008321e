package dynamo

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/cpuclock"
	"github.com/banyanhq/banyan/store/shard"
)

// What operations on each table take is measured from a request that is whole to its answer that is sent, so that it holds for
// clients of the Server only.
const (
	cpuEvery     = 16   // one request in so many is looked at for its CPU time
	keyEvery     = 8    // and for its partition key
	hotPlaces    = 64   // of partition keys that are counted
	hotShown     = 5    // of these
	hotFades     = 4096 // keys looked at until what was counted counts half
	maxMetered   = 1000 // tables; what further ones take is not measured
	shownKey     = 64   // bytes of a partition key
	meterDigits  = 2
	secondTables = 8 // of one request, beside the first
)

// asked is what a request asks for, as far as its operation has found out: tables that there are, and a partition key if that is to be counted.
type asked struct {
	tables []string
	write  bool
	key    string
	look   bool // at the key
}

func (q *asked) reset(look bool) { *q = asked{tables: q.tables[:0], look: look} }

type askedKey struct{}

// note notes what the request of ctx asks for.
func (a *API) note(ctx context.Context, write bool, tables ...string) *asked {
	q, _ := ctx.Value(askedKey{}).(*asked)
	if q == nil {
		return nil
	}
	q.write = write
	for _, name := range tables {
		if t := a.store.Table(name); t != nil && len(q.tables) <= secondTables && !slices.Contains(q.tables, name) {
			q.tables = append(q.tables, t.Name) // the other one may lie in the request
		}
	}
	return q
}

// noteTables notes a request that writes to several tables.
func (a *API) noteTables(ctx context.Context, tables []*shard.Table) {
	for _, t := range tables {
		a.note(ctx, true, t.Name)
	}
}

// noteItem notes an operation on one table, and the key that it is about.
func (a *API) noteItem(ctx context.Context, write bool, q *request) {
	n := a.note(ctx, write, q.table.s)
	if n == nil || !n.look || len(n.tables) == 0 {
		return
	}
	t := a.store.Table(n.tables[0])
	if t == nil { // it has been dropped since
		return
	}
	for _, item := range []attr.Item{q.key, q.item} {
		if v := item.Get(t.Key.Hash.Name); v.Kind != attr.None {
			n.key = v.Text[:min(len(v.Text), shownKey)]
			return
		}
	}
}

// meters measure operations by table.
type meters struct {
	cpu cpuclock.Sampler

	mu     sync.Mutex
	tables map[string]*tableMeter
}

type tableMeter struct {
	mu          sync.Mutex
	read, write kindMeter
	keys        *stats.TopK
}

type kindMeter struct {
	latency *stats.Histogram
	in, out int64
	sampled int64
	cpu     time.Duration
}

// of is the meter of a table; nil where there are too many.
func (m *meters) of(table string) *tableMeter {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tables[table]
	if t == nil && len(m.tables) < maxMetered {
		t = &tableMeter{read: kindMeter{latency: stats.NewHistogram(meterDigits)}, write: kindMeter{latency: stats.NewHistogram(meterDigits)}, keys: stats.NewTopK(hotPlaces)}
		if m.tables == nil {
			m.tables = map[string]*tableMeter{}
		}
		m.tables[table] = t
	}
	return t
}

// measured is what one request took.
type measured struct {
	took    time.Duration
	cpu     time.Duration
	sampled bool
	in, out int
}

// add counts a request for all tables that it asked for.
func (m *meters) add(q *asked, took measured) {
	for _, table := range q.tables {
		if t := m.of(table); t != nil {
			t.add(q, took)
		}
	}
}

func (t *tableMeter) add(q *asked, took measured) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := &t.read
	if q.write {
		k = &t.write
	}
	k.latency.RecordDuration(took.took)
	k.in += int64(took.in)
	k.out += int64(took.out)
	if took.sampled {
		k.sampled++
		k.cpu += took.cpu / time.Duration(len(q.tables))
	}
	if q.key != "" {
		t.keys.Add([]byte(q.key))
		if t.keys.Total() >= hotFades {
			t.keys.Halve()
		}
	}
}

// TableCount says what was asked of a table through the Server since the start, and what that took.
type TableCount struct {
	Table string    `json:"table"`
	Read  KindCount `json:"read"`
	Write KindCount `json:"write"`
	// Hot are the partition keys that are asked for most of late.
	Hot []HotKey `json:"hot,omitempty"`
}

// KindCount says what operations of one kind took.
type KindCount struct {
	// Latency in nanoseconds, from the request that is whole to the answer that is sent.
	Latency *stats.Histogram `json:"latency"`
	// In and Out are the bytes of requests and answers, without heads.
	In  int64 `json:"in"`
	Out int64 `json:"out"`
	// Sampled requests were looked at for their CPU time, which was CPU; what applies a write is not in it.
	Sampled int64         `json:"sampled"`
	CPU     time.Duration `json:"cpu_ns"`
}

// HotKey is a partition key that is asked for often, and its share of the table's requests that name one.
type HotKey struct {
	Key   string  `json:"key"`
	Share float64 `json:"share"`
}

// TableCounts of all tables that were asked for something, by name.
func (a *API) TableCounts() (all []TableCount) {
	a.meters.each(func(name string, t *tableMeter) {
		all = append(all, TableCount{Table: name, Read: t.read.count(), Write: t.write.count(), Hot: t.hot()})
	})
	slices.SortFunc(all, func(a, b TableCount) int { return strings.Compare(a.Table, b.Table) })
	return all
}

func (k *kindMeter) count() KindCount {
	return KindCount{Latency: k.latency.Clone(), In: k.in, Out: k.out, Sampled: k.sampled, CPU: k.cpu}
}

// TableSums are the operations on a table since the start, and the time that they took.
type TableSums struct {
	Reads, Writes       int64
	ReadTime, WriteTime time.Duration
}

// TableSums of all tables that were asked for something.
func (a *API) TableSums() map[string]TableSums {
	all := map[string]TableSums{}
	a.meters.each(func(name string, t *tableMeter) {
		all[name] = TableSums{t.read.latency.Count(), t.write.latency.Count(), time.Duration(t.read.latency.Sum()), time.Duration(t.write.latency.Sum())}
	})
	return all
}

// HotKeys are the partition keys of each table that are asked for most of late.
func (a *API) HotKeys() map[string][]HotKey {
	all := map[string][]HotKey{}
	a.meters.each(func(name string, t *tableMeter) { all[name] = t.hot() })
	return all
}

// each visits the meters of all tables, each under its lock.
func (m *meters) each(visit func(name string, t *tableMeter)) {
	m.mu.Lock()
	tables := maps.Clone(m.tables)
	m.mu.Unlock()
	for name, t := range tables {
		t.mu.Lock()
		visit(name, t)
		t.mu.Unlock()
	}
}

// hot are the keys that come most often, by the counts that are surely their own.
func (t *tableMeter) hot() (keys []HotKey) {
	for _, k := range t.keys.Top(hotShown) {
		keys = append(keys, HotKey{Key: k.Key, Share: max(0, k.Count-k.Over) / max(t.keys.Total(), 1)})
	}
	return keys
}
