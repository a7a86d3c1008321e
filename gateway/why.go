package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/policy"
)

const (
	// whyOrdinary is how many requests are remembered of those that went well, whyNotable of those that did not (retried,
	// refused, failed), so that a busy gateway does not forget what people ask about.
	whyOrdinary = 2048
	whyNotable  = 1024
	// whyPause lies between two requests that are remembered though they went well: with it remembering costs a busy
	// gateway nothing that can be measured, and a gateway with less than 5,000 requests a second remembers each.
	whyPause = 200 * time.Microsecond
	// whyCandidates is how many backends are remembered of those that a try had to choose from.
	whyCandidates = 8
	// whyTries is how many tries of a request are remembered.
	whyTries = 10
)

// Decision says what was decided on the way of one request, and on what grounds.
type Decision struct {
	RequestID string    `json:"request_id"`
	TraceID   string    `json:"trace_id"`
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	// Route that matched, or 'from -> to' of a call between services; empty: none did.
	Route   string `json:"route"`
	Service string `json:"service,omitempty"`
	// Status that the client was answered with, and the gateway's own error, if it was one.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Detail of the error in words.
	Detail string `json:"detail,omitempty"`
	// Took is the time from the request's head to the answer's end.
	Took time.Duration `json:"took"`
	// Attempts in all; Tries are what is remembered of them.
	Attempts int           `json:"attempts"`
	Tries    []TryDecision `json:"tries"`
}

// TryDecision says how one try came to its backend, and what came of it.
type TryDecision struct {
	// After the request's beginning.
	After time.Duration `json:"after"`
	// Balance is the policy that picked, and Candidates are what it had to choose from; All is how many there were where
	// there is room for no more.
	Balance    string              `json:"balance"`
	Candidates []CandidateDecision `json:"candidates"`
	All        int                 `json:"all_candidates"`
	// Backend that was picked; empty: none was, and Refusal says why.
	Backend string `json:"backend,omitempty"`
	Refusal string `json:"refusal,omitempty"`
	// Sticky says that the request was bound to a backend by its cookie.
	Sticky bool `json:"sticky,omitempty"`
	// Probe says that the try tested a broken backend.
	Probe bool `json:"probe,omitempty"`
	// Verdict says what was decided when the try had failed; Pause is the time before the next.
	Verdict string        `json:"verdict,omitempty"`
	Pause   time.Duration `json:"pause,omitempty"`
	// Budget is the service's account of retries when that was decided; nil: it was not asked.
	Budget *BudgetDecision `json:"budget,omitempty"`
}

// BudgetDecision is an account of retries at one moment, over the last ten seconds.
type BudgetDecision struct {
	// Allowed is how many the share of the requests allows, as far as the service's failures leave it.
	Allowed float64 `json:"allowed"`
	// Spent is how many there were, by all gateways that share the account; the one in question is among them if it was granted.
	Spent int64 `json:"spent"`
}

// CandidateDecision is what was known of one backend when the choice was made.
type CandidateDecision struct {
	Backend  string        `json:"backend"`
	Address  string        `json:"address"`
	State    string        `json:"state"`
	InFlight int64         `json:"in_flight"`
	Latency  time.Duration `json:"latency,omitempty"` // expected, where the policy keeps it
	Score    *float64      `json:"score,omitempty"`   // what the policy compares; less is better
}

// story is a Decision while it is being made. It holds pointers rather than names, and is made for one request in many.
type story struct {
	target   *target
	start    time.Duration
	trace    traceID
	id       string
	method   string
	path     string
	status   int
	fault    fault
	took     time.Duration
	attempts int
	tries    []try
}

type try struct {
	at         time.Duration
	candidates []policy.Candidate
	all        int
	backend    *backend
	refusal    policy.Refusal
	sticky     bool
	probe      bool
	verdict    policy.Verdict
	decided    bool
	pause      time.Duration
	budget     BudgetDecision
}

// memory holds the latest stories.
type memory struct {
	mu       sync.Mutex
	last     time.Duration // when an ordinary request was last chosen
	ordinary ring
	notable  ring
}

// ring keeps the latest of what is put into it.
type ring struct {
	size  int
	all   []*story
	next  int
	total int64 // that were put
}

func (r *ring) put(s *story) {
	r.total++
	if len(r.all) < r.size {
		r.all = append(r.all, s)
		return
	}
	r.all[r.next] = s
	r.next = (r.next + 1) % r.size
}

// newest returns the latest story that f is true of.
func (r *ring) newest(f func(*story) bool) *story {
	for i := range len(r.all) {
		if s := r.all[(r.next+len(r.all)-1-i)%len(r.all)]; f(s) {
			return s
		}
	}
	return nil
}

func newMemory() memory {
	return memory{last: -whyPause, ordinary: ring{size: whyOrdinary}, notable: ring{size: whyNotable}}
}

// chooses reports whether a request that begins now is told from its first try on.
func (m *memory) chooses(now time.Duration) bool {
	if !m.mu.TryLock() {
		return false // another is being chosen at this very moment
	}
	defer m.mu.Unlock()
	if now-m.last < whyPause {
		return false
	}
	m.last = now
	return true
}

// keep remembers a story that has ended.
func (m *memory) keep(s *story) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.fault.kind != noFault || s.status >= 500 || s.attempts > 1 {
		m.notable.put(s)
		return
	}
	m.ordinary.put(s)
}

// pick takes a place at a backend for the walk's next try, and remembers what there was to choose from.
func (c *walk) pick() (policy.Grant, policy.Refusal) {
	now := c.g.now()
	lane := c.target.lane
	if c.story == nil && (c.attempts > 0 || c.g.memory.chooses(now)) {
		c.story = new(story)
	}
	if c.story == nil || len(c.story.tries) == whyTries {
		return lane.pick(&c.search, now)
	}
	t := try{at: now, sticky: c.search.Bound}
	t.candidates, t.all = lane.pool.Candidates(&c.search, now, make([]policy.Candidate, 0, whyCandidates))
	g, why := lane.pick(&c.search, now)
	if t.refusal = why; why == policy.Picked {
		t.backend, t.probe = g.Owner.(*backend), g.Probe()
	}
	// Who waits for a backend looks again and again: only the last look counts.
	if n := len(c.story.tries); n > 0 && c.story.tries[n-1].backend == nil {
		c.story.tries[n-1] = t
	} else {
		c.story.tries = append(c.story.tries, t)
	}
	return g, why
}

// judged remembers what was decided about a try that failed.
func (c *walk) judged(v policy.Verdict, pause time.Duration) {
	if c.story == nil || len(c.story.tries) == 0 {
		return
	}
	t := &c.story.tries[len(c.story.tries)-1]
	t.verdict, t.pause, t.decided = v, pause, true
	t.budget.Allowed, t.budget.Spent = c.target.lane.retrier.Budget().Allowed(c.g.now())
}

// remember ends the story of a request. One that did not go well has one even if nothing was noted on its way.
func (c *walk) remember(code int, f fault, method, path string, took time.Duration) {
	if c.story == nil {
		if f.kind == noFault && code < 500 {
			return
		}
		c.story = new(story)
	}
	s := c.story
	s.target, s.start, s.trace, s.id, s.method, s.path = c.target, c.start, c.trace, c.requestID, method, path
	s.status, s.fault, s.took, s.attempts = code, f, took, c.attempts
	c.g.memory.keep(s)
	c.story = nil
}

// Why returns what is remembered of the request with the given id, or of the latest one of a trace id; ok is false if
// it is not remembered (any more): the latest 1,024 that did not go well are, and the latest 2,048 others, of which a
// gateway with more than 5,000 requests a second remembers a part.
func (g *Gateway) Why(id string) (d Decision, ok bool) {
	trace, _, traced := parseTraceparent("00-" + id + "-0000000000000001-00")
	is := func(s *story) bool { return s.id == id || traced && s.trace == trace }
	g.memory.mu.Lock()
	s := g.memory.notable.newest(is)
	if s == nil {
		s = g.memory.ordinary.newest(is)
	}
	g.memory.mu.Unlock()
	if s == nil {
		return d, false
	}
	return g.tell(s), true // nobody writes to a story that has ended
}

func (g *Gateway) tell(s *story) Decision {
	d := Decision{
		RequestID: s.id, TraceID: traceparent(s.trace, 0)[3:35], Time: g.origin.Add(s.start), Method: s.method, Path: s.path,
		Route: s.target.traffic.name, Status: s.status, Detail: s.fault.detail, Took: s.took, Attempts: s.attempts,
	}
	if s.fault.kind != noFault {
		d.Error = s.fault.kind.String()
	}
	balance := ""
	if l := s.target.lane; l != nil {
		d.Service, balance = l.service.name, string(l.balance)
	}
	for _, t := range s.tries {
		n := TryDecision{After: t.at - s.start, Balance: balance, All: t.all, Sticky: t.sticky, Probe: t.probe}
		for _, c := range t.candidates {
			b := c.Owner.(*backend)
			cd := CandidateDecision{Backend: b.id, Address: b.address, State: c.State.String(), InFlight: c.Pending, Latency: c.Latency}
			if c.Score >= 0 {
				cd.Score = &c.Score
			}
			n.Candidates = append(n.Candidates, cd)
		}
		if t.backend != nil {
			n.Backend = t.backend.id
			if !slices.ContainsFunc(n.Candidates, func(c CandidateDecision) bool { return c.Backend == n.Backend }) {
				n.Candidates = append(n.Candidates, CandidateDecision{Backend: t.backend.id, Address: t.backend.address, State: "picked"})
			}
		} else {
			n.Refusal = t.refusal.String()
		}
		if t.decided {
			n.Verdict, n.Pause = t.verdict.String(), t.pause
			if t.verdict == policy.Repeat || t.verdict == policy.OverBudget {
				n.Budget = &t.budget
			}
		}
		d.Tries = append(d.Tries, n)
	}
	return d
}
