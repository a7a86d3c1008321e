package app

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/dynamo"
)

const withTables = twoServices + `tables:
  orders: {key: [customer, id], replicas: 3}
  products: {key: id, consistency: eventual}
  archive: {key: id, engine: dynamodb, url: "https://dynamodb.eu-central-1.amazonaws.com"}
`

func TestTablesOfAService(t *testing.T) {
	sys := parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.orders]", 1))
	if err := Unsupported(sys); err != nil {
		t.Fatal(err)
	}
	a := &App{}
	a.system.Store(sys)
	a.cfg.System, a.cfg.Dir = sys, t.TempDir()
	a.cfg.Log = slog.New(slog.DiscardHandler)
	if err := a.openTables(); err != nil {
		t.Fatal(err)
	}
	defer a.closeBlocks()
	url := a.tables.Load().URL()
	want := []string{"AWS_ENDPOINT_URL_DYNAMODB=" + url, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + url, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=banyan", "AWS_SECRET_ACCESS_KEY=banyan"}
	if got := a.tablesEnviron("web"); !slices.Equal(got, want) {
		t.Errorf("web finds %v", got)
	}
	if got := a.tablesEnviron("word-list"); got != nil {
		t.Errorf("word-list, which uses none, finds %v", got)
	}
	lines := strings.Join(a.tableEndpoints(), "\n")
	for _, want := range []string{"tables on " + url, "tables.orders: replicas 3 are not built yet", "tables.products: consistency eventual is not built yet"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not said:\n%s", want, lines)
		}
	}
	if got := store.FromFile(sys); len(got) != 2 || got[0].Name != "orders" || !slices.Equal(got[0].Key, []string{"customer", "id"}) {
		t.Errorf("tables of the file: %v", got)
	}
}

func TestTablesElsewhere(t *testing.T) {
	sys := parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.archive]", 1))
	a := &App{}
	a.system.Store(sys)
	if got := a.tablesEnviron("web"); !slices.Equal(got, []string{"AWS_ENDPOINT_URL_DYNAMODB=https://dynamodb.eu-central-1.amazonaws.com"}) {
		t.Errorf("web finds %v", got)
	}
	sys = parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.archive, tables.orders]", 1))
	if err := Unsupported(sys); err == nil || !strings.Contains(err.Error(), "services.web: uses tables at two places") {
		t.Errorf("tables at two places: %v", err)
	}
}

// What a load did to tables is the difference of two readings, the warm-up's part taken off.
func TestTablesBetweenReadings(t *testing.T) {
	sys := parse(t, withTables)
	usage := func(reads, writes, looked int64) *store.Usage {
		kind := func(n int64, took time.Duration) dynamo.KindCount {
			h := stats.NewHistogram(2)
			h.RecordN(int64(took), n)
			return dynamo.KindCount{Latency: h, Sampled: looked, CPU: time.Duration(looked) * 50 * time.Microsecond, In: 100 * n}
		}
		return &store.Usage{
			Tables:   []dynamo.TableCount{{Table: "orders", Read: kind(reads, time.Millisecond), Write: kind(writes, 4*time.Millisecond), Hot: []dynamo.HotKey{{Key: "a", Share: 0.5}}}, {Table: "others", Read: kind(1, 1), Write: kind(1, 1)}},
			Commands: writes, Sampled: looked, ApplyCPU: time.Duration(looked) * 30 * time.Microsecond, Forces: writes / 2, ForceTime: time.Duration(writes/2) * 2 * time.Millisecond,
		}
	}
	all := tableMeasurements(sys, usage(100, 50, 10), usage(1300, 450, 70), 2*time.Second, 10*time.Second)
	m, ok := all["orders"]
	if len(all) != 1 || !ok {
		t.Fatalf("measured %v", all)
	}
	if m.Read.Count != 1000 || m.Write.Count < 333 || m.Write.Count > 334 || m.Read.Sampled != 60 {
		t.Errorf("operations %+v", m)
	}
	if m.Read.CPU != 50*time.Microsecond || m.Apply != 30*time.Microsecond || m.Force != 2*time.Millisecond || m.Read.BytesIn != 100 || m.Hot[0].Key != "a" {
		t.Errorf("costs %+v", m)
	}
	if d := m.Write.Mean - 4*time.Millisecond; d < -50*time.Microsecond || d > 50*time.Microsecond {
		t.Errorf("a write takes %v", m.Write.Mean)
	}
	if got := tableMeasurements(sys, usage(100, 50, 10), usage(10, 5, 1), 0, time.Second); got != nil {
		t.Errorf("of tables that began anew: %v", got)
	}
	if got := tableMeasurements(sys, nil, nil, 0, time.Second); got != nil {
		t.Errorf("of no tables: %v", got)
	}
}

// The history of tables gives the readings within a span, and forgets the oldest.
func TestTableHistoryKeepsTheLatest(t *testing.T) {
	var h tableHistory
	start := time.Unix(1000, 0)
	for i := range tableSeconds + 10 {
		h.add(&store.Sums{At: start.Add(time.Duration(i) * time.Second), Forces: int64(i)})
	}
	first, last := h.between(start, start.Add(time.Hour))
	if len(h.all) != tableSeconds || first.Forces != 10 || last.Forces != tableSeconds+9 {
		t.Errorf("%d kept, from %d to %d", len(h.all), first.Forces, last.Forces)
	}
	if first, last = h.between(start.Add(20*time.Second), start.Add(25*time.Second)); first.Forces != 20 || last.Forces != 25 {
		t.Errorf("from %d to %d", first.Forces, last.Forces)
	}
	if _, last = h.between(start.Add(20*time.Second), start.Add(20*time.Second)); last != nil {
		t.Error("one reading is no span")
	}
}
