package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/orchestrate"
)

// maxBody bounds a request's body: all requests are small.
const maxBody = 64 << 10

// Serve answers calls on l until ctx ends, and returns when no call is in progress. It closes l. What the API of this
// package does not have is asked of more, which may be nil.
func Serve(ctx context.Context, l net.Listener, sys System, more http.Handler) error {
	mux := handler(sys)
	if more != nil {
		mux.Handle("/", more)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	}()
	err := srv.Serve(l)
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	<-done
	return nil
}

// Handler answers the calls that Operations lists, without asking who makes them.
func Handler(sys System) http.Handler { return handler(sys) }

func handler(sys System) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.Info(), nil) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.Events(), nil) })
	mux.HandleFunc("GET /v1/replicas", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.Replicas(), nil) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		window, err := time.ParseDuration(r.FormValue("window"))
		if err != nil || window <= 0 {
			fail(w, http.StatusBadRequest, fmt.Errorf("window %q: want a duration such as 10s", r.FormValue("window")))
			return
		}
		s, err := sys.Status(window)
		answer(w, s, err)
	})
	mux.HandleFunc("GET /v1/window", spanned(func(from, to time.Time) (any, error) { return sys.Window(from, to) }))
	mux.HandleFunc("GET /v1/pulses", spanned(func(from, to time.Time) (any, error) { return sys.Pulses(from, to), nil }))
	mux.HandleFunc("POST /v1/scale", func(w http.ResponseWriter, r *http.Request) {
		var req ScaleRequest
		if !decode(w, r, &req) {
			return
		}
		answer(w, struct{}{}, sys.Scale(r.Context(), req.Service, orchestrate.Change{Replicas: req.Replicas, CPU: req.CPU, Memory: req.Memory}))
	})
	mux.HandleFunc("POST /v1/restart", func(w http.ResponseWriter, r *http.Request) {
		var req RestartRequest
		if !decode(w, r, &req) {
			return
		}
		answer(w, struct{}{}, sys.Restart(r.Context(), req.Service))
	})
	cacheHandlers(mux, sys)
	tableHandlers(mux, sys)
	trafficHandlers(mux, sys)
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		changed, err := sys.Reload()
		answer(w, changed, err)
	})
	mux.HandleFunc("GET /v1/topology", func(w http.ResponseWriter, _ *http.Request) {
		text, err := sys.Topology()
		answer(w, string(text), err)
	})
	mux.HandleFunc("GET /v1/why", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		d, ok := sys.Why(id)
		if !ok {
			fail(w, http.StatusNotFound, fmt.Errorf("request %.128q is not remembered: only the latest are, see 'banyan gateway why --help'", id))
			return
		}
		answer(w, d, nil)
	})
	mux.HandleFunc("GET /v1/autoscale", func(w http.ResponseWriter, _ *http.Request) { answer(w, sys.ScaledServices(), nil) })
	mux.HandleFunc("GET /v1/autoscale/{service}", func(w http.ResponseWriter, r *http.Request) {
		all, ok := sys.ScaleDecisions(r.PathValue("service"))
		if !ok {
			fail(w, http.StatusNotFound, fmt.Errorf("service %.128q is not scaled: that takes 'scale' and room between 'replicas.min' and 'replicas.max'", r.PathValue("service")))
			return
		}
		answer(w, all, nil)
	})
	mux.HandleFunc("POST /v1/handover", serveHandOver(sys))
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		sys.Stop()
		answer(w, struct{}{}, nil)
	})
	return mux
}

// spanned answers what was asked about a span of time.
func spanned(ask func(from, to time.Time) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err1 := time.Parse(time.RFC3339Nano, r.FormValue("from"))
		to, err2 := time.Parse(time.RFC3339Nano, r.FormValue("to"))
		if err := errors.Join(err1, err2); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		v, err := ask(from, to)
		answer(w, v, err)
	}
}

// wireError is the body of an answer that is not a success.
type wireError struct {
	Error string `json:"error"`
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("reading the request: %w", err))
		return false
	}
	return true
}

// answer writes v as JSON, or err as a conflict: what was asked for cannot be done now.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// An error here is the client's going away: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(wireError{err.Error()})
}
