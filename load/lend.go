package load

import "time"

// caller returns what sends the step: the user's own, the one that this run of the scenario holds, or one from the pool.
// It is nil where the run was stopped first; queued says that all were lent out.
func (s *session) caller(st *step) (c caller, queued bool) {
	t := s.targets.all[st.target]
	if s.own != nil {
		if s.own[st.target] == nil {
			s.own[st.target] = t.newCaller()
		}
		return s.own[st.target], false
	}
	if t.protocol().held {
		if s.held == nil {
			s.held = make([]caller, len(s.targets.all))
		}
		if c = s.held[st.target]; c != nil {
			return c, false
		}
	}
	if c, queued = t.pool.get(s.thread); c != nil && t.protocol().held {
		s.held[st.target] = c
	}
	return c, queued
}

// release gives back what caller returned, unless the scenario goes on with it.
func (s *session) release(st *step, c caller) {
	if t := s.targets.all[st.target]; s.own == nil && !t.protocol().held {
		t.pool.put(c)
	}
}

// letGo ends what a scenario has held.
func (s *session) letGo() {
	for i, c := range s.own {
		if c != nil && s.targets.all[i].protocol().ended {
			c.close()
		}
	}
	for i, c := range s.held {
		if c == nil {
			continue
		}
		t := s.targets.all[i]
		if t.protocol().ended {
			c.close()
		}
		t.pool.put(c)
		s.held[i] = nil
	}
}

// catchUp decides on a request that had to wait for a connection: false where it has become too late to be sent. With
// CatchUp "capped" it first waits for its turn.
func (r *run) catchUp(s *session, due time.Duration) bool {
	if r.closed {
		return true
	}
	if r.cfg.MaxLate > 0 && r.now()-due > r.cfg.MaxLate {
		return false
	}
	if r.pacer == nil {
		return true
	}
	return s.thread.sleep(r.pacer.turn(r.now(), due))
}
