package ui

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/ui/layout"
)

// Config of a Server.
type Config struct {
	// System whose page it is. Required.
	System System
	// Token that changes take. Empty: nothing can be changed.
	Token string
	// Control answers the operations of the control API besides those of this package, which ControlOperations describe.
	Control           http.Handler
	ControlOperations []Operation
	// Loader runs load tests. Nil: the page offers none.
	Loader Loader
	// Features says which other APIs there are beside this one. Nil: none.
	Features func() Features
	// Version of the program.
	Version string
	// Ticks, if set, replaces the ticker of a second by which frames are made.
	Ticks <-chan time.Time
	// Log is told of what goes wrong. Default: none.
	Log *slog.Logger
}

// Server serves the page and the API behind it. Its methods may be called from several goroutines at once.
type Server struct {
	cfg        Config
	page       http.Handler // guarded
	api        http.Handler // for the control socket
	feed       *feed
	past       past
	board      board
	loads      *loadTests
	expected   expected
	predicting chan struct{} // holds one while a prediction is made
	running    context.Context
	end        context.CancelFunc
	done       <-chan struct{}
}

// New checks the configuration and prepares a Server. Run must be called for figures to be sent.
func New(cfg Config) (*Server, error) {
	if cfg.System == nil {
		return nil, errors.New("the page: no system was given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, loads: &loadTests{loader: cfg.Loader}, predicting: make(chan struct{}, 1)}
	s.past.chunks = map[time.Duration]map[int64]*chunk{}
	s.feed = newFeed(s)
	s.running, s.end = context.WithCancel(context.Background())
	s.done = s.running.Done()
	document, err := Document(cfg.Version, s.operations())
	if err != nil {
		return nil, err
	}
	pages, err := newAssets(cfg.Version, func() first { return first{Hello: s.hello(), Map: s.drawMap()} })
	if err != nil {
		return nil, err
	}
	s.page, s.api = s.handlers(document, pages)
	return s, nil
}

// Run sends figures to the pages that look, until ctx ends; then it ends what pages have started, and returns when it has
// ended. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	ticks := s.cfg.Ticks
	if ticks == nil {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		ticks = ticker.C
	}
	s.feed.run(ctx, ticks)
	s.end()
	s.loads.wait()
	return nil
}

// ServeHTTP answers on the admin address.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.page.ServeHTTP(w, r) }

// API answers this package's operations without asking who asks: for the control socket, which its owner alone can reach.
func (s *Server) API() http.Handler { return s.api }

// operations are all that there are, in the order of the document.
func (s *Server) operations() []Operation {
	return append(slices.Clone(s.cfg.ControlOperations), pageOperations()...)
}

func (s *Server) handlers(document []byte, pages http.Handler) (page, api http.Handler) {
	guarded, bare := http.NewServeMux(), http.NewServeMux()
	for _, o := range s.operations() {
		handle := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if o.handle != nil {
				o.handle(s, w, r)
			} else {
				s.cfg.Control.ServeHTTP(w, r)
			}
		})
		if o.handle != nil {
			bare.Handle(o.Method+" "+o.Path, handle)
		}
		if o.Access == SocketOnly {
			continue
		}
		guarded.HandleFunc(o.Method+" "+o.Path, func(w http.ResponseWriter, r *http.Request) {
			if o.Access == Guarded {
				if err := s.authorised(r); err != nil {
					answer(w, nil, err)
					return
				}
			}
			handle(w, r)
		})
	}
	for _, mux := range []*http.ServeMux{guarded, bare} {
		mux.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document) // an error is the client's going away
		})
		mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
			answer(w, nil, missingf("there is no %s %.128s here: /api/openapi.json lists what there is", r.Method, r.URL.Path))
		})
	}
	guarded.Handle("/", pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		if err := fromHere(r); err != nil {
			answer(w, nil, err)
			return
		}
		guarded.ServeHTTP(w, r)
	}), bare
}

func (s *Server) drawMap() Map {
	sys := s.cfg.System.Topology()
	s.feed.mu.Lock()
	l, version := s.feed.draw(sys)
	s.feed.mu.Unlock()
	m := Map{Version: version, System: sys.Name, Layout: l, Routes: []MapRoute{}}
	for _, r := range sys.Routes {
		m.Routes = append(m.Routes, MapRoute{Route: r.Name, Service: r.To})
	}
	return m
}

// maxDecisions and maxNodeEvents bound what is shown of one node.
const (
	maxDecisions  = 50
	maxNodeEvents = 50
)

func (s *Server) node(id string) (*NodeDetail, error) {
	sys := s.cfg.System.Topology()
	g := layout.Of(sys)
	i := slices.IndexFunc(g.Nodes, func(n layout.Node) bool { return n.ID == id })
	if i < 0 {
		return nil, missingf("there is no %.128q in this system", id)
	}
	d := &NodeDetail{Node: g.Nodes[i], Events: []Event{}, Callers: []string{}, Callees: []string{}}
	for _, e := range g.Edges {
		if e.To == id {
			d.Callers = append(d.Callers, e.From)
		}
		if e.From == id {
			d.Callees = append(d.Callees, e.To)
		}
	}
	svc := sys.Services[id]
	if svc == nil {
		return d, nil
	}
	d.Min, d.Max = svc.Replicas.Min, svc.Replicas.Max
	all := s.cfg.System.Replicas()
	if k := slices.IndexFunc(all, func(r orchestrate.ServiceStatus) bool { return r.Service == id }); k >= 0 {
		d.Status = &all[k]
	}
	st, err := s.cfg.System.Present(frameWindow)
	if err != nil {
		return nil, err
	}
	if k := slices.IndexFunc(st.Services, func(v observe.ServiceStatus) bool { return v.Service == id }); k >= 0 {
		d.Observed = &st.Services[k]
	}
	if decisions, ok := s.cfg.System.ScaleDecisions(id); ok {
		decisions = slices.Clone(decisions)
		slices.Reverse(decisions)
		d.Decisions = decisions[:min(len(decisions), maxDecisions)]
	}
	for _, e := range slices.Backward(s.timeline()) {
		if e.Service == id && len(d.Events) < maxNodeEvents {
			d.Events = append(d.Events, e)
		}
	}
	return d, nil
}
