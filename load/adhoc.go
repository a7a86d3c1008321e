package load

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// AdHocOptions shape a workload of one request. At most one of Rate, Users and Connections is set.
type AdHocOptions struct {
	// Rate of an open workload, per second, with its Arrivals: poisson (the default) or constant.
	Rate     float64
	Arrivals string
	// Users of a closed workload, who think Think on average between two requests.
	Users int
	Think time.Duration
	// Connections on each of which one request follows the other without a pause: users who do not think. It is what is
	// taken, with 10, where neither Rate nor Users is set.
	Connections int
	// Method, headers and body of the request. Default: GET, or POST where there is a body. ${...} is replaced in them,
	// and in the address, as in a step of a scenario.
	Method  string
	Headers map[string]string
	Body    string
	// Duration, Warmup and Timeout, by default 30s, none and 30s.
	Duration, Warmup, Timeout time.Duration
	// Thresholds that the run must keep.
	Thresholds []string
}

// AdHoc returns the workload that sends requests for one address, and its target.
func AdHoc(address string, o AdHocOptions) (*topology.Workload, string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	scheme, rest, _ := strings.Cut(address, "://")
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if strings.HasPrefix(path, "?") {
		path = "/" + path
	}
	path, _, _ = strings.Cut(path, "#")
	target := scheme + "://" + host
	u, err := url.Parse(target)
	if err != nil {
		return nil, "", fmt.Errorf("address %.200q: %w", address, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, "", fmt.Errorf("address %.200q: want http://HOST[:PORT]/PATH", address)
	}
	set := 0
	for _, is := range []bool{o.Rate != 0, o.Users != 0, o.Connections != 0 && o.Rate == 0} {
		if is {
			set++
		}
	}
	if set > 1 {
		return nil, "", fmt.Errorf("want at most one of rate, users and connections")
	}
	w := &topology.Workload{
		Rate: topology.Rate(o.Rate), Arrivals: o.Arrivals, Users: o.Users, Think: topology.Duration(o.Think),
		Duration: topology.Duration(o.Duration), Warmup: topology.Duration(o.Warmup), Timeout: topology.Duration(o.Timeout),
		Thresholds: o.Thresholds,
	}
	if w.Duration == 0 {
		w.Duration = topology.Duration(30 * time.Second)
	}
	if w.Timeout == 0 {
		w.Timeout = topology.Duration(30 * time.Second)
	}
	if w.Arrivals == "" {
		w.Arrivals = "poisson"
	}
	if o.Rate == 0 && o.Users == 0 {
		w.Users = o.Connections
		if w.Users == 0 {
			w.Users = 10
		}
	}
	method := o.Method
	if method == "" {
		if method = "GET"; o.Body != "" {
			method = "POST"
		}
	}
	step := &topology.Step{Method: method, Path: path, Headers: o.Headers, Body: o.Body, Weight: 1}
	w.Scenarios = map[string]*topology.Scenario{"request": {Steps: []*topology.Step{step}}}
	w.Mix = map[string]topology.Percent{"request": 1}
	return w, target, nil
}
