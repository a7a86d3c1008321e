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
	waiting []*applicant // from first on
	first   int
}

// applicant is a session that waits for a connection.
type applicant struct {
	thread thread
	got    caller
}

// get returns a connection; waited says that all were lent out. It returns nil where the run is stopped first. t is what
// the session runs on.
func (p *pool) get(t thread) (c caller, waited bool) {
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
	a := &applicant{thread: t}
	p.waiting = append(p.waiting, a)
	for a.got == nil {
		p.mu.Unlock()
		if !t.park(true) {
			return nil, true
		}
		p.mu.Lock()
	}
	p.mu.Unlock()
	return a.got, true
}

func (p *pool) put(c caller) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first < len(p.waiting) {
		a := p.waiting[p.first]
		a.got = c
		a.thread.wake()
		p.waiting[p.first] = nil
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
