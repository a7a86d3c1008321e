package ui

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/topology"
	"github.com/banyanhq/banyan/ui/layout"
)

// keptFrames is for how many frames a page may be away and still get all that it has missed.
const keptFrames = 60

// maxPages bounds how many pages look at once.
const maxPages = 64

// feed makes frames while somebody looks, and hands each of them to all who do.
type feed struct {
	server *Server

	mu      sync.Mutex
	watched int
	frames  []*Frame      // the latest, oldest first
	changed chan struct{} // closed and replaced at each new frame
	seq     int64
	seen    map[string]bool // IDs of events
	stores  map[string]Store
	at      time.Time // of stores
	drawn   *topology.System
	layout  *layout.Layout
	version string
}

func newFeed(s *Server) *feed {
	return &feed{server: s, changed: make(chan struct{})}
}

// run makes a frame at each tick that somebody waits for, until ctx ends.
func (f *feed) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks:
			f.mu.Lock()
			if f.watched > 0 {
				f.make(now)
			}
			f.mu.Unlock()
		}
	}
}

// join counts a page in. It returns false when there are too many.
func (f *feed) join() (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watched >= maxPages {
		return nil, false
	}
	f.watched++
	return func() {
		f.mu.Lock()
		f.watched--
		f.mu.Unlock()
	}, true
}

// latest returns the present frame; one that is younger than a second is not made anew.
func (f *feed) latest(now time.Time) *Frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.frames); n > 0 && now.Sub(f.at) < time.Second && now.Sub(f.at) >= 0 {
		return f.frames[n-1]
	}
	return f.make(now)
}

// since returns the frames after seq, and what is closed when there are more. whole is false when some are missing.
func (f *feed) since(seq int64) (frames []*Frame, more <-chan struct{}, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	whole = len(f.frames) > 0 && f.frames[0].Seq <= seq+1 && seq <= f.seq
	for _, fr := range f.frames {
		if fr.Seq > seq {
			frames = append(frames, fr)
		}
	}
	return frames, f.changed, whole
}

// make joins a frame; f.mu is held.
func (f *feed) make(now time.Time) *Frame {
	s := f.server.cfg.System
	sys := s.Topology()
	st, err := s.Present(frameWindow)
	if err != nil {
		f.server.cfg.Log.Error("the page's figures", "error", err)
	}
	replicas := s.Replicas()
	fr := frameOf(sys, st, replicas, s.ScaledServices(), f.server.expectNow(st, replicas))
	stores := s.Stores()
	fr.addStores(stores, f.stores, now.Sub(f.at))
	f.stores, f.at = map[string]Store{}, now
	for _, v := range stores {
		f.stores[v.ID] = v
	}
	all := f.server.timeline()
	if f.seen != nil {
		fr.Events = eventsAfter(all, f.seen)
	}
	f.seen = make(map[string]bool, len(all))
	for _, e := range all {
		f.seen[e.ID] = true
	}
	_, fr.Map = f.draw(sys)
	f.seq = max(f.seq+1, now.UnixMilli()) // so that it grows from run to run as well
	fr.Seq, fr.State, fr.System, fr.Load = f.seq, s.State(), sys.Name, f.server.loads.state(1)
	f.frames = append(f.frames, fr)
	if len(f.frames) > keptFrames {
		f.frames = append([]*Frame(nil), f.frames[len(f.frames)-keptFrames:]...)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return fr
}

// draw returns the map and its version, laid out once for each version of the file; f.mu is held.
func (f *feed) draw(sys *topology.System) (*layout.Layout, string) {
	if f.drawn != sys {
		f.layout, f.drawn = layout.Compute(layout.Of(sys), layout.Pixels()), sys
		h := fnv.New64a()
		for _, n := range f.layout.Nodes {
			fmt.Fprintf(h, "%s %g %g\n", n.ID, n.X, n.Y)
		}
		for _, e := range f.layout.Edges {
			fmt.Fprintf(h, "%s %s %s\n", e.From, e.To, e.D)
		}
		f.version = fmt.Sprintf("%x", h.Sum64())
	}
	return f.layout, f.version
}

// timeline of the system now.
func (s *Server) timeline() []Event {
	var decisions []autoscale.Decision
	for _, name := range s.cfg.System.ScaledServices() {
		all, _ := s.cfg.System.ScaleDecisions(name)
		decisions = append(decisions, all...)
	}
	return timeline(s.cfg.System.Events(), decisions)
}
