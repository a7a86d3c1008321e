package load

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// plan is a workload made ready to be sent: each step is bytes and slots. It is not changed once it is compiled.
type plan struct {
	scenarios []*scenario
	shares    []float64 // cumulative, the last is 1
	names     []string  // of the steps in reports, in order of their first appearance
	tags      [][]string
	feeders   []*feeder // that steps use
}

type scenario struct {
	name            string
	vars            int
	slots           map[string]int // of the variables, by name
	setup, teardown []*step
	steps           []*step
	feeders         []*feeder // that the steps use
	kept            map[string]keptValue
	given           []value // what setup extracted, by slot
}

type step struct {
	name       string
	id         int  // place of its name in plan.names
	target     int  // place among the run's targets
	call       call // nil: an HTTP request
	method     string
	request    template // request line and headers that are known beforehand
	body       template
	hasBody    bool
	fixed      []byte // the whole request, where nothing in it changes
	idempotent bool   // RFC 9110, 9.2.2
	extracts   []extraction
	ownCookie  bool // the file gives its Cookie header
	headers    bool // some extraction is from a header
	capture    bool // the answer's body is looked at
	statuses   []int
	contains   []byte
	think      time.Duration // mean
	weight     float64
}

// pick draws a scenario by the mix.
func (p *plan) pick(rng *rand.Rand) *scenario {
	if len(p.scenarios) == 1 {
		return p.scenarios[0]
	}
	i, _ := slices.BinarySearch(p.shares, rng.Float64())
	return p.scenarios[min(i, len(p.scenarios)-1)]
}

// compile makes the plan of w, whose steps go to ts. All that is wrong is reported together.
func compile(w *topology.Workload, router *topology.Router, ts *targets) (*plan, error) {
	p := &plan{}
	c := &compiler{plan: p, router: router, targets: ts, workload: w}
	names, weights, err := scenarioShares(w)
	if err != nil {
		return nil, err
	}
	var errs []error
	total := 0.0
	for i, name := range names {
		sc, err := c.scenario(name, w.Scenarios[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("scenario %s: %w", name, err))
			continue
		}
		p.scenarios = append(p.scenarios, sc)
		total += weights[i]
		p.shares = append(p.shares, total)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range p.shares {
		p.shares[i] /= total
	}
	return p, nil
}

// scenarioShares returns the scenarios that are run, by name, and their weights. Without a mix all weigh the same.
func scenarioShares(w *topology.Workload) (names []string, weights []float64, err error) {
	if len(w.Scenarios) == 0 {
		return nil, nil, errors.New("the workload has no scenarios")
	}
	if len(w.Mix) == 0 {
		for _, name := range sortedKeys(w.Scenarios) {
			names, weights = append(names, name), append(weights, 1)
		}
		return names, weights, nil
	}
	for _, name := range sortedKeys(w.Mix) {
		if w.Scenarios[name] == nil {
			return nil, nil, fmt.Errorf("mix: there is no scenario %q", name)
		}
		if share := float64(w.Mix[name]); share > 0 {
			names, weights = append(names, name), append(weights, share)
		}
	}
	if len(names) == 0 {
		return nil, nil, errors.New("mix: no scenario has a share above 0")
	}
	return names, weights, nil
}

type compiler struct {
	plan     *plan
	router   *topology.Router
	targets  *targets
	workload *topology.Workload
}

// feeder returns the feeder of that name, nil if there is none.
func (c *compiler) feeder(name string) (*feeder, error) {
	if i := slices.IndexFunc(c.plan.feeders, func(f *feeder) bool { return f.name == name }); i >= 0 {
		return c.plan.feeders[i], nil
	}
	declared := c.workload.Feeders[name]
	if declared == nil {
		return nil, nil
	}
	f, err := newFeeder(name, declared, len(c.plan.feeders))
	if err != nil {
		return nil, err
	}
	c.plan.feeders = append(c.plan.feeders, f)
	return f, nil
}

func (c *compiler) scenario(name string, s *topology.Scenario) (*scenario, error) {
	if s == nil || len(s.Steps) == 0 {
		return nil, errors.New("has no steps")
	}
	out := &scenario{name: name}
	sc := &scope{slots: map[string]int{}, defined: map[string]bool{}, unknown: map[string]bool{}}
	for _, st := range slices.Concat(s.Setup, s.Steps, s.Teardown) {
		for _, v := range sortedKeys(st.Extract) {
			if c.workload.Feeders[v] != nil {
				return nil, fmt.Errorf("extract %s: a feeder has this name", v)
			}
			if _, ok := sc.slots[v]; !ok {
				sc.slots[v] = len(sc.slots)
			}
		}
	}
	out.vars, out.slots = len(sc.slots), sc.slots
	var err error
	if out.setup, err = c.steps("setup step", s, s.Setup, sc); err != nil {
		return nil, err
	}
	after := *sc
	after.defined = maps.Clone(sc.defined)
	sc.feeder = c.feeder
	if out.steps, err = c.steps("step", s, s.Steps, sc); err != nil {
		return nil, err
	}
	out.feeders = sc.used
	for i, st := range out.steps {
		if st.id, err = c.plan.nameID(st.name, s.Steps[i].Tags); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if out.teardown, err = c.steps("teardown step", s, s.Teardown, &after); err != nil {
		return nil, err
	}
	if len(sc.unknown) > 0 {
		return nil, fmt.Errorf("unknown variable ${%s}: no earlier step extracts it, no feeder has it, and it is none of user, seq, iteration, uuid, random:A:B, zipf:A:B, pick:A,B",
			strings.Join(sortedKeys(sc.unknown), "}, ${"))
	}
	return out, nil
}

// steps compiles some steps of s, in the order in which they run.
func (c *compiler) steps(what string, s *topology.Scenario, steps []*topology.Step, sc *scope) (out []*step, err error) {
	for i, st := range steps {
		compiled, err := c.step(st, sc)
		if err != nil {
			return nil, fmt.Errorf("%s %d (%s %s): %w", what, i+1, methodOf(st), cmp.Or(st.Path, st.Title()), err)
		}
		compiled.think = c.workload.Think.Std()
		if s.Think != nil {
			compiled.think = s.Think.Std()
		}
		if st.Think != nil {
			compiled.think = st.Think.Std()
		}
		out = append(out, compiled)
		for v := range st.Extract {
			sc.defined[v] = true
		}
	}
	return out, nil
}

func methodOf(s *topology.Step) string {
	if s.Method == "" {
		return "GET"
	}
	return s.Method
}

func (c *compiler) step(s *topology.Step, sc *scope) (*step, error) {
	out := &step{method: methodOf(s), weight: float64(s.Weight)}
	if s.Weight == 0 { // filled with 100% by the loader; a step of weight 0 would not be worth writing
		out.weight = 1
	}
	var err error
	if out.target, err = c.targets.find(s.To); err != nil {
		return nil, err
	}
	to := c.targets.all[out.target]
	if kind := s.Call(); kind != to.protocol().call {
		return nil, fmt.Errorf("a step of %s cannot go to %s", kind, to.scheme)
	}
	if s.Call() == "path" {
		err = c.http(s, sc, to, out)
	} else {
		err = c.call(s, sc, to, out)
	}
	if err != nil {
		return nil, err
	}
	return out, answerOf(s, sc, out)
}

// http compiles a step that is an HTTP request.
func (c *compiler) http(s *topology.Step, sc *scope, to *target, out *step) error {
	if !isToken(out.method) {
		return fmt.Errorf("method %q", out.method)
	}
	out.idempotent = slices.Contains([]string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}, out.method)
	if !strings.HasPrefix(s.Path, "/") {
		return fmt.Errorf("path %q: want it to start with /", s.Path)
	}
	path, err := sc.parse(s.Path, inPath)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	for i := range path {
		path[i].literal = escapeTarget(path[i].literal)
	}
	out.name = c.name(s, to, path)
	if err := c.body(s, sc, out); err != nil {
		return err
	}
	return c.request(s, sc, to, path, out)
}

// answerOf compiles what is done with the answer.
func answerOf(s *topology.Step, sc *scope, out *step) error {
	for _, name := range sortedKeys(s.Extract) {
		x, err := compileExtraction(name, s.Extract[name])
		if err != nil {
			return err
		}
		if !x.needsBody() && out.call != nil {
			return fmt.Errorf("extract %s: the answers of %s have no headers", name, s.Call())
		}
		x.slot = sc.slots[name]
		out.headers = out.headers || !x.needsBody()
		out.capture = out.capture || x.needsBody()
		out.extracts = append(out.extracts, x)
	}
	if s.Expect != nil {
		out.statuses = slices.Clone(s.Expect.Status)
		if s.Expect.Contains != "" {
			out.contains, out.capture = []byte(s.Expect.Contains), true
		}
	}
	return nil
}

// escapeTarget writes what may not stand in a request line as it is.
func escapeTarget(path string) string {
	var b []byte
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '"' || c == '<' || c == '>' {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// name of a step in reports: its own, its route's, or method and path.
func (c *compiler) name(s *topology.Step, to *target, path template) string {
	if s.Name != "" {
		return s.Name
	}
	if c.router != nil && s.IsRouted() {
		sample, _, _ := strings.Cut(path.sample(), "?")
		if decoded, err := url.PathUnescape(sample); err == nil {
			sample = decoded
		}
		host := to.host
		for k, v := range s.Headers {
			if strings.EqualFold(k, "Host") {
				host = v
			}
		}
		if r := c.router.Match(methodOf(s), host, sample, s.Parts()); r != nil {
			return routeName(r)
		}
	}
	return s.Title()
}

func routeName(r *topology.Route) string {
	switch {
	case r.Name != "":
		return r.Name
	case r.Method != "":
		return r.Method + " " + r.Path
	}
	return r.Path
}

// nameID is the place of a step's name; all steps of the name have the same tags.
func (p *plan) nameID(name string, tags []string) (int, error) {
	if i := slices.Index(p.names, name); i >= 0 {
		if !slices.Equal(p.tags[i], tags) {
			return 0, fmt.Errorf("%q has other tags elsewhere: give the step a name of its own", name)
		}
		return i, nil
	}
	p.names, p.tags = append(p.names, name), append(p.tags, tags)
	return len(p.names) - 1, nil
}

// allTags returns the tags of all steps, each once, in order of their first appearance.
func (p *plan) allTags() (out []string) {
	for _, tags := range p.tags {
		for _, tag := range tags {
			if !slices.Contains(out, tag) {
				out = append(out, tag)
			}
		}
	}
	return out
}

func (c *compiler) body(s *topology.Step, sc *scope, out *step) error {
	kinds := 0
	var err error
	if s.Body != "" {
		kinds++
		out.body, err = sc.parse(s.Body, always(escapeNone))
	}
	if s.Form != nil {
		kinds++
		out.body, err = sc.formBody(s.Form)
	}
	if s.JSON != nil {
		kinds++
		if out.body, err = sc.jsonBody(nil, s.JSON, 0); err != nil {
			err = fmt.Errorf("json: %w", err)
		}
	}
	if err != nil {
		return err
	}
	if kinds > 1 {
		return errors.New("want at most one of body, form and json")
	}
	out.hasBody = kinds == 1 || out.method == "POST" || out.method == "PUT" || out.method == "PATCH"
	out.body = out.body.joined()
	return nil
}

// reserved headers say how the message is framed, which is the writer's business.
var reserved = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Expect": true, "Upgrade": true, "Trailer": true, "Te": true}

func (c *compiler) request(s *topology.Step, sc *scope, to *target, path template, out *step) error {
	t := append(template{{literal: out.method + " " + to.path}}, path...)
	t = append(t, segment{literal: " HTTP/1.1\r\n"})
	have := map[string]bool{}
	for _, k := range sortedKeys(s.Headers) {
		key := canonical(k)
		if !isToken(k) {
			return fmt.Errorf("header %q: not a header name", k)
		}
		if reserved[key] {
			return fmt.Errorf("header %s: set by the load generator, not by the file", key)
		}
		if have[key] {
			return fmt.Errorf("header %s: given twice", key)
		}
		have[key] = true
		v, err := sc.parse(s.Headers[k], always(escapeHeader))
		if err != nil {
			return fmt.Errorf("header %s: %w", k, err)
		}
		for _, seg := range v {
			if strings.ContainsFunc(seg.literal, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("header %s: a control character in its value", k)
			}
		}
		t = append(t, segment{literal: key + ": "})
		t = append(append(t, v...), segment{literal: "\r\n"})
	}
	for _, d := range [][2]string{{"Host", to.host}, {"User-Agent", "banyan-load"}, {"Accept", "*/*"}, {"Content-Type", contentType(s)}} {
		if !have[d[0]] && d[1] != "" {
			t = append(t, segment{literal: d[0] + ": " + d[1] + "\r\n"})
		}
	}
	out.ownCookie = have["Cookie"]
	out.request = t.joined()
	if out.request.fixed() && out.body.fixed() {
		full, _ := out.request.append(nil, nil)
		body, _ := out.body.append(nil, nil)
		out.fixed = appendBody(full, body, out.hasBody)
	}
	return nil
}

func contentType(s *topology.Step) string {
	switch {
	case s.Form != nil:
		return "application/x-www-form-urlencoded"
	case s.JSON != nil:
		return "application/json"
	}
	return ""
}

// appendBody ends the headers and writes the body.
func appendBody(dst, body []byte, hasBody bool) []byte {
	if hasBody {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// good reports whether status is what the step wants.
func (s *step) good(status int) bool {
	if len(s.statuses) == 0 {
		return status >= 200 && status < 400
	}
	return slices.Contains(s.statuses, status)
}
