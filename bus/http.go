package bus

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/bus/streamlog"
	"github.com/banyanhq/banyan/policy/workqueue"
)

const (
	// maxWait bounds how long a request waits for messages.
	maxWait = 60 * time.Second
	// maxReceive bounds the messages of one answer.
	maxReceive = 1000
	// maxAnswer has an answer take no further message when it has grown so large.
	maxAnswer = 16 << 20
)

// handler of the HTTP address.
func (b *Bus) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	routes := b.sagaRoutes()
	maps.Copy(routes, b.schemaRoutes())
	mux.HandleFunc("GET /queues", b.atLeader(func(w http.ResponseWriter, r *http.Request) { reply(w, http.StatusOK, b.Broker().Status()) }))
	maps.Copy(routes, map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /queues/{queue}":                                  b.getQueue,
		"POST /queues/{queue}/messages":                        b.postMessage,
		"GET /queues/{queue}/messages":                         b.getMessages,
		"GET /queues/{queue}/messages/{receipt}":               b.lookAt,
		"DELETE /queues/{queue}/messages/{receipt}":            b.settleMessage,
		"POST /queues/{queue}/messages/{receipt}/{verb}":       b.settleMessage,
		"GET /queues/{queue}/stream":                           b.streamMessages,
		"GET /queues/{queue}/dead":                             b.getDead,
		"POST /queues/{queue}/redrive":                         b.postRedrive,
		"GET /queues/{queue}/redrives/{id}":                    b.getRedrive,
		"GET /backup":                                          b.getBackup,
		"GET /nodes":                                           b.getNodes,
		"GET /topics":                                          b.getTopics,
		"POST /topics/{topic}/events":                          b.postEvent,
		"GET /topics/{topic}/events":                           b.getEvents,
		"GET /topics/{topic}/groups/{group}/events":            b.getGroupEvents,
		"POST /topics/{topic}/groups/{group}/{receipt}/{verb}": b.settleEvent,
	})
	for pattern, h := range routes {
		answer := func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				refuse(w, err)
			}
		}
		if ofLeader(pattern) {
			answer = b.atLeader(answer)
		}
		mux.HandleFunc(pattern, answer)
	}
	return b.authorised(mux)
}

// ofLeader reports whether only the node that leads can answer a request: those about queues and sagas, and of groups, whose limits
// it keeps, and of which, at Kafka, it is the member.
func ofLeader(pattern string) bool {
	_, path, _ := strings.Cut(pattern, " ")
	return strings.HasPrefix(path, "/queues/") || strings.HasPrefix(path, "/sagas") || strings.HasPrefix(path, "/runs") || path == "/backup" || strings.HasPrefix(path, "/topics/{topic}/groups/")
}

// authorised lets those through who give the token.
func (b *Bus) authorised(next http.Handler) http.Handler {
	if b.cfg.Token == "" {
		return next
	}
	want := []byte("Bearer " + b.cfg.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, map[string]string{"error": "the token is missing or wrong"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone does not hear it
}

// errBadRequest says that a request can't be understood.
var errBadRequest = errors.New("bad request")

// refuse says an error with the status that means it.
func refuse(w http.ResponseWriter, err error) {
	status := cmp.Or(sagaStatus(err), schemaStatus(err), outboxStatus(err))
	var tooLarge *http.MaxBytesError
	switch {
	case status != 0:
	case errors.Is(err, workqueue.ErrFull), errors.Is(err, journal.ErrBacklog):
		w.Header().Set("Retry-After", "1")
		status = http.StatusTooManyRequests
	case errors.Is(err, journal.ErrFull):
		status = http.StatusInsufficientStorage
	case errors.Is(err, broker.ErrTooLarge), errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, broker.ErrNoQueue), errors.Is(err, workqueue.ErrUnknown), errors.Is(err, errNoTopic):
		status = http.StatusNotFound
	case errors.Is(err, broker.ErrInvalid), errors.Is(err, errBadRequest):
		status = http.StatusBadRequest
	case errors.Is(err, workqueue.ErrSettled):
		status = http.StatusConflict
	case errors.Is(err, broker.ErrClosed), errors.Is(err, journal.ErrClosed), errors.Is(err, journal.ErrFailed), errors.Is(err, streamlog.ErrFailed),
		errors.Is(err, errNoLeader), errors.Is(err, errAway), errors.Is(err, errUnwritable):
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusInternalServerError
	}
	reply(w, status, map[string]string{"error": err.Error()})
}

// query reads parameters of a request, and remembers the first error.
type query struct {
	r   *http.Request
	err error
}

func (q *query) fail(name, value, expected string) {
	if q.err == nil {
		q.err = fmt.Errorf("%w: %s=%s: expected %s", errBadRequest, name, value, expected)
	}
}

func (q *query) duration(name string, missing, most time.Duration) time.Duration {
	text := q.r.URL.Query().Get(name)
	if text == "" {
		return missing
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		q.fail(name, text, "a duration of up to "+most.String())
	}
	return d
}

func (q *query) number(name string, missing, most int) int {
	text := q.r.URL.Query().Get(name)
	if text == "" {
		return missing
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		q.fail(name, text, fmt.Sprintf("a number from 0 to %d", most))
	}
	return n
}

func (q *query) instant(name string) (t time.Time) {
	text := q.r.URL.Query().Get(name)
	if text == "" {
		return t
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		q.fail(name, text, "an instant such as 2026-01-31T12:00:00Z")
	}
	return t
}

// keptHeaders are those of a request that are stored with its message.
func keptHeaders(h http.Header) (kept []broker.Header) {
	for name, values := range h {
		lower := strings.ToLower(name)
		switch {
		case lower == "content-type", lower == "traceparent", lower == "tracestate", lower == "baggage",
			strings.HasPrefix(lower, "ce-"), strings.HasPrefix(lower, "x-") && !strings.HasPrefix(lower, "x-forwarded-"):
			for _, v := range values {
				kept = append(kept, broker.Header{Name: lower, Value: v})
			}
		}
	}
	return kept
}

// body reads a request's body within the limit.
func (b *Bus) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(b.cfg.MaxMessage)))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return p, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
