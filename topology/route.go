package topology

import "fmt"

// Route leads requests from outside to a service.
type Route struct {
	// Name of the route in metrics, plans and SLOs. Left out: method and path, for example 'POST /checkout'.
	Name string `yaml:"name"`
	// Host that the request must name; '*' or left out: any. '*.example.com' matches one more label.
	Host string `yaml:"host" schema:"format=host"`
	// Method that the request must have. Left out: any.
	Method string `yaml:"method" schema:"enum=GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS"`
	// Path that the request's path must equal, or start with where it ends in a slash. '/' alone matches everything.
	Path string `yaml:"path" schema:"required,format=path"`
	// Exact makes the path match only itself, even where it ends in a slash.
	Exact bool `yaml:"exact"`
	// Match says what else the request must have. Left out: nothing.
	Match *Match `yaml:"match"`
	// To is the service that answers. With 'split' it is left out, or says whose inbound the route takes over: left
	// out, that of the most weight.
	To string `yaml:"to"`
	// Split divides the requests between services, by weights in relation to each other.
	Split map[string]float64 `yaml:"split" schema:"keys=name,itemMinimum=0,itemMaximum=1000000"`
	// Canary tries another service with a growing share of the requests.
	Canary *Canary `yaml:"canary"`
	// Mirror sends copies of requests to another service.
	Mirror *Mirror `yaml:"mirror"`
	// Rewrite changes path or host of the requests.
	Rewrite *Rewrite `yaml:"rewrite"`
	// Headers of requests and answers that are changed.
	Headers *HeaderEdits `yaml:"headers"`
	// Redirect sends clients elsewhere; then no service answers.
	Redirect *Redirect `yaml:"redirect"`
	// Fault hurts requests on purpose.
	Fault *Fault `yaml:"fault"`
	// MaxBody is the largest body of a request; larger ones are answered 413. 0: no limit.
	MaxBody Bytes `yaml:"max_body"`
	// MaxHeader is the most that the head of a request may have, lines and all; more is answered 431. 0: 64KiB, the
	// most there is.
	MaxHeader Bytes `yaml:"max_header" schema:"maximum=64KiB"`
	// HTTPCache keeps answers, to serve them again without the service. Left out: none is kept; {} takes the defaults.
	HTTPCache *HTTPCache `yaml:"http_cache"`
	// Inbound overrides, for this route, how calls to the service are balanced, retried and broken.
	Inbound `yaml:",inline"`
}

// Inbound says how calls to a service are handled on their way. Unset fields of a route take the service's.
type Inbound struct {
	// Balance is the policy that picks a replica for each request.
	Balance Balance `yaml:"balance" schema:"enum=round-robin|weighted-round-robin|random|least-request|p2c-ewma|prequal|ring-hash|maglev|bounded-hash|rendezvous,default=least-request"`
	// Hash says what of a request leads it to its replica, under ring-hash, maglev, bounded-hash and rendezvous. Left
	// out: the client's address.
	Hash *Hash `yaml:"hash"`
	// Sticky binds a client to one replica, for as long as that is there. Left out: no client is bound.
	Sticky *Sticky `yaml:"sticky"`
	// SlowStart is the time over which a new replica's share rises from a tenth to the whole. 0: it has all at once.
	SlowStart Duration `yaml:"slow_start" schema:"maximum=1h"`
	// Timeout of the whole call, tries included.
	Timeout Duration `yaml:"timeout" schema:"default=30s,minimum=1ms,maximum=24h"`
	// TryTimeout is how long a single try may take until its answer's head has come. 0: as long as the whole call.
	TryTimeout Duration `yaml:"try_timeout" schema:"maximum=24h"`
	// Retry of calls that failed, where they can be repeated safely. Left out: none is repeated.
	Retry *Retry `yaml:"retry" schema:"default={}"`
	// Breaker stops calls to a replica that keeps failing, for a while. Left out: none does; {} takes the defaults.
	Breaker *Breaker `yaml:"breaker" schema:"default={}"`
	// Outliers leaves replicas alone, for a while, that fail more or answer more slowly than the others. Left out: none
	// is; {} takes the defaults.
	Outliers *Outliers `yaml:"outliers"`
	// Limit of the requests that are let in, for each route and for each caller apart. Left out: there is none.
	Limit *Limit `yaml:"limit"`
	// Adaptive bounds the requests in flight to the service by what their latency says. Left out: nothing does; {} takes
	// the defaults.
	Adaptive *Adaptive `yaml:"adaptive"`
	// Compress has answers compressed for clients that take them so. Left out: none is; {} takes the defaults.
	Compress *Compress `yaml:"compress"`
	// Hedge sends slow requests a second time. Left out: none is; {} takes the defaults.
	Hedge *Hedge `yaml:"hedge"`
	// Admission refuses what cannot finish in time. Left out: nothing is refused for that; {} takes the defaults.
	Admission *Admission `yaml:"admission"`
	// Priority says what is shed first where the service is busy. Left out: nothing is shed before all is full.
	Priority *Priority `yaml:"priority"`
	// Locality prefers replicas in the gateway's own zone. Left out: zones do not matter.
	Locality *Locality `yaml:"locality"`
	// Subset is the number of replicas that each gateway uses, where there are many of both. 0: all of them.
	Subset int `yaml:"subset" schema:"minimum=0,maximum=10000"`
}

// Handling names how calls are handled by what the gateway and the simulator both know: of one service, calls of the same
// name share balancing, breakers and budgets.
func (in *Inbound) Handling() string {
	key := string(in.Balance) + "|" + in.SlowStart.String()
	if in.Retry != nil {
		key += fmt.Sprintf("|%+v", *in.Retry)
	}
	if in.Breaker != nil {
		key += fmt.Sprintf("|%+v", *in.Breaker)
	}
	if in.Outliers != nil {
		key += fmt.Sprintf("|%+v", *in.Outliers)
	}
	if in.Adaptive != nil {
		key += fmt.Sprintf("|%+v", *in.Adaptive)
	}
	if in.Admission != nil {
		key += fmt.Sprintf("|admission %+v", *in.Admission)
	}
	return key
}

// Balance names a balancing policy.
type Balance string

// The balancing policies.
const (
	// RoundRobin takes the replicas in turn.
	RoundRobin Balance = "round-robin"
	// WeightedRoundRobin takes them in turn, as often as their weights say, evenly spread.
	WeightedRoundRobin Balance = "weighted-round-robin"
	// Random draws one, by weight.
	Random Balance = "random"
	// LeastRequest takes the replica with the fewest requests in flight, in turn among equals.
	LeastRequest Balance = "least-request"
	// P2CEWMA draws two, and takes the one whose recent peak latency times its requests in flight is less.
	P2CEWMA Balance = "p2c-ewma"
	// Prequal takes the fastest of those that are not among the most loaded, by probes that are reused.
	Prequal Balance = "prequal"
	// RingHash maps by consistent hashing.
	RingHash Balance = "ring-hash"
	// Maglev maps by a table that is filled evenly.
	Maglev Balance = "maglev"
	// BoundedHash maps by consistent hashing, and passes on to the next what would load one 25 % above the average.
	BoundedHash Balance = "bounded-hash"
	// Rendezvous maps to the replica with the highest score for the request.
	Rendezvous Balance = "rendezvous"
)

// Balances returns all balancing policies.
func Balances() []Balance {
	return []Balance{RoundRobin, WeightedRoundRobin, Random, LeastRequest, P2CEWMA, Prequal, RingHash, Maglev, BoundedHash, Rendezvous}
}

// Hash names the part of a request that is hashed: exactly one. A request without it goes to any replica.
type Hash struct {
	// Header whose value is hashed.
	Header string `yaml:"header" schema:"maxLength=256"`
	// Cookie whose value is hashed.
	Cookie string `yaml:"cookie" schema:"maxLength=256"`
	// Query is the parameter of the query whose value is hashed.
	Query string `yaml:"query" schema:"maxLength=256"`
	// Path is hashed, without the query.
	Path bool `yaml:"path"`
	// Client address is hashed.
	Client bool `yaml:"client"`
}

// Sticky binds clients to replicas by a signed cookie.
type Sticky struct {
	// Cookie is its name. Left out: banyan_ and the service's name.
	Cookie string `yaml:"cookie" schema:"maxLength=256"`
	// TTL is how long the client keeps it. 0: until its session ends.
	TTL Duration `yaml:"ttl" schema:"maximum=365d"`
}

// Retry of a call that failed before its answer began. Only idempotent methods are repeated (RFC 9110, 9.2.2), and
// calls that provably never reached a replica.
type Retry struct {
	// Attempts in all, the first one included. 1 turns retries off.
	Attempts int `yaml:"attempts" schema:"minimum=1,maximum=10,default=3"`
	// Budget is the share of recent requests that may be retried, so that retries cannot become a storm.
	Budget Percent `yaml:"budget" schema:"maximum=100%,default=20%"`
	// MinPerSecond is the number of retries a second that is always allowed.
	MinPerSecond Rate `yaml:"min_per_second" schema:"default=10/s"`
	// Backoff before the first retry, doubled for each further one, with jitter.
	Backoff Duration `yaml:"backoff" schema:"default=5ms,maximum=1m"`
	// On lists the answers that are retried besides failed connections.
	On []int `yaml:"on" schema:"default=[502, 503, 504],maxItems=100,itemMinimum=400,itemMaximum=599"`
}

// Breaker of one replica: closed (calls pass), open (none pass), half-open (a probe passes).
type Breaker struct {
	// Failures in a row that open it.
	Failures int `yaml:"failures" schema:"minimum=1,maximum=100000,default=5"`
	// Open is how long it stays open before a probe may pass; it doubles with each failed probe.
	Open Duration `yaml:"open" schema:"default=1s,maximum=1h"`
	// MaxOpen is the longest it stays open.
	MaxOpen Duration `yaml:"max_open" schema:"default=30s,minimum=1ms,maximum=24h"`
	// MaxEjected is the share of replicas that may be broken at once; beyond it they are used all the same.
	MaxEjected Percent `yaml:"max_ejected" schema:"maximum=100%,default=50%"`
	// Off turns the breaker off.
	Off bool `yaml:"off"`
}

// Outliers compares the replicas of a service with each other at intervals. The defaults are Envoy's, but for latency,
// which Envoy does not look at.
type Outliers struct {
	// Interval over which they are compared.
	Interval Duration `yaml:"interval" schema:"default=10s,minimum=1ms,maximum=1h"`
	// Eject is how long a replica is left alone the first time, and by how much longer each further time.
	Eject Duration `yaml:"eject" schema:"default=30s,minimum=1ms,maximum=1h"`
	// MaxEject is the longest that it is left alone.
	MaxEject Duration `yaml:"max_eject" schema:"default=5m,minimum=1ms,maximum=24h"`
	// MaxEjected is the share of replicas that may be left alone at once; one may always be.
	MaxEjected Percent `yaml:"max_ejected" schema:"maximum=100%,default=10%"`
	// MinReplicas is how many must have had enough requests.
	MinReplicas int `yaml:"min_replicas" schema:"minimum=2,maximum=10000,default=5"`
	// MinRequests in the interval without which a replica is not judged.
	MinRequests int `yaml:"min_requests" schema:"minimum=1,maximum=1000000000,default=100"`
	// Deviations is by how many standard deviations a success rate must be below the mean.
	Deviations float64 `yaml:"deviations" schema:"minimum=0,maximum=1000,default=1.9"`
	// Slower is how many times the median of all replicas a replica's latency must be. 0: latency does not matter.
	Slower float64 `yaml:"slower" schema:"minimum=0,maximum=1000000,default=3"`
	// Panic is the share of usable replicas below which none is left alone.
	Panic Percent `yaml:"panic" schema:"maximum=100%,default=50%"`
}

// Limit is a token bucket: what comes faster is answered 429, with the time after which to come again.
type Limit struct {
	// Rate of requests that is let in for good.
	Rate Rate `yaml:"rate" schema:"required,exclusiveMinimum=0"`
	// Burst is how many may come at once. Left out: as many as in a second, at least one.
	Burst int `yaml:"burst" schema:"minimum=1,maximum=1000000000"`
	// By says who has a bucket of their own: the route as a whole, each client address, each value of a header.
	By string `yaml:"by" schema:"enum=route|client|header,default=route"`
	// Header whose values are told apart, by: header.
	Header string `yaml:"header" schema:"maxLength=256"`
	// Shared has all gateways of the system ('gateways') keep the limit together, rather than each by itself. It needs no
	// more than one of them to ask: each decides at once, and tells the others.
	Shared bool `yaml:"shared"`
}

// Adaptive is Gradient2 (Netflix, concurrency-limits), with its defaults: the bound shrinks while requests take longer than
// usual, and grows while they do not; what is above it is answered 503.
type Adaptive struct {
	// Initial bound.
	Initial int `yaml:"initial" schema:"minimum=1,maximum=1000000,default=20"`
	// Min is the least that it shrinks to.
	Min int `yaml:"min" schema:"minimum=1,maximum=1000000,default=20"`
	// Max is the most that it grows to.
	Max int `yaml:"max" schema:"minimum=1,maximum=1000000,default=200"`
	// Tolerance is how many times the usual latency is still well.
	Tolerance float64 `yaml:"tolerance" schema:"minimum=1,maximum=1000,default=1.5"`
}

// Unmodelled names what an inbound asks for that decides on what a request meets at run time, and that predictions leave
// out. The simulator knows which of them it models (simulate/aim.go). What the planner makes of the adaptive bound, it says itself.
func (in *Inbound) Unmodelled() []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"sticky", in.Sticky != nil}, {"slow_start", in.SlowStart > 0}, {"outliers", in.Outliers != nil}, {"limit", in.Limit != nil},
		{"try_timeout", in.TryTimeout > 0}, {"admission", in.Admission != nil}, {"priority", in.Priority != nil}, {"locality", in.Locality != nil},
		{"subset", in.Subset > 0}, {"compress", in.Compress != nil}} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}
