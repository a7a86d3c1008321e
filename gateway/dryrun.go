package gateway

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Recorded is one request of a recording: a line of the access log in JSON.
type Recorded struct {
	Time     time.Time         `json:"time"`
	ID       string            `json:"request_id"`
	Client   string            `json:"client"`
	Method   string            `json:"method"`
	Scheme   string            `json:"scheme"`
	Host     string            `json:"host"`
	URI      string            `json:"uri"`
	Status   int               `json:"status"`
	Duration float64           `json:"duration_ms"`
	Upstream float64           `json:"upstream_ms"`
	Headers  map[string]string `json:"headers"`
}

// maxRecordedLine bounds a line of a recording.
const maxRecordedLine = 1 << 20

// ReadRecording calls each with the requests of an access log in JSON, in their order. Lines that are none are counted,
// not read; a recording without any request is an error.
func ReadRecording(r io.Reader, each func(Recorded)) (skipped int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxRecordedLine)
	n := 0
	for lines.Scan() {
		var q Recorded
		if json.Unmarshal(lines.Bytes(), &q) != nil || q.Method == "" || q.URI == "" || q.Time.IsZero() {
			skipped++
			continue
		}
		n++
		each(q)
	}
	if err := lines.Err(); err != nil {
		return skipped, fmt.Errorf("reading the recording after %d requests: %w", n, err)
	}
	if n == 0 {
		return skipped, errors.New("the recording holds no request: want an access log in 'format: json', or what 'banyan gateway --record FILE' writes")
	}
	return skipped, nil
}

// DryRun holds two versions of a file against each other, request by request, without sending anything: by the router,
// the limits and the hashes that decide for real, at the times of the recording. What depends on the state of backends
// (which one is picked under a policy that looks at load, retries, breakers) it leaves out. It is not safe for
// concurrent use.
type DryRun struct {
	old, now *rehearsal
	diff     Diff
	index    map[[2]string]int
}

// Diff is what another version of a file would have changed.
type Diff struct {
	// Requests that were looked at, and how many of them would have gone another way.
	Requests int `json:"requests"`
	Changed  int `json:"changed"`
	// From and To are the times of the first and the last.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Differences by how many requests they concern, most first.
	Differences []Difference `json:"differences"`
}

// Difference is one kind of change.
type Difference struct {
	Old      string   `json:"old"`
	New      string   `json:"new"`
	Requests int      `json:"requests"`
	Examples []string `json:"examples"` // method, address and id of the first few
}

// maxExamples is how many requests stand for a difference; maxDifferences bounds how many kinds are told apart.
const (
	maxExamples    = 3
	maxDifferences = 10_000
)

// NewDryRun returns a comparison of two versions of a file.
func NewDryRun(old, now *topology.System) (*DryRun, error) {
	d := &DryRun{index: map[[2]string]int{}}
	var err error
	if d.old, err = rehearse(old); err != nil {
		return nil, fmt.Errorf("the old version: %w", err)
	}
	if d.now, err = rehearse(now); err != nil {
		return nil, fmt.Errorf("the new version: %w", err)
	}
	return d, nil
}

// Add looks at one more request; they come in the order of their times.
func (d *DryRun) Add(q Recorded) {
	if d.diff.Requests == 0 {
		d.diff.From = q.Time
	}
	d.diff.Requests++
	d.diff.To = q.Time
	at := max(q.Time.Sub(d.diff.From), 0)
	before, after := d.old.decide(q, at), d.now.decide(q, at)
	if before == after {
		return
	}
	d.diff.Changed++
	key := [2]string{before.what, after.what}
	if key[0] == key[1] {
		key[1] += ", at another backend"
	}
	i, known := d.index[key]
	if !known {
		if len(d.diff.Differences) == maxDifferences {
			return
		}
		i = len(d.diff.Differences)
		d.index[key] = i
		d.diff.Differences = append(d.diff.Differences, Difference{Old: key[0], New: key[1]})
	}
	e := &d.diff.Differences[i]
	e.Requests++
	if len(e.Examples) < maxExamples {
		e.Examples = append(e.Examples, fmt.Sprintf("%s %s%s (%s)", q.Method, q.Host, q.URI, q.ID))
	}
}

// Diff returns what was found so far.
func (d *DryRun) Diff() Diff {
	out := d.diff
	out.Differences = slices.Clone(out.Differences)
	slices.SortStableFunc(out.Differences, func(a, b Difference) int { return cmp.Compare(b.Requests, a.Requests) })
	return out
}

// rehearsal is a gateway that decides and sends nothing.
type rehearsal struct {
	g   *Gateway
	now time.Duration
}

// fate is what becomes of a request; backend is known only where a hash decides.
type fate struct{ what, backend string }

func rehearse(sys *topology.System) (*rehearsal, error) {
	g, err := New(Config{System: sys})
	if err != nil {
		return nil, err
	}
	r := &rehearsal{g: g}
	g.now = func() time.Duration { return r.now }
	for name, svc := range sys.Services {
		for _, b := range placesOf(name, svc) {
			g.Add(name, b)
			g.SetReady(name, b.ID, true)
		}
	}
	return r, nil
}

// placesOf are the backends of a service, by the names that its replicas would have.
func placesOf(name string, svc *topology.Service) (all []Backend) {
	for _, b := range svc.Backends {
		all = append(all, Backend{ID: b.Address, Address: b.Address, Weight: b.Weight})
	}
	if !svc.External() {
		for i := range max(svc.Replicas.Min, 1) {
			all = append(all, Backend{ID: fmt.Sprintf("%s-%d", name, i)})
		}
	}
	return all
}

func (r *rehearsal) decide(q Recorded, at time.Duration) fate {
	r.now = at
	u, err := url.ParseRequestURI(q.URI)
	if err != nil {
		return fate{what: "refused: the address is none"}
	}
	p := &recordedParts{q, u}
	t := r.g.table.Load()
	route := t.router.Match(q.Method, q.Host, u.Path, p)
	if route == nil {
		return fate{what: "no route (404)"}
	}
	to := t.targets[route]
	c := &walk{g: r.g, target: to, start: at}
	name := "route " + to.traffic.name
	if f := c.withinLimit(p); f.kind != noFault {
		return fate{what: name + ": over its limit (429)"}
	}
	switch v := to.rules; {
	case to.lane == nil:
		return fate{what: fmt.Sprintf("%s: sent elsewhere (%d)", name, v.redirect.Status)}
	case v != nil && len(v.ways) > 0:
		name += " to one of"
		for _, w := range v.ways {
			name += " " + w.target.to
		}
	default:
		name += " to " + to.to
	}
	if took := time.Duration(q.Duration * float64(time.Millisecond)); took > to.timeout {
		return fate{what: fmt.Sprintf("%s: longer than its time-out of %v (504)", name, to.timeout)}
	}
	if to.hash == nil {
		return fate{what: name}
	}
	if _, ok := c.hashKey(p, *to.hash); !ok { // it goes anywhere, or what the hash is of was not recorded
		return fate{what: name}
	}
	c.aim(p)
	g, why := to.lane.pool.Pick(&c.search, at)
	if why != policy.Picked {
		return fate{what: name}
	}
	defer to.lane.pool.Release(g, 0, policy.Neutral)
	return fate{what: name, backend: g.Owner.(*backend).id}
}

// recordedParts is a recorded request as decisions see it.
type recordedParts struct {
	q Recorded
	u *url.URL
}

func (p *recordedParts) Header(name string) (value string, ok bool) {
	if name == "Host" {
		return p.q.Host, true
	}
	value, ok = p.q.Headers[http.CanonicalHeaderKey(name)]
	return value, ok
}

func (p *recordedParts) Cookie(name string) (value string, ok bool) {
	return topology.CookieValue(p.q.Headers["Cookie"], name)
}

func (p *recordedParts) Query(name string) (value string, ok bool) {
	return topology.QueryValue(p.u.RawQuery, name)
}

func (p *recordedParts) decodedPath() string { return p.u.Path }
func (p *recordedParts) chain() string       { return p.q.Client }
func (p *recordedParts) secure() bool        { return p.q.Scheme == "https" }
