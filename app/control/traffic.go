package control

import (
	"context"
	"net/http"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/policy"
)

// CanaryStatus is where the canary of one route stands, and why.
type CanaryStatus struct {
	Route string `json:"route"`
	// Service under test, and the one Against which it is compared.
	Service string `json:"service"`
	Against string `json:"against"`
	// State is running, promoted or rolled back.
	State string `json:"state"`
	// Share of the route's requests that the service under test is given, 0 to 1.
	Share float64 `json:"share"`
	// Step that is watched, from 1 to Steps.
	Step  int `json:"step"`
	Steps int `json:"steps"`
	// Verdict of the last look is undecided, passed or failed; Reason is what speaks for it.
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	// Baseline and Newcomer are what was seen of the two since the step began.
	Baseline policy.CanaryArm `json:"baseline"`
	Newcomer policy.CanaryArm `json:"newcomer"`
}

// trafficHandlers add what concerns the gateway's decisions.
func trafficHandlers(mux *http.ServeMux, sys System) {
	mux.HandleFunc("GET /v1/canaries", func(w http.ResponseWriter, _ *http.Request) { answer(w, sys.Canaries(), nil) })
	mux.HandleFunc("GET /v1/connections", func(w http.ResponseWriter, _ *http.Request) { answer(w, sys.Connections(), nil) })
	mux.HandleFunc("GET /v1/gateways", func(w http.ResponseWriter, _ *http.Request) { answer(w, sys.Gateways(), nil) })
}

// Canaries returns where the canaries of the routes stand.
func (c *Client) Canaries(ctx context.Context) (s []CanaryStatus, err error) {
	return s, c.get(ctx, "canaries", nil, &s)
}

// Connections counts the connections of clients, by listener of the gateway.
func (c *Client) Connections(ctx context.Context) (s []gateway.ConnectionStats, err error) {
	return s, c.get(ctx, "connections", nil, &s)
}

// Gateways returns how it stands with the other gateways of the system.
func (c *Client) Gateways(ctx context.Context) (s []peerlink.Peer, err error) {
	return s, c.get(ctx, "gateways", nil, &s)
}
