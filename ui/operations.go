package ui

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/ui/layout"
)

// Access says who may carry an operation out over HTTP on the admin address. Over the control socket its owner may do
// everything.
type Access int

// The kinds of access.
const (
	// Open operations change nothing and tell no secret: every program on this machine may.
	Open Access = iota
	// Guarded ones take the token.
	Guarded
	// SocketOnly ones are not served on the admin address.
	SocketOnly
)

// Param is a parameter of an operation, in its query or its path.
type Param struct {
	Name, About string
	Required    bool
}

// Operation of the control API. The OpenAPI document is made of these.
type Operation struct {
	Method, Path string // as in the patterns of net/http
	Summary      string
	Access       Access
	Query        []Param
	Body         any // a value of the request's type; nil: it has no body
	Answer       any // a value of the answer's type
	Events       map[string]any
	handle       func(s *Server, w http.ResponseWriter, r *http.Request)
}

// maxBody bounds a request's body: all are small.
const maxBody = 256 << 10

// Map is the architecture, laid out.
type Map struct {
	Version string `json:"version"`
	System  string `json:"system"`
	*layout.Layout
	Routes []MapRoute `json:"routes"`
}

// MapRoute is one route as the file has it.
type MapRoute struct {
	Route   string `json:"route"`
	Service string `json:"service,omitempty"`
}

// NodeDetail is all that is known of one service now.
type NodeDetail struct {
	Node     layout.Node                `json:"node"`
	Status   *orchestrate.ServiceStatus `json:"status,omitempty"`
	Observed *observe.ServiceStatus     `json:"observed,omitempty"`
	// Min and Max replicas that the file allows.
	Min int `json:"min"`
	Max int `json:"max"`
	// Decisions of the autoscaler, latest first; nil where it does not scale the service.
	Decisions []autoscale.Decision `json:"decisions"`
	Events    []Event              `json:"events"`
	Callers   []string             `json:"callers"`
	Callees   []string             `json:"callees"`
}

// pageOperations are those that this package handles itself.
func pageOperations() []Operation {
	rangeParam := Param{Name: "range", About: "5m, 30m or 6h, in 60 steps", Required: true}
	return []Operation{
		{Method: "GET", Path: "/v1/map", Summary: "The architecture of the system, laid out", Answer: Map{}, handle: func(s *Server, w http.ResponseWriter, r *http.Request) { answer(w, s.drawMap(), nil) }},
		{Method: "GET", Path: "/v1/stream", Summary: "The present, each second, as server-sent events: a hello, then frames; Last-Event-ID resumes",
			Events: map[string]any{"hello": Hello{}, "frame": Frame{}}, handle: (*Server).stream},
		{Method: "GET", Path: "/v1/frame", Summary: "The present, once", Answer: Frame{},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				answer(w, s.feed.latest(time.Now()), nil)
			}},
		{Method: "GET", Path: "/v1/timeline", Summary: "What happened lately: deploys, scalings, faults, canaries", Answer: []Event{},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) { answer(w, s.timeline(), nil) }},
		{Method: "GET", Path: "/v1/series", Summary: "The past of a node or a route, with what the plan expected at the load of each step", Answer: Series{},
			Query: []Param{{Name: "node", About: "ID of a node of the map"}, {Name: "route", About: "name of a route, in place of a node"}, rangeParam},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				v, err := s.series(q.Get("node"), q.Get("route"), q.Get("range"), time.Now())
				answer(w, v, err)
			}},
		{Method: "GET", Path: "/v1/nodes/{id}", Summary: "All that is known of one node now", Answer: NodeDetail{}, handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
			v, err := s.node(r.PathValue("id"))
			answer(w, v, err)
		}},
		{Method: "GET", Path: "/v1/slos", Summary: "The promises of the file against what was measured", Answer: SLOBoard{}, handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
			v, err := s.slos(time.Now())
			answer(w, v, err)
		}},
		{Method: "POST", Path: "/v1/predict", Summary: "What the plan says of the system, and of a changed one; changes nothing", Body: PredictRequest{}, Answer: Prediction{},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				var req PredictRequest
				if err := decode(w, r, &req); err != nil {
					answer(w, nil, err)
					return
				}
				v, err := s.predict(r.Context(), req)
				answer(w, v, err)
			}},
		{Method: "GET", Path: "/v1/load", Summary: "The load test that was started from here last; null if there was none", Answer: (*LoadState)(nil),
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				answer(w, s.loads.state(math.MaxInt), nil)
			}},
		{Method: "POST", Path: "/v1/load", Summary: "Start a load test with the workload of the file", Access: Guarded, Body: LoadRequest{}, Answer: LoadState{},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				var req LoadRequest
				err := decode(w, r, &req)
				if err == nil {
					err = s.loads.start(s.running, req)
				}
				answer(w, s.loads.state(0), err)
			}},
		{Method: "DELETE", Path: "/v1/load", Summary: "Stop the load test that runs", Access: Guarded, Answer: LoadState{},
			handle: func(s *Server, w http.ResponseWriter, r *http.Request) {
				err := s.loads.stop(r.Context())
				answer(w, s.loads.state(math.MaxInt), err)
			}},
	}
}

// decode reads a request of one JSON value, strictly.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return apiError{http.StatusUnsupportedMediaType, errors.New("the body must be application/json")}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return apiError{http.StatusRequestEntityTooLarge, errors.New("the body is too large")}
	}
	if err != nil {
		return wrongf("reading the request: %w", err)
	}
	return nil
}
