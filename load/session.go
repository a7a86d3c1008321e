package load

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// scenarioEnd says how a scenario ended.
type scenarioEnd int

const (
	scenarioWhole   scenarioEnd = iota // every step ended well
	scenarioFailed                     // a step ended with an error, or could not be made
	scenarioStopped                    // the end of the run came before its own
	scenarioUnfed                      // it was not begun, for a feeder has no row left
)

// connectPause is the least pause of a user whose request found no connection, so that users of a target that is down
// do not spend the machine on trying.
const connectPause = 100 * time.Millisecond

// session runs scenarios, one after the other: a user of a closed workload, or what serves the arrivals of an open one.
// It belongs to one thread and keeps its memory from request to request.
type session struct {
	run     *run
	thread  thread
	targets *targets
	shard   int
	own     []caller // by target, of a user who keeps his connections to himself; nil: one is borrowed for each request
	held    []caller // by target, borrowed until the scenario ends
	values  values
	pcg     rand.PCG
	jar     jar

	step    *step
	x       exchange
	request []byte
	body    []byte
	path    []byte // of the request under way, for its cookies
}

func newSession(r *run, shard int) *session {
	s := &session{run: r, targets: &r.targets, shard: shard % len(r.rec.shards)}
	s.values.rng = rand.New(&s.pcg)
	s.x.each = s.header
	s.x.timeout = r.timeout
	return s
}

// begin makes the session ready for another scenario: with what its setup extracted, and nothing else.
func (s *session) begin(sc *scenario) {
	if len(s.values.vars) < sc.vars {
		s.values.vars = append(s.values.vars, make([]value, sc.vars-len(s.values.vars))...)
	}
	for i := range s.values.vars {
		v := &s.values.vars[i]
		if v.set = i < len(sc.given) && sc.given[i].set; v.set {
			v.text, v.raw = append(v.text[:0], sc.given[i].text...), sc.given[i].raw
		}
	}
}

// feed takes a row of every feeder that sc uses; false where one has none left.
func (s *session) feed(sc *scenario) bool {
	if len(sc.feeders) == 0 {
		return true
	}
	if len(s.values.rows) == 0 {
		s.values.rows = make([]int64, len(s.run.plan.feeders))
	}
	whole := true
	for _, f := range sc.feeders {
		row, ok := f.draw(s.values.rng)
		s.values.rows[f.id] = row
		whole = whole && ok
	}
	return whole
}

// taken draws whether this run of the scenario takes the step.
func (s *step) taken(rng *rand.Rand) bool { return s.weight >= 1 || rng.Float64() < s.weight }

// scenario runs sc, whose first step is due at instant due, and returns when the step after its last is due.
func (s *session) scenario(sc *scenario, due time.Duration) (next time.Duration, end scenarioEnd) {
	s.begin(sc)
	if !s.feed(sc) {
		s.run.rec.unfed(due)
		return due, scenarioUnfed
	}
	next = due
	started := false
	last := due
	for _, st := range sc.steps {
		if !st.taken(s.values.rng) {
			continue
		}
		if next >= s.run.rec.end || !s.thread.sleep(next) {
			if next <= s.run.now() {
				s.unsent(st, next)
			}
			end = scenarioStopped
			break
		}
		o, ok := s.perform(st, next, &started, due)
		if !ok {
			if end = scenarioStopped; !s.run.stopped() {
				end = scenarioFailed // a value was missing
			}
			last = s.run.now()
			break
		}
		if o.kind != "" {
			end = scenarioFailed
		}
		last = o.done
		next = o.done + s.think(st, o.kind)
	}
	s.letGo()
	switch {
	case started:
		s.run.rec.finish(due, last, end)
	case end == scenarioStopped && !s.run.closed:
		s.run.rec.notStarted(due, 1)
	}
	return next, end
}

// unsent counts a step that was due when the run ended. In a closed workload nothing is due by a schedule: a user who
// did not come to his next request has not been kept from it.
func (s *session) unsent(st *step, due time.Duration) {
	if !s.run.closed {
		s.run.rec.lose(s.shard, st.id, due, notSent, 1)
	}
}

func (s *session) think(st *step, kind Kind) time.Duration {
	think := time.Duration(0)
	if st.think > 0 {
		think = time.Duration(stats.Pause(s.run.cfg.Workload.ThinkTimes, float64(st.think), s.values.rng))
	}
	if s.run.closed && (kind == Refused || kind == Unreachable || kind == DNS || kind == TLS || kind == LocalLimit) {
		think = max(think, connectPause)
	}
	return think
}

// perform sends the request of st, which is due at the given instant, and records what became of it; false if it was
// not sent, was cut off, or could not be made.
func (s *session) perform(st *step, due time.Duration, started *bool, arrival time.Duration) (outcome, bool) {
	rec := s.run.rec
	o := outcome{step: st.id, intended: due}
	c, queued := s.caller(st)
	if o.queued = queued; c == nil {
		s.unsent(st, due)
		return o, false
	}
	defer s.release(st, c)
	if queued && (s.run.ended() || !s.run.catchUp(s, due)) {
		s.unsent(st, due)
		return o, false
	}
	if !s.build(st) {
		rec.lose(s.shard, st.id, due, skipped, 1)
		return o, false
	}
	rec.inFlight.Add(1)
	rec.sent.Add(1)
	o.sent = s.run.now()
	s.x.began = s.run.origin.Add(o.sent)
	if !*started {
		*started = true
		rec.arrival(arrival, o.sent)
	}
	err := c.do(s.run.ctx, &s.x)
	o.done = s.run.now()
	rec.inFlight.Add(-1)
	if err != nil && s.run.ctx.Err() != nil {
		rec.lose(s.shard, st.id, due, unfinished, 1)
		return o, false
	}
	o.bytes, o.connects, o.reconnects = s.x.bytesIn, s.x.connected, s.x.reconnects
	if o.kind = exchangeKind(err); err == nil {
		o.status = s.x.head.status
		o.kind = s.judge(st)
	}
	rec.record(s.shard, &o)
	return o, true
}

// build writes the request of st; false where a value is missing.
func (s *session) build(st *step) bool {
	s.step = st
	if s.x.call = st.call; st.call != nil {
		s.x.capture = st.capture
		var ok bool
		s.request, ok = st.call.build(s.request[:0], &s.values)
		s.x.request = s.request
		return ok
	}
	s.x.method, s.x.idempotent, s.x.capture = st.method, st.idempotent, st.capture
	for i := range st.extracts {
		if st.extracts[i].header != "" {
			s.values.vars[st.extracts[i].slot].set = false
		}
	}
	if st.fixed != nil && (len(s.jar.cookies) == 0 || st.ownCookie) {
		s.x.request = st.fixed
		s.path = requestPath(st.fixed, st.method)
		return true
	}
	var ok bool
	if s.request, ok = st.request.append(s.request[:0], &s.values); !ok {
		return false
	}
	if s.body, ok = st.body.append(s.body[:0], &s.values); !ok {
		return false
	}
	// The line stays where it is in the buffer it was written to, even if the rest moves to a larger one.
	s.path = requestPath(s.request, st.method)
	if !st.ownCookie {
		s.request = s.jar.append(s.request, s.path)
	}
	s.request = appendBody(s.request, s.body, st.hasBody)
	s.x.request = s.request
	return true
}

// requestPath returns the path in a request line, without its query.
func requestPath(request []byte, method string) []byte {
	path := request[len(method)+1:]
	for i, c := range path {
		if c == ' ' || c == '?' {
			return path[:i]
		}
	}
	return path
}

// header takes cookies and values from a header of the answer.
func (s *session) header(name, value []byte) {
	if len(name) == len("Set-Cookie") && equalFold(name, "set-cookie") {
		s.jar.set(value, string(s.path), time.Now())
	}
	if !s.step.headers {
		return
	}
	for i := range s.step.extracts {
		x := &s.step.extracts[i]
		if x.header == "" || len(name) != len(x.header) || canonical(x.header) != canonical(string(name)) {
			continue
		}
		if v := &s.values.vars[x.slot]; !v.set {
			v.text, v.raw, v.set = append(v.text[:0], value...), false, true
		}
	}
}

// judge looks at an answer: its status, then its text, then its values.
func (s *session) judge(st *step) Kind {
	if st.call == nil && !st.good(s.x.head.status) {
		return BadStatus
	}
	if st.contains != nil && !bytes.Contains(s.x.body, st.contains) {
		return BadContent
	}
	kind := Kind("")
	for i := range st.extracts {
		x := &st.extracts[i]
		v := &s.values.vars[x.slot]
		if x.needsBody() {
			v.set = x.fromBody(s.x.body, v)
		}
		if !v.set {
			kind = NotExtracted
		}
	}
	return kind
}
