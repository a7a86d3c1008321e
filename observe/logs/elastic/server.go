package elastic

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// Version that GET / tells: clients ask for one that they know.
const Version = "8.17.0"

// labelIndex holds the name of a document's index.
const labelIndex = "index"

const (
	maxBody    = 32 << 20 // of a request, unpacked
	promised   = 2 << 20  // of it that room is made for before it has come
	maxAtOnce  = 16       // requests with large bodies
	maxRemnant = 1000     // templates and the like whose names are remembered
)

// Server answers requests. It has no goroutines of its own.
type Server struct {
	logs  *logs.Logs
	gate  chan struct{}
	mu    sync.Mutex
	known map[string]bool // templates, policies and the like that were put
}

// New returns the API in front of l.
func New(l *logs.Logs) *Server {
	return &Server{logs: l, gate: make(chan struct{}, maxAtOnce), known: map[string]bool{}}
}

// apiError is an error as Elasticsearch words it.
type apiError struct {
	status int
	kind   string
	reason string
}

func (e *apiError) Error() string { return e.reason }

func badRequest(kind, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, kind, fmt.Sprintf(format, args...)}
}

func unsupported(what string) *apiError {
	return badRequest("illegal_argument_exception", "%s: not supported by Banyan's log store", what)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{http.StatusServiceUnavailable, "unavailable_exception", err.Error()}
		if errors.Is(err, segment.ErrFull) {
			e.status, e.kind = http.StatusTooManyRequests, "es_rejected_execution_exception"
		}
	}
	if e.status == http.StatusBadRequest || e.status == http.StatusRequestEntityTooLarge {
		s.logs.BadRequest()
	}
	cause := map[string]any{"type": e.kind, "reason": e.reason}
	s.reply(w, r, e.status, map[string]any{
		"error":  map[string]any{"root_cause": []any{cause}, "type": e.kind, "reason": e.reason},
		"status": e.status,
	})
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, status int, v any) {
	kind := "application/json"
	if accept := r.Header.Get("Accept"); strings.HasPrefix(accept, "application/vnd.elasticsearch+json") && len(accept) < 100 {
		kind = accept // clients of version 8 want it back
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if text, ok := v.(encoded); ok {
		_, _ = w.Write(text) // the client may have gone
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// encoded is an answer that is JSON already.
type encoded []byte

// body reads a request's body, which may be gzip.
func body(r *http.Request) ([]byte, error) {
	tooLarge := &apiError{http.StatusRequestEntityTooLarge, "content_too_long_exception", fmt.Sprintf("the body has more than %d bytes", maxBody)}
	if r.ContentLength > maxBody {
		return nil, tooLarge // none of it need be sent
	}
	var from io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, badRequest("parse_exception", "the body is not gzip: %v", err)
		}
		from = z
	default:
		return nil, &apiError{http.StatusUnsupportedMediaType, "media_type_header_exception", "Content-Encoding: only gzip is known"}
	}
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), promised)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(from, maxBody+1)); err != nil {
		return nil, badRequest("parse_exception", "reading the body: %v", err)
	}
	data := b.Bytes()
	if len(data) > maxBody {
		return nil, tooLarge
	}
	return data, nil
}

var indexName = regexp.MustCompile(`^[^\\/*?"<>|\s,#]{1,255}$`)

// ServeHTTP answers a request for a path below the API's root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) > 6 {
		s.fail(w, r, badRequest("illegal_argument_exception", "no handler for %s", r.URL.Path))
		return
	}
	index, rest := "", parts
	if parts[0] != "" && !strings.HasPrefix(parts[0], "_") || parts[0] == "_all" {
		index, rest = parts[0], parts[1:]
	}
	name := ""
	if len(rest) > 0 {
		name = rest[0]
	}
	answer, status, err := s.route(r, index, name, rest)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, r, status, answer)
}

// route answers, or returns an error.
func (s *Server) route(r *http.Request, index, name string, rest []string) (answer any, status int, err error) {
	ok := http.StatusOK
	posted := r.Method == http.MethodPost || r.Method == http.MethodPut
	switch name {
	case "_bulk":
		if !posted {
			return nil, 0, &apiError{http.StatusMethodNotAllowed, "illegal_argument_exception", "_bulk is posted"}
		}
		answer, err = s.bulk(r, index)
		return answer, ok, err
	case "_doc", "_create":
		if posted {
			answer, err = s.one(r, index, strings.Join(rest[1:], "/"))
			return answer, http.StatusCreated, err
		}
		if len(rest) == 2 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			return s.get(r, index, rest[1])
		}
	case "_search":
		if len(rest) == 1 {
			answer, err = s.search(r, index)
			return answer, ok, err
		}
	case "_count":
		answer, err = s.count(r, index)
		return answer, ok, err
	case "_msearch":
		answer, err = s.msearch(r, index)
		return answer, ok, err
	case "_mapping", "_mappings":
		if r.Method == http.MethodGet {
			answer, err = s.mapping(r, index)
			return answer, ok, err
		}
		return acknowledged, ok, nil
	case "_field_caps":
		answer, err = s.fieldCaps(r, index)
		return answer, ok, err
	case "_refresh", "_flush":
		return map[string]any{"_shards": shards}, ok, nil // what is acknowledged can be found already
	}
	if answer, status, ok := s.probe(r, index, name, rest); ok {
		return answer, status, nil
	}
	if r.Method == http.MethodDelete {
		return nil, 0, unsupported("DELETE " + r.URL.Path)
	}
	return nil, 0, unsupported(r.Method + " " + r.URL.Path)
}

var shards = map[string]int{"total": 1, "successful": 1, "skipped": 0, "failed": 0}

var acknowledged = map[string]any{"acknowledged": true}
