package simulate

import (
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// aimModel says what of a request decides on the replica it gets, and whether it is let in at all.
type aimModel struct {
	hash    *topology.Hash // nil: nothing
	outside bool           // requests come from outside: they have steps of their own, and cookies
	limit   *topology.Limit
	cookie  int32 // that binds the client; none: none does
	ttl     int64 // of the cookie; 0: as long as the session
}

// aim is an aimModel at work.
type aim struct {
	*aimModel
	limiter *policy.RateLimiter // nil: there is none
}

// binding is what a client's cookie says: the key of its replica.
type binding struct {
	key   uint64
	until int64 // 0: it is not bound
}

func newAim(m *aimModel) aim {
	a := aim{aimModel: m}
	if m.limit != nil {
		burst := m.limit.Burst
		if burst == 0 {
			burst = int(min(max(float64(m.limit.Rate), 1), 1e9))
		}
		a.limiter = policy.NewRateLimiter(float64(m.limit.Rate), burst)
	}
	return a
}

// simulated are the parts of an inbound that the prediction leaves out and the simulation does not. Whoever adds one to
// topology.Inbound.Unmodelled adds it here when the simulator knows it.
var simulated = map[string]bool{"sticky": true, "slow_start": true, "outliers": true, "limit": true,
	"try_timeout": true, "admission": true, "priority": true}

// unsimulated names what an inbound asks for and the simulation leaves out.
func unsimulated(in *topology.Inbound) (names []string) {
	for _, name := range in.Unmodelled() {
		if !simulated[name] {
			names = append(names, name)
		}
	}
	return names
}

// hashes reports whether a balancing policy maps requests to replicas.
func hashes(b topology.Balance) bool {
	switch b {
	case topology.RingHash, topology.Maglev, topology.BoundedHash, topology.Rendezvous:
		return true
	}
	return false
}

// aim returns what of a request matters on the way to a service; none where nothing does. Each route and each caller
// has a rate limit of its own.
func (c *compiler) aim(from, to int32, in topology.Inbound) int32 {
	a := aimModel{cookie: none, outside: from == none, limit: in.Limit}
	if hashes(in.Balance) {
		if a.hash = in.Hash; a.hash == nil {
			a.hash = &topology.Hash{Client: true}
		}
		if from != none && !a.hash.Client {
			c.assume("calls to %s are mapped to replicas by what the request from outside is about: what services send on is not known", c.m.services[to].name)
		}
	}
	if in.Sticky != nil && from == none {
		name := in.Sticky.Cookie
		if name == "" {
			name = "banyan_" + c.m.services[to].name
		}
		i, ok := c.byCookie[name]
		if !ok {
			i = int32(len(c.byCookie))
			c.byCookie[name] = i
			c.m.cookies++
		}
		a.cookie, a.ttl = i, int64(in.Sticky.TTL)
	}
	if a.hash == nil && a.limit == nil && a.cookie == none {
		return none
	}
	c.m.keyed = true
	for i, other := range c.m.aims {
		if a.limit == nil && other == a {
			return int32(i)
		}
	}
	c.m.aims = append(c.m.aims, a)
	return int32(len(c.m.aims) - 1)
}

// withinLimit counts a call against the rate limit, if there is one.
func (s *sim) withinLimit(i int32, from *visit) bool {
	a := &s.aims[i]
	if a.limiter == nil {
		return true
	}
	var key uint64
	switch a.limit.By {
	case "client":
		key = from.client
	case "header":
		if key = from.about; a.outside {
			key = s.stepOf(from).limit.value(s, from)
		}
	}
	_, ok := a.limiter.Allow(key, s.instant())
	return ok
}

// aimAt sets what of the request decides on its replica.
func (s *sim) aimAt(i int32, from *visit, r *policy.Request) {
	a := &s.aims[i]
	if a.hash != nil {
		switch {
		case a.hash.Client:
			r.Hash = from.client
		case a.outside:
			r.Hash = r.Random // without the key any replica is as good
			if k := &s.stepOf(from).hash; k.known {
				r.Hash = k.value(s, from)
			}
		default:
			r.Hash = from.about
		}
	}
	if a.cookie != none {
		if b := s.bindingOf(a, from); b.until > s.now {
			r.Prefer, r.Bound = b.key, true
		}
	}
}

// bind binds the client of an answered call to the replica that answered, unless it is bound to one that is still there.
func (s *sim) bind(c *call) {
	e := &s.edges[c.edge]
	if e.aim == none || s.aims[e.aim].cookie == none {
		return
	}
	a := &s.aims[e.aim]
	if c.search.Bound && s.lanes[e.lane].pool.Has(c.search.Prefer) {
		return
	}
	b := binding{key: c.grant.Key, until: never}
	if a.ttl > 0 {
		b.until = s.now + a.ttl
	}
	*s.bindingOf(a, s.visits.at(c.parent)) = b
}

func (s *sim) bindingOf(a *aim, root *visit) *binding {
	u := s.requests.at(root.request).session
	return &s.bindings[int(u)*s.m.cookies+int(a.cookie)]
}

// stepOf is the step that a root visit is the request of.
func (s *sim) stepOf(root *visit) *step {
	se := s.sessions.at(s.requests.at(root.request).session)
	return &s.load.scenarios[se.scenario].steps[se.step-1]
}

// identify gives a root visit its client, and what it is about.
func (s *sim) identify(v, u int32, st *step) {
	se, at := s.sessions.at(u), s.visits.at(v)
	at.client, at.about = se.client, mix64(se.run)
	if st.hash.known {
		at.about = st.hash.value(s, at)
	}
}

// keySource is the text of a part of a request, as far as it tells requests apart: what is equal has equal values.
type keySource struct {
	known   bool
	literal uint64
	parts   []keyPart
}

type keyPartKind uint8

const (
	keyUser   keyPartKind = iota // the client
	keyRun                       // another one in each run of a scenario
	keyFresh                     // another one in each request
	keyDrawn                     // one of n, all as likely, in each request
	keyRanked                    // the same, the first ones more often
	keyRow                       // a feeder's row, in turn
	keyRandomRow
	keyRankedRow
)

// keyPart is a variable in a text.
type keyPart struct {
	kind   keyPartKind
	n      uint64 // values; 0: without end
	feeder uint64 // a hash of its name
	zipf   *stats.Zipf
}

// value is that of the request at a root visit.
func (k *keySource) value(s *sim, root *visit) uint64 {
	h := k.literal
	for i := range k.parts {
		h = mix64(h ^ k.parts[i].value(s, root) + 0x9e3779b97f4a7c15*uint64(i+1))
	}
	return h
}

func (p *keyPart) value(s *sim, root *visit) uint64 {
	run := s.sessions.at(s.requests.at(root.request).session).run
	seed := mix64(run ^ p.feeder)
	uniform := func() float64 {
		seed += 0x9e3779b97f4a7c15
		return float64(mix64(seed)>>11) * 0x1p-53
	}
	switch p.kind {
	case keyUser:
		return root.client
	case keyRun:
		return run
	case keyDrawn:
		return uint64(s.users.uniform() * float64(p.n))
	case keyRanked:
		return p.zipf.Draw(s.users.uniform)
	case keyRow:
		if p.n == 0 {
			return run
		}
		return run % p.n
	case keyRandomRow:
		return uint64(uniform() * float64(p.n))
	case keyRankedRow:
		return p.zipf.Draw(uniform)
	}
	return s.users.pcg.Uint64()
}

// feederSkew is the exponent with which the load generator draws under zipf (package load).
const feederSkew = 0.99

// keys finds, for each step, what its route's hash and limit go by.
func (c *compiler) keys() {
	for i := range c.m.load.scenarios {
		for k := range c.m.load.scenarios[i].steps {
			st := &c.m.load.scenarios[i].steps[k]
			route := c.sys.RouteByName(c.m.load.routes[st.route])
			if route == nil {
				continue // a function's
			}
			to := c.sys.Services[route.To]
			if to == nil {
				to = &topology.Service{} // a redirect's, or one that is split without a service of its own
			}
			in := routeInbound(route, to)
			if in.Hash != nil && hashes(in.Balance) {
				st.hash = c.keyOf(st.sent, *in.Hash)
				if !st.hash.known && !in.Hash.Client {
					c.assume("%s: requests are mapped to replicas by what its steps do not send: any replica is as good", route.Name)
				}
			}
			if in.Limit != nil && in.Limit.By == "header" {
				st.limit = c.keyOf(st.sent, topology.Hash{Header: in.Limit.Header})
			}
		}
	}
}

// keyOf is the part of a step's request that is hashed.
func (c *compiler) keyOf(st *topology.Step, on topology.Hash) keySource {
	if st == nil {
		return keySource{}
	}
	path, query, _ := strings.Cut(st.Path, "?")
	switch {
	case on.Path:
		return c.keyText(path)
	case on.Query != "":
		for pair := range strings.SplitSeq(query, "&") {
			if name, value, _ := strings.Cut(pair, "="); name == on.Query {
				return c.keyText(value)
			}
		}
	case on.Header != "":
		for name, value := range st.Headers {
			if strings.EqualFold(name, on.Header) {
				return c.keyText(value)
			}
		}
	case on.Cookie != "":
		for name, value := range st.Headers {
			if !strings.EqualFold(name, "cookie") {
				continue
			}
			for pair := range strings.SplitSeq(value, ";") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && name == on.Cookie {
					return c.keyText(value)
				}
			}
		}
		// A service may have set it: each client then has its own.
		return keySource{known: true, parts: []keyPart{{kind: keyUser}}}
	}
	return keySource{}
}

// keyText compiles a text with ${variables}.
func (c *compiler) keyText(text string) keySource {
	k := keySource{known: true}
	literal := ""
	for text != "" {
		before, rest, ok := strings.Cut(text, "${")
		literal += before + "\x00"
		if !ok {
			break
		}
		var name string
		name, text, _ = strings.Cut(rest, "}")
		k.parts = append(k.parts, c.keyVariable(name))
	}
	k.literal = policy.HashString(literal)
	return k
}

func (c *compiler) keyVariable(name string) keyPart {
	word, args, _ := strings.Cut(name, ":")
	switch word {
	case "user":
		return keyPart{kind: keyUser}
	case "iteration":
		return keyPart{kind: keyRun}
	case "uuid":
		return keyPart{kind: keyFresh}
	case "pick":
		return keyPart{kind: keyDrawn, n: uint64(1 + strings.Count(args, ","))}
	case "random", "zipf":
		low, high, _ := strings.Cut(args, ":")
		from, err1 := strconv.ParseInt(low, 10, 64)
		to, err2 := strconv.ParseInt(high, 10, 64)
		if err1 != nil || err2 != nil || to < from {
			return keyPart{kind: keyFresh}
		}
		p := keyPart{kind: keyDrawn, n: uint64(to-from) + 1}
		if word == "zipf" {
			p.kind, p.zipf = keyRanked, mustZipf(p.n)
		}
		return p
	}
	feeder, _, _ := strings.Cut(name, ".")
	var f *topology.Feeder
	if w := c.sys.Workload; w != nil {
		f = w.Feeders[feeder]
	}
	if f == nil {
		return keyPart{kind: keyRun} // extracted from an earlier answer
	}
	p := keyPart{kind: keyRow, feeder: policy.HashString(feeder)}
	switch {
	case f.From != nil && f.To != nil && *f.To >= *f.From:
		p.n = uint64(*f.To-*f.From) + 1
	case f.From == nil && c.m.o.Rows[feeder] > 0:
		p.n = uint64(c.m.o.Rows[feeder])
	case f.From == nil:
		c.assume("nothing says how many rows feeder %s has: each run of a scenario counts as another one", feeder)
	}
	if p.n > 0 && f.Order == "random" {
		p.kind = keyRandomRow
	}
	if p.n > 0 && f.Order == "zipf" {
		p.kind, p.zipf = keyRankedRow, mustZipf(p.n)
	}
	return p
}

// mustZipf is for numbers that cannot be wrong.
func mustZipf(n uint64) *stats.Zipf {
	z, _ := stats.NewZipf(max(n, 1), feederSkew)
	return z
}
