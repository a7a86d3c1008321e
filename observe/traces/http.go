package traces

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// View is a trace for people: its spans and critical path.
type View struct {
	Spans []*Span    `json:"spans"`
	Path  []ViewStep `json:"critical_path"`
}

// ViewStep is a step of the critical path.
type ViewStep struct {
	SpanID   string        `json:"span_id"`
	At       time.Duration `json:"at"` // since the root's start
	Duration time.Duration `json:"duration"`
}

// NewView returns the spans of a trace with their critical path; nil if there are none.
func NewView(spans []*Span) *View {
	if len(spans) == 0 {
		return nil
	}
	v := &View{Spans: spans}
	begin := rootOf(spans).Start
	for _, s := range CriticalPath(spans) {
		v.Path = append(v.Path, ViewStep{s.Span.SpanID, time.Duration(s.From - begin), time.Duration(s.To - s.From)})
	}
	return v
}

// Handler answers, for the command line and the page:
//
//	GET PREFIX/search?service=&name=&from=&to=&min=&errors=true&limit=   summaries
//	GET PREFIX/trace/{id}                                                a trace with its critical path
//	GET PREFIX/paths?service=&name=&from=&to=                            where the time of a route's traces goes
//
// Instants are RFC 3339. Errors are {"error": "..."} with a status of 400, 404 or 500.
func (t *Traces) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, f func(*http.Request) (any, int, error)) {
		mux.HandleFunc("GET "+prefix+path, func(w http.ResponseWriter, r *http.Request) {
			out, status, err := f(r)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if err != nil {
				out = map[string]string{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(out) // the client may have gone
		})
	}
	handle("/search", func(r *http.Request) (any, int, error) {
		s, err := searchOf(r)
		if err != nil {
			return nil, http.StatusBadRequest, err
		}
		found, err := t.Find(r.Context(), s)
		return found, statusOf(err), err
	})
	handle("/trace/{id}", func(r *http.Request) (any, int, error) {
		spans, err := t.Trace(r.Context(), r.PathValue("id"))
		if err == nil && len(spans) == 0 {
			return nil, http.StatusNotFound, errNoTrace
		}
		return NewView(spans), statusOf(err), err
	})
	handle("/paths", func(r *http.Request) (any, int, error) {
		s, err := searchOf(r)
		if err == nil && s.Service == "" {
			err = errors.New("a service is wanted")
		}
		if err != nil {
			return nil, http.StatusBadRequest, err
		}
		sum, err := t.Paths(r.Context(), s.Service, s.Name, s.From, s.To)
		return sum, statusOf(err), err
	})
	return mux
}

func statusOf(err error) int {
	if err != nil {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

func searchOf(r *http.Request) (s Search, err error) {
	v := r.URL.Query()
	s.Service, s.Name, s.Errors = v.Get("service"), v.Get("name"), v.Get("errors") == "true"
	for name, to := range map[string]*time.Time{"from": &s.From, "to": &s.To} {
		if text := v.Get(name); text != "" {
			if *to, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return s, err
			}
		}
	}
	if text := v.Get("min"); text != "" {
		if s.Min, err = time.ParseDuration(text); err != nil {
			return s, err
		}
	}
	if text := v.Get("limit"); text != "" {
		if s.Limit, err = strconv.Atoi(text); err != nil || s.Limit < 1 {
			return s, errors.New("limit: a number above 0 is wanted")
		}
	}
	return s, nil
}
