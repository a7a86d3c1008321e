package control

import (
	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/store"
)

// Operation describes one call of the API, for its document.
type Operation struct {
	Method, Path, Summary string
	// Query parameters: name and meaning, in pairs. All of them are required.
	Query [][2]string
	// Body and Answer are values of the types that are read and written; nil: there is none.
	Body, Answer any
	// Secret calls change the system or tell what not everybody on the machine should know; Local ones make sense on the
	// socket alone.
	Secret, Local bool
}

// Operations are all calls of the API.
func Operations() []Operation {
	span := [][2]string{{"from", "instant, RFC 3339"}, {"to", "instant, RFC 3339"}}
	return []Operation{
		{Method: "GET", Path: "/v1/info", Summary: "What runs, and where", Answer: Info{}},
		{Method: "GET", Path: "/v1/status", Summary: "The system's state, with rates and latencies over the last window", Query: [][2]string{{"window", "duration such as 10s"}}, Answer: observe.Status{}},
		{Method: "GET", Path: "/v1/events", Summary: "The latest things that happened to services and replicas, oldest first", Answer: []orchestrate.Event{}},
		{Method: "GET", Path: "/v1/replicas", Summary: "What the orchestrator knows of each service", Answer: []orchestrate.ServiceStatus{}},
		{Method: "GET", Path: "/v1/window", Summary: "Everything that was observed between two instants", Query: span, Answer: observe.Window{}, Secret: true},
		{Method: "GET", Path: "/v1/pulses", Summary: "Readings of requests and CPU between two instants", Query: span, Answer: []observe.Pulse{}, Secret: true},
		{Method: "POST", Path: "/v1/scale", Summary: "Change a service's replicas or limits; answers when that is carried out", Body: ScaleRequest{}, Answer: struct{}{}, Secret: true},
		{Method: "POST", Path: "/v1/restart", Summary: "Replace all replicas of a service, one after the other", Body: RestartRequest{}, Answer: struct{}{}, Secret: true},
		{Method: "GET", Path: "/v1/caches", Summary: "What became of requests in the caches of routes", Answer: []CacheStatus{}},
		{Method: "GET", Path: "/v1/cache-servers", Summary: "Where the embedded caches are, and what they have counted", Answer: []CacheServerStatus{}},
		{Method: "GET", Path: "/v1/tables", Summary: "What was asked of the embedded tables, and what that took", Answer: store.Usage{}, Secret: true},
		{Method: "GET", Path: "/v1/tables/window", Summary: "What was asked of the embedded tables between two instants", Query: span, Answer: TableWindow{}, Secret: true},
		{Method: "POST", Path: "/v1/purge", Summary: "Drop what the caches of routes keep", Body: httpcache.Purge{}, Answer: Purged{}, Secret: true},
		{Method: "GET", Path: "/v1/canaries", Summary: "Where the canaries of routes stand", Answer: []CanaryStatus{}},
		{Method: "GET", Path: "/v1/connections", Summary: "How many connections clients have, and what became of those too many", Answer: []gateway.ConnectionStats{}},
		{Method: "GET", Path: "/v1/gateways", Summary: "How it stands with the other gateways of the system", Answer: []peerlink.Peer{}},
		{Method: "POST", Path: "/v1/reload", Summary: "Read the file anew and go by it; answers what that changed, in words", Answer: []string{}, Secret: true},
		{Method: "GET", Path: "/v1/topology", Summary: "The system that it goes by, as YAML with everything said", Answer: "", Secret: true},
		{Method: "GET", Path: "/v1/why", Summary: "What was decided for a request", Query: [][2]string{{"id", "of the request or its trace"}}, Answer: gateway.Decision{}, Secret: true},
		{Method: "GET", Path: "/v1/autoscale", Summary: "The services that the autoscaler scales", Answer: []string{}},
		{Method: "GET", Path: "/v1/autoscale/{service}", Summary: "What the autoscaler decided about a service, oldest first", Answer: []autoscale.Decision{}},
		{Method: "POST", Path: "/v1/handover", Summary: "Give the listeners to a gateway that takes this one's place, as descriptors", Secret: true, Local: true},
		{Method: "POST", Path: "/v1/stop", Summary: "End the system; answers at once", Answer: struct{}{}, Secret: true, Local: true},
	}
}
