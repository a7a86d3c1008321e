package load

import "sync"

// pool lends connections to sessions: the one that was used last first, so that no more are open than are needed. Where
// all are lent out, sessions wait in their order.
type pool struct {
	limit int
	make  func() caller

	mu      sync.Mutex
	made    []caller
	idle    []caller
	waiting []chan caller // from first on
	first   int
}

// get returns a connection; waited says that all were lent out. It returns nil where stop is closed first. ch is the
// session's own channel of capacity 1.
func (p *pool) get(stop <-chan struct{}, ch chan caller) (c caller, waited bool) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, false
	}
	if len(p.made) < p.limit {
		c = p.make()
		p.made = append(p.made, c)
		p.mu.Unlock()
		return c, false
	}
	p.waiting = append(p.waiting, ch)
	p.mu.Unlock()
	select {
	case c = <-ch:
		return c, true
	case <-stop:
		return nil, true
	}
}

func (p *pool) put(c caller) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first < len(p.waiting) {
		p.waiting[p.first] <- c // capacity 1, and a session waits for one at a time
		p.first++
		if p.first == len(p.waiting) {
			p.waiting, p.first = p.waiting[:0], 0
		} else if p.first > 1024 && p.first > len(p.waiting)/2 {
			p.waiting, p.first = append(p.waiting[:0], p.waiting[p.first:]...), 0
		}
		return
	}
	p.idle = append(p.idle, c)
}

// close closes every connection. No session may be left.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.made {
		c.close()
	}
}
