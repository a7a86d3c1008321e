package topology

// Match says what else a request must have for a route to take it, besides host, method and path: all that is named. A
// value is compared as a whole; one that ends in '*' is a prefix, so that '*' alone asks only that there is a value.
type Match struct {
	// Headers that the request must have, by name.
	Headers map[string]string `yaml:"headers"`
	// Cookies that it must have, by name.
	Cookies map[string]string `yaml:"cookies"`
	// Query parameters that it must have, by name.
	Query map[string]string `yaml:"query"`
}

// Canary sends a growing share of a route's requests to another service, and judges it by its errors and latency
// against the service of the route ('to'). Where it is worse, its share falls to nothing and stays there.
type Canary struct {
	// To is the service under test.
	To string `yaml:"to" schema:"required"`
	// Steps are the shares that it is given, one after the other. After the last step has passed it keeps that share.
	Steps []Percent `yaml:"steps" schema:"default=[5%, 25%, 50%],minItems=1,maxItems=20,itemMinimum=0.001%,itemMaximum=90%"`
	// Interval is how long each step lasts at least. One that is undecided goes on for up to ten times as long, and has
	// then failed.
	Interval Duration `yaml:"interval" schema:"default=1m,minimum=100ms,maximum=24h"`
	// MinRequests that each of the two must have answered before a step is judged.
	MinRequests int `yaml:"min_requests" schema:"minimum=10,maximum=1000000000,default=100"`
	// Errors is by how much the share of failures may be above that of the other and still pass.
	Errors Percent `yaml:"errors" schema:"maximum=100%,default=1%"`
	// Slower is how many times the latency of the other, at p50 and p95, still passes.
	Slower float64 `yaml:"slower" schema:"minimum=1,maximum=1000,default=1.25"`
	// Confidence of a judgement; the looks at one step share what is left to 100 %.
	Confidence Percent `yaml:"confidence" schema:"minimum=50%,maximum=99.999%,default=99%"`
}

// Mirror sends copies of requests to another service. Nobody waits for its answers, which are thrown away; copies carry
// the header X-Banyan-Mirror with the route's name. A copy that would be one too many, or whose body is above 64 KiB, is
// not sent.
type Mirror struct {
	// To is the service that gets the copies.
	To string `yaml:"to" schema:"required"`
	// Share of the requests that are copied.
	Share Percent `yaml:"share" schema:"maximum=100%,default=100%"`
	// Concurrency is how many copies may be on their way at once.
	Concurrency int `yaml:"concurrency" schema:"minimum=1,maximum=10000,default=64"`
}

// Rewrite changes a request before it is sent on. Either prefix or from and to change its path; its query stays.
type Rewrite struct {
	// Prefix takes the place of the route's own path at the beginning of the request's.
	Prefix string `yaml:"prefix" schema:"format=path"`
	// From is a template that the whole path must fit, such as /shop/{category}/{item}; {name...} at the end takes
	// all that is left. A path that does not fit stays as it is.
	From string `yaml:"from" schema:"format=path"`
	// To is the path that is made of it, with the names of from in braces.
	To string `yaml:"to" schema:"format=path"`
	// Host that the request names instead of its own.
	Host string `yaml:"host" schema:"format=host"`
}

// HeaderEdits change the headers of a route's requests, and of its answers.
type HeaderEdits struct {
	// Request headers, on their way to the service.
	Request HeaderEdit `yaml:"request"`
	// Response headers, on their way to the client.
	Response HeaderEdit `yaml:"response"`
}

// HeaderEdit is applied in this order: remove, set, add.
type HeaderEdit struct {
	// Remove these headers.
	Remove []string `yaml:"remove" schema:"maxItems=64"`
	// Set these to one value each, in place of what they had.
	Set map[string]string `yaml:"set"`
	// Add a value to each of these.
	Add map[string]string `yaml:"add"`
}

// Redirect answers a route's requests by sending the client elsewhere. What is not said stays as it was requested, the
// query always.
type Redirect struct {
	// Scheme to go to.
	Scheme string `yaml:"scheme" schema:"enum=http|https"`
	// Host to go to, with a port where one is needed.
	Host string `yaml:"host" schema:"maxLength=255"`
	// Path to go to.
	Path string `yaml:"path" schema:"format=path"`
	// Prefix takes the place of the route's own path at the beginning of the request's.
	Prefix string `yaml:"prefix" schema:"format=path"`
	// Status of the answer.
	Status int `yaml:"status" schema:"minimum=301,maximum=308,default=308"`
}

// Fault hurts a route's requests on purpose, to see what that does: a delay, a refusal, or one after the other.
type Fault struct {
	// Delay before anything else is done for the request.
	Delay Duration `yaml:"delay" schema:"maximum=1h"`
	// Abort answers with this status instead of asking the service. 0: the service is asked.
	Abort int `yaml:"abort" schema:"minimum=0,maximum=599"`
	// Share of the requests that are hurt.
	Share Percent `yaml:"share" schema:"maximum=100%,default=100%"`
}

// Hedge sends a request that is slow a second time, to another replica, and takes the first answer (J. Dean, L. Barroso,
// The Tail at Scale, 2013). Only idempotent methods are hedged (RFC 9110, 9.2.2).
type Hedge struct {
	// Quantile of the route's recent latencies after which a request is called slow.
	Quantile Percent `yaml:"quantile" schema:"minimum=50%,maximum=99.99%,default=95%"`
	// MinDelay is the least time after which a request is called slow.
	MinDelay Duration `yaml:"min_delay" schema:"default=1ms,maximum=1m"`
	// Budget is the share of recent requests that may be hedged.
	Budget Percent `yaml:"budget" schema:"maximum=50%,default=5%"`
	// MaxUtilization of the service above which nothing is hedged.
	MaxUtilization Percent `yaml:"max_utilization" schema:"maximum=100%,default=70%"`
}

// Admission refuses at the door what cannot finish in the time that it has left: as many requests in flight as there
// are now took longer than that lately. It is answered 503 with Retry-After.
type Admission struct {
	// Margin is how many times its time left a request may be expected to take and is still let in.
	Margin float64 `yaml:"margin" schema:"minimum=0.1,maximum=100,default=1"`
}

// Priority says what is shed first where the service is busy. It needs 'adaptive', or 'concurrency' of the service, to
// know what busy means.
type Priority struct {
	// Class of the requests: bulk is shed from 60 % utilisation on, best-effort from 70 %, degraded from 80 %, critical
	// never before all is full.
	Class string `yaml:"class" schema:"enum=critical|degraded|best-effort|bulk,default=degraded"`
	// Header whose value names the class of a request. From outside it can only lower it. Left out: X-Banyan-Priority.
	Header string `yaml:"header" schema:"maxLength=256"`
}

// Locality prefers replicas in the gateway's own zone.
type Locality struct {
	// Overprovision is how many times their share of the load the replicas of a zone can take: with 1.4, all requests
	// stay in the zone until fewer than 1/1.4 of its replicas can be used; then the rest goes to other zones.
	Overprovision float64 `yaml:"overprovision" schema:"minimum=1,maximum=100,default=1.4"`
	// Spill is the number of requests in flight per replica (of weight 1) of the zone above which requests go to other
	// zones as well. 0: only where none of the zone can be used.
	Spill float64 `yaml:"spill" schema:"minimum=0,maximum=1000000"`
}

// Share is the part of a route's requests that a service gets.
type Share struct {
	Service string
	Share   float64
}

// Shares returns where the requests of a route go: by service, sorted, summing up to 1. A redirect goes nowhere. A
// canary counts as its last step where promoted is set, and else not at all.
func (r *Route) Shares(promoted bool) []Share {
	var out []Share
	var total float64
	for _, name := range sortedKeys(r.Split) {
		if w := r.Split[name]; w > 0 {
			total += w
			out = append(out, Share{name, w})
		}
	}
	for i := range out {
		out[i].Share /= total
	}
	if len(r.Split) == 0 && r.To != "" {
		out = append(out, Share{r.To, 1})
	}
	if c := r.Canary; c != nil && promoted && len(c.Steps) > 0 && len(out) == 1 {
		last := float64(c.Steps[len(c.Steps)-1])
		out[0].Share -= last
		out = append(out, Share{c.To, last})
	}
	return out
}

// Unmodelled names what a route asks for that decides on what a request meets at run time, and that predictions leave out.
func (r *Route) Unmodelled() []string {
	names := r.Inbound.Unmodelled()
	if r.Canary != nil {
		names = append(names, "canary")
	}
	if r.Fault != nil {
		names = append(names, "fault")
	}
	return names
}

// primary returns the service that a route takes its inbound over from: the one of the most weight.
func (r *Route) primary() string {
	best := ""
	for _, name := range sortedKeys(r.Split) {
		if best == "" || r.Split[name] > r.Split[best] {
			best = name
		}
	}
	return best
}
