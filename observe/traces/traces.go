package traces

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/observe/otlp"
	"github.com/banyanhq/banyan/observe/segment"
)

// Config of Traces.
type Config struct {
	// Dir is where spans are kept. Required.
	Dir string
	// ReadOnly opens what another process has left.
	ReadOnly bool
	// Retain is how long spans are kept. Default 3 days; negative: for ever.
	Retain time.Duration
	// MaxBytes on disk. Default 5 GiB; negative: no bound.
	MaxBytes int64
	// Sampling says which traces are kept.
	Sampling Sampling
	// Wait is how long a trace waits for its spans, from the first that came. Default 10 s.
	Wait time.Duration
	// MaxPending bytes of spans wait. Default 64 MiB.
	MaxPending int
	// FS, HeadBytes and Now are those of the segment store.
	FS        vfs.FS
	HeadBytes int
	Now       func() time.Time
	// Log of what goes wrong. Default: none.
	Log *slog.Logger
}

const (
	maxTraceSpans = 5000   // of one trace; more are left out and counted
	maxDecided    = 100000 // traces whose decision is remembered, for late spans
)

// Traces is a store of spans with what comes before it.
type Traces struct {
	cfg    Config
	store  *segment.Store
	redded *red

	mu       sync.Mutex
	sampler  *sampler
	waiting  map[string]*list.Element // of *pending, by trace
	order    *list.List               // oldest first
	bytes    int
	decided  map[string]decision
	forget   []string // traces in decided, oldest first
	counters counters
	ready    []segment.Record // to be stored
	wake     chan struct{}
}

type pending struct {
	id    string
	since time.Time
	spans []*Span
	bytes int
}

type decision struct {
	kept   string
	weight float64
}

type counters struct {
	spans, refused, overTrace, late, early, failed int64
	kept                                           map[string]int64 // traces by reason
	leftOut                                        int64            // traces
}

// Open opens the spans of a directory.
func Open(cfg Config) (*Traces, error) {
	cfg.Retain, cfg.MaxBytes = cmp.Or(cfg.Retain, 3*24*time.Hour), cmp.Or(cfg.MaxBytes, 5<<30)
	cfg.Wait, cfg.MaxPending = cmp.Or(cfg.Wait, 10*time.Second), cmp.Or(cfg.MaxPending, 64<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	store, err := segment.Open(segment.Config{
		Dir: cfg.Dir, ReadOnly: cfg.ReadOnly, Retain: max(cfg.Retain, 0), MaxBytes: max(cfg.MaxBytes, 0),
		FS: cfg.FS, HeadBytes: cfg.HeadBytes, Now: cfg.Now, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return &Traces{
		cfg: cfg, store: store, redded: newRED(), sampler: newSampler(cfg.Sampling), waiting: map[string]*list.Element{}, order: list.New(),
		decided: map[string]decision{}, counters: counters{kept: map[string]int64{}}, wake: make(chan struct{}, 1),
	}, nil
}

// Close gives up Traces on which Run is not called.
func (t *Traces) Close() error { return t.store.Close() }

// Run decides and stores until ctx ends; then what waits is decided at once and stored.
func (t *Traces) Run(ctx context.Context) error {
	storing, endStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer endStoring()
	var group errgroup.Group
	group.Go(func() error { return t.store.Run(storing) })
	group.Go(func() error {
		defer endStoring()
		tick := time.NewTicker(max(t.cfg.Wait/10, 10*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.settle(t.cfg.Now().Add(-t.cfg.Wait))
			case <-t.wake:
			case <-ctx.Done():
				t.settle(t.cfg.Now().Add(time.Hour))
				t.flush()
				return nil
			}
			t.flush()
		}
	})
	return group.Wait()
}

// Export takes spans of OpenTelemetry. It refuses those without valid ids or instants.
func (t *Traces) Export(_ context.Context, all []*tracepb.ResourceSpans) (rejected int, reason string, err error) {
	var spans []*Span
	for _, rs := range all {
		service, resource := "unknown_service", map[string]string{}
		otlp.Attributes(rs.GetResource().GetAttributes(), func(name, value string) {
			if name == "service.name" && value != "" {
				service = cut(value, 200)
				return
			}
			resource[cut(name, 200)] = cut(value, 1<<10)
		})
		for _, ss := range rs.GetScopeSpans() {
			for _, p := range ss.GetSpans() {
				s, err := fromProto(p, service, ss.GetScope().GetName(), resource)
				if err != nil {
					rejected++
					reason = err.Error()
					continue
				}
				spans = append(spans, s)
			}
		}
	}
	t.Add(spans...)
	if rejected > 0 {
		t.mu.Lock()
		t.counters.refused += int64(rejected)
		t.mu.Unlock()
	}
	return rejected, reason, nil
}

// Add takes spans. They must not be changed afterwards.
func (t *Traces) Add(spans ...*Span) {
	now := t.cfg.Now()
	for _, s := range spans {
		t.redded.count(s)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range spans {
		t.counters.spans++
		t.add(s, now)
	}
	t.bound(now)
}

// bound decides the oldest traces where memory is short, and has what is kept stored; t.mu is held.
func (t *Traces) bound(now time.Time) {
	for t.bytes > t.cfg.MaxPending && t.order.Len() > 0 {
		t.counters.early++
		t.decide(t.order.Front(), now)
	}
	if len(t.ready) > 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (t *Traces) add(s *Span, now time.Time) {
	if d, ok := t.decided[s.TraceID]; ok {
		t.counters.late++
		if d.kept != "" {
			t.keep(s, d, false)
		}
		return
	}
	e := t.waiting[s.TraceID]
	if e == nil {
		e = t.order.PushBack(&pending{id: s.TraceID, since: now})
		t.waiting[s.TraceID] = e
	}
	p := e.Value.(*pending)
	if len(p.spans) >= maxTraceSpans {
		t.counters.overTrace++
		return
	}
	p.spans = append(p.spans, s)
	n := s.size()
	p.bytes += n
	t.bytes += n
}

// settle decides the traces that have waited since before an instant.
func (t *Traces) settle(before time.Time) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Front(); e != nil && !e.Value.(*pending).since.After(before); e = t.order.Front() {
		t.decide(e, now)
	}
}

// decide keeps a trace or leaves it out; t.mu is held.
func (t *Traces) decide(e *list.Element, now time.Time) {
	p := e.Value.(*pending)
	t.order.Remove(e)
	delete(t.waiting, p.id)
	t.bytes -= p.bytes

	adopt(p.spans)
	callers(p.spans)
	for _, s := range p.spans {
		t.redded.edge(s)
	}
	root := rootOf(p.spans)
	failed := false
	for _, s := range p.spans {
		failed = failed || s.Error
	}
	var d decision
	d.kept, d.weight = t.sampler.decide(now, p.id, root.Service+" "+root.Name, root.Took(), failed)
	t.remember(p.id, d)
	if d.kept == "" {
		t.counters.leftOut++
		return
	}
	t.counters.kept[d.kept]++
	for _, s := range p.spans {
		t.keep(s, d, s == root)
	}
}

func (t *Traces) remember(id string, d decision) {
	if len(t.forget) >= maxDecided {
		for _, old := range t.forget[:maxDecided/10] {
			delete(t.decided, old)
		}
		t.forget = append(t.forget[:0], t.forget[maxDecided/10:]...)
	}
	t.decided[id] = d
	t.forget = append(t.forget, id)
}

func (t *Traces) keep(s *Span, d decision, root bool) {
	kept := *s // a caller of Add may still read the span
	kept.Kept, kept.Weight = d.kept, d.weight
	r, err := kept.record(segment.NewStream(map[string]string{"service": s.Service}), root)
	if err != nil {
		t.counters.failed++
		return
	}
	if len(t.ready) >= maxReady {
		t.counters.failed++ // the disk does not keep up
		return
	}
	t.ready = append(t.ready, r)
}

const maxReady = 50000 // spans that wait for the disk

func (t *Traces) flush() {
	t.mu.Lock()
	records := t.ready
	t.ready = nil
	t.mu.Unlock()
	if len(records) == 0 {
		return
	}
	if err := t.store.Append(context.Background(), records, false); err != nil {
		t.mu.Lock()
		t.counters.failed += int64(len(records))
		t.mu.Unlock()
		t.cfg.Log.Error("spans are lost", "spans", len(records), "error", err)
	}
}

// rootOf is the span without a parent among the spans; of several the earliest.
func rootOf(spans []*Span) *Span {
	here := make(map[string]bool, len(spans))
	for _, s := range spans {
		here[s.SpanID] = true
	}
	var root *Span
	better := func(s *Span) bool {
		if root == nil {
			return true
		}
		a, b := s.Parent == "" || !here[s.Parent], root.Parent == "" || !here[root.Parent]
		if a != b {
			return a
		}
		return s.Start < root.Start
	}
	for _, s := range spans {
		if better(s) {
			root = s
		}
	}
	return root
}

// callers writes into each span which service its parent is of, where that is another.
func callers(spans []*Span) {
	byID := make(map[string]*Span, len(spans))
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	for _, s := range spans {
		if p := byID[s.Parent]; p != nil && p.Service != s.Service {
			s.Caller = p.Service
		}
	}
}
