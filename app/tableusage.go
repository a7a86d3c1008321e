package app

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/dynamo"
	"github.com/banyanhq/banyan/topology"
)

// TableUsage says what was asked of the embedded tables, and what that took; nil where there are none.
func (a *App) TableUsage() *store.Usage {
	if s := a.tables.Load(); s != nil {
		return s.Usage()
	}
	return nil
}

// tableMeasurements is what the tables of the file did between two readings; nil where there are none. The first was made before the
// warm-up, at whose rate and cost the rest is taken to go on.
func tableMeasurements(sys *topology.System, before, after *store.Usage, warmup, length time.Duration) map[string]plan.TableMeasurement {
	if before == nil || after == nil || length <= 0 || after.Commands < before.Commands {
		return nil
	}
	was := map[string]dynamo.TableCount{}
	for _, t := range before.Tables {
		was[t.Table] = t
	}
	share := measuredShare(warmup, length)
	var out map[string]plan.TableMeasurement
	for _, t := range after.Tables {
		if v := sys.Tables[t.Table]; v == nil || v.Engine != "embedded" {
			continue
		}
		m := plan.TableMeasurement{
			Read: operations(was[t.Table].Read, t.Read, share), Write: operations(was[t.Table].Write, t.Write, share),
			Apply: each(after.ApplyCPU-before.ApplyCPU, after.Sampled-before.Sampled), Applied: after.Sampled - before.Sampled,
			Force: each(after.ForceTime-before.ForceTime, after.Forces-before.Forces), Forces: float64(after.Forces-before.Forces) * share,
		}
		if m.Read.Count+m.Write.Count == 0 {
			continue
		}
		for _, k := range t.Hot {
			m.Hot = append(m.Hot, plan.HotKey{Key: k.Key, Share: k.Share})
		}
		if out == nil {
			out = map[string]plan.TableMeasurement{}
		}
		out[t.Table] = m
	}
	return out
}

// operations are those of one kind between two readings.
func operations(before, after dynamo.KindCount, share float64) plan.OperationMeasurement {
	h := after.Latency
	if h != nil && before.Latency != nil {
		var err error
		if h, err = h.Since(before.Latency); err != nil { // the counters began anew
			return plan.OperationMeasurement{}
		}
	}
	if h == nil || h.Count() == 0 {
		return plan.OperationMeasurement{}
	}
	return plan.OperationMeasurement{
		Count: float64(h.Count()) * share, Mean: time.Duration(h.Mean()), P99: h.QuantileDuration(0.99), StdDev: time.Duration(h.StdDev()),
		CPU: each(after.CPU-before.CPU, after.Sampled-before.Sampled), Sampled: after.Sampled - before.Sampled,
		BytesIn: float64(after.In-before.In) / float64(h.Count()), BytesOut: float64(after.Out-before.Out) / float64(h.Count()),
	}
}

// each is the mean of n that took so long together; 0 of none.
func each(all time.Duration, n int64) time.Duration {
	if n <= 0 || all < 0 {
		return 0
	}
	return all / time.Duration(n)
}

// tableHistory keeps what was asked of tables, second by second.
type tableHistory struct {
	mu  sync.Mutex
	all []*store.Sums // the oldest first
}

// tableSeconds is for how long that is kept: as long as 'bottleneck' looks back.
const tableSeconds = 605

func (h *tableHistory) add(s *store.Sums) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) == tableSeconds {
		h.all = append(h.all[:0], h.all[1:]...)
	}
	h.all = append(h.all, s)
}

// between are the first reading that is not before from, and the last that is not behind to; nil where there are no two.
func (h *tableHistory) between(from, to time.Time) (first, last *store.Sums) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.all {
		switch {
		case s.At.Before(from) || s.At.After(to):
		case first == nil:
			first = s
		default:
			last = s
		}
	}
	return first, last
}

// TableWindow says what was asked of the embedded tables between two instants, as far as it is kept; nil where nothing is.
func (a *App) TableWindow(from, to time.Time) *control.TableWindow {
	s := a.tables.Load()
	first, last := a.tableHistory.between(from, to)
	if s == nil || last == nil {
		return nil
	}
	w := &control.TableWindow{Seconds: last.At.Sub(first.At).Seconds(), Forces: last.Forces - first.Forces, ForceTime: last.ForceTime - first.ForceTime}
	hot := s.HotKeys()
	for name, now := range last.Tables {
		was := first.Tables[name]
		t := control.TableAsked{Table: name, Reads: now.Reads - was.Reads, Writes: now.Writes - was.Writes,
			ReadTime: now.ReadTime - was.ReadTime, WriteTime: now.WriteTime - was.WriteTime}
		if keys := hot[name]; len(keys) > 0 {
			t.HotKey, t.HotShare = keys[0].Key, keys[0].Share
		}
		if t.Reads+t.Writes > 0 {
			w.Tables = append(w.Tables, t)
		}
	}
	slices.SortFunc(w.Tables, func(a, b control.TableAsked) int { return strings.Compare(a.Table, b.Table) })
	return w
}

// ObserveTables adds what was asked of tables to an observation that covers about the same time.
func ObserveTables(o *plan.Observation, sys *topology.System, w *control.TableWindow) {
	if w == nil || !(w.Seconds > 0) {
		return
	}
	scale := o.Seconds / w.Seconds
	for _, t := range w.Tables {
		v := sys.Tables[t.Table]
		if v == nil || v.Engine != "embedded" {
			continue
		}
		seen := plan.ObservedTable{
			Table: "tables." + t.Table, Reads: scale * float64(t.Reads), Writes: scale * float64(t.Writes),
			ReadTime: scale * t.ReadTime.Seconds(), WriteTime: scale * t.WriteTime.Seconds(),
			Forces: scale * float64(w.Forces), ForceTime: scale * w.ForceTime.Seconds(), HotKey: t.HotKey, HotShare: t.HotShare,
		}
		for _, name := range sys.SortedServices() {
			if slices.Contains(sys.Services[name].Uses, seen.Table) {
				seen.Users = append(seen.Users, name)
			}
		}
		o.Tables = append(o.Tables, seen)
	}
}
