package monitor

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// patience with requests that are under way at the end; they are told to end, and do so between two steps of a query.
const patience = 10 * time.Second

// gate counts the requests that are under way, and can be closed.
type gate struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{}              // closed when it is closed and none is under way
	cancel map[int]context.CancelFunc // of requests
	next   int
}

// enter lets a request in; leave is called when it has ended. ok is false once the gate is closed.
func (g *gate) enter(cancel context.CancelFunc) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	if g.cancel == nil {
		g.cancel = map[int]context.CancelFunc{}
	}
	id := g.next
	g.next++
	g.n++
	g.cancel[id] = cancel
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.cancel, id)
		if g.n--; g.n == 0 && g.closed {
			close(g.empty)
		}
	}, true
}

// close lets nobody in any more, tells those inside to end, and waits for a time until they have.
func (g *gate) close(wait time.Duration) (done bool) {
	g.mu.Lock()
	g.closed = true
	g.empty = make(chan struct{})
	if g.n == 0 {
		close(g.empty)
	}
	for _, cancel := range g.cancel {
		cancel()
	}
	g.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-g.empty:
		return true
	case <-timer.C:
		return false
	}
}

func (g *gate) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		leave, ok := g.enter(cancel)
		if !ok {
			http.Error(w, "the monitor has ended", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}
