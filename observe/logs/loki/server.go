package loki

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxAtOnce    = 16   // pushes
	maxLimit     = 5000 // lines of an answer
	defaultLimit = 100
)

// Server answers requests. It has no goroutines of its own.
type Server struct {
	logs *logs.Logs
	gate chan struct{}
	mux  *http.ServeMux
}

// New returns the API in front of l. Its paths begin with /loki/api/v1, and there is /ready.
func New(l *logs.Logs) *Server {
	s := &Server{logs: l, gate: make(chan struct{}, maxAtOnce), mux: http.NewServeMux()}
	const v1 = "/loki/api/v1"
	s.mux.HandleFunc("POST "+v1+"/push", s.push)
	for path, handle := range map[string]func(*http.Request) (any, error){
		"/query": s.query, "/query_range": s.queryRange, "/labels": s.labels, "/label": s.labels, "/label/{name}/values": s.values,
		"/series": s.series, "/index/stats": s.stats, "/index/volume": s.volume, "/index/volume_range": s.volumeRange,
		"/detected_labels": s.detectedLabels, "/detected_fields": s.detectedFields, "/detected_field/{name}/values": s.fieldValues,
	} {
		s.mux.HandleFunc(v1+path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodPost {
				http.Error(w, "GET or POST is expected", http.StatusMethodNotAllowed)
				return
			}
			answer, err := handle(r)
			if err != nil {
				status := http.StatusBadRequest
				if r.Context().Err() != nil {
					status = http.StatusServiceUnavailable
				}
				http.Error(w, err.Error(), status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the client may have gone
		})
	}
	s.mux.HandleFunc("GET "+v1+"/status/buildinfo", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"version": "2.9.0", "revision": "banyan", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""})
	})
	s.mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	s.mux.Handle("GET "+v1+"/tail", websocket.Server{Handler: s.tail, Handshake: sameOrigin})
	// Clients take 404 for what a Loki was not configured for (patterns, rules) and go on without.
	s.mux.HandleFunc("/loki/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, unsupported(fmt.Sprintf("%s %.128s", r.Method, r.URL.Path)).Error(), http.StatusNotFound)
	})
	return s
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func success(kind string, result any) map[string]any {
	return map[string]any{"status": "success", "data": map[string]any{"resultType": kind, "result": result, "stats": map[string]any{}}}
}

// instant reads nanoseconds or seconds since 1970, or RFC 3339.
func instant(text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 1e11 && n > -1e11 {
			return time.Unix(n, 0), nil
		}
		return time.Unix(0, n), nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(f) < 1e11 {
		return time.Unix(0, int64(f*1e9)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("the time %.60q is neither a number nor RFC 3339", text)
	}
	return t, nil
}

// span reads start, end and since; without them it is the last hour.
func (s *Server) span(r *http.Request, back time.Duration) (from, to time.Time, err error) {
	if to, err = instant(r.FormValue("end"), s.logs.Now()); err != nil {
		return from, to, err
	}
	if text := r.FormValue("since"); text != "" {
		if back, err = duration(text); err != nil {
			return from, to, err
		}
	}
	if from, err = instant(r.FormValue("start"), to.Add(-back)); err != nil {
		return from, to, err
	}
	if to.Before(from) {
		err = fmt.Errorf("the end is before the start")
	}
	return from, to, err
}

func (s *Server) query(r *http.Request) (any, error) {
	e, err := parseQuery(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	at, err := instant(r.FormValue("time"), s.logs.Now())
	if err != nil {
		return nil, err
	}
	if e.logs != nil {
		return s.lines(r, e.logs, at.Add(-time.Hour), at.Add(1))
	}
	found, err := s.evaluate(r.Context(), e, steps{at, time.Second, 1})
	if err != nil {
		return nil, err
	}
	stamp := float64(at.UnixMilli()) / 1000
	if e.number != nil && !e.vector {
		return success("scalar", [2]any{stamp, float(*e.number)}), nil
	}
	result := []any{}
	for _, f := range found {
		if v := f.values[0]; v == v {
			result = append(result, map[string]any{"metric": f.labels, "value": [2]any{stamp, float(v)}})
		}
	}
	return success("vector", result), nil
}

func float(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (s *Server) queryRange(r *http.Request) (any, error) {
	e, err := parseQuery(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	from, to, err := s.span(r, time.Hour)
	if err != nil {
		return nil, err
	}
	if e.logs != nil {
		return s.lines(r, e.logs, from, to)
	}
	step, err := stepOf(r.FormValue("step"), from, to)
	if err != nil {
		return nil, err
	}
	at := steps{from, step, int(to.Sub(from)/step) + 1}
	if at.n > maxSteps {
		return nil, fmt.Errorf("%d steps: %d at most are answered", at.n, maxSteps)
	}
	found, err := s.evaluate(r.Context(), e, at)
	if err != nil {
		return nil, err
	}
	result := []any{}
	for _, f := range found {
		values := [][2]any{}
		for i, v := range f.values[:at.n] {
			if v == v {
				values = append(values, [2]any{float64(from.Add(time.Duration(i)*step).UnixMilli()) / 1000, float(v)})
			}
		}
		if len(values) > 0 {
			result = append(result, map[string]any{"metric": f.labels, "values": values})
		}
	}
	return success("matrix", result), nil
}

func stepOf(text string, from, to time.Time) (time.Duration, error) {
	if text == "" {
		return max(to.Sub(from)/250, time.Second).Truncate(time.Second), nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && f > 0 && f < 1e9 {
		return max(time.Duration(f*1e9), time.Millisecond), nil
	}
	d, err := duration(text)
	if err != nil || d < time.Millisecond {
		return 0, fmt.Errorf("the step %.60q is neither a number of seconds nor a duration", text)
	}
	return d, nil
}

// lines answers a query for log lines.
func (s *Server) lines(r *http.Request, l *pipeline, from, to time.Time) (any, error) {
	limit := defaultLimit
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxLimit {
			return nil, fmt.Errorf("limit: a number up to %d is expected", maxLimit)
		}
		limit = cmp.Or(n, defaultLimit)
	}
	forward := strings.EqualFold(r.FormValue("direction"), "forward")
	records, _, err := s.logs.Store().Search(r.Context(), segment.Query{
		From: from.UnixNano(), To: to.UnixNano(), Filter: l.filter, Limit: limit, Ascending: forward,
	})
	if err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	return success("streams", l.streams(records)), nil
}

// stream of an answer.
type stream struct {
	Stream map[string]string `json:"stream"`
	Values [][2]string       `json:"values"`
}

// streams groups lines by the labels that the answer has.
func (l *pipeline) streams(records []segment.Record) []*stream {
	all := []*stream{}
	byKey := map[string]*stream{}
	for i := range records {
		r := &records[i]
		labels := l.labels(segment.RowOf(r))
		key := keyOf(labels)
		if byKey[key] == nil {
			byKey[key] = &stream{Stream: labels}
			all = append(all, byKey[key])
		}
		byKey[key].Values = append(byKey[key].Values, [2]string{strconv.FormatInt(r.Time, 10), strings.ToValidUTF8(r.Body, "\uFFFD")})
	}
	return all
}

func (s *Server) found(r *http.Request, filter segment.Filter) ([]*segment.Stream, error) {
	from, to, err := s.span(r, 6*time.Hour)
	if err != nil {
		return nil, err
	}
	return s.logs.Store().Streams(from.UnixNano(), to.UnixNano()+1, filter), nil
}

// selected reads a selector from a parameter that may be missing.
func selected(text string) (segment.Filter, error) {
	if text == "" || text == "{}" {
		return segment.All(), nil
	}
	return parseSelector(text)
}

func (s *Server) labels(r *http.Request) (any, error) {
	filter, err := selected(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	streams, err := s.found(r, filter)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, st := range streams {
		for _, l := range st.Labels() {
			seen[l.Name] = true
		}
	}
	return map[string]any{"status": "success", "data": sorted(seen)}, nil
}

func sorted(seen map[string]bool) []string {
	all := make([]string, 0, len(seen))
	for n := range seen {
		all = append(all, n)
	}
	sort.Strings(all)
	return all
}

func (s *Server) values(r *http.Request) (any, error) {
	filter, err := selected(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	streams, err := s.found(r, filter)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, st := range streams {
		if v, ok := st.Get(r.PathValue("name")); ok {
			seen[v] = true
		}
	}
	return map[string]any{"status": "success", "data": sorted(seen)}, nil
}

func (s *Server) series(r *http.Request) (any, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	var any []segment.Filter
	for _, text := range slices.Concat(r.Form["match[]"], r.Form["match"]) {
		f, err := selected(text)
		if err != nil {
			return nil, err
		}
		any = append(any, f)
	}
	if len(any) == 0 {
		any = append(any, segment.All())
	}
	streams, err := s.found(r, segment.Or(any...))
	if err != nil {
		return nil, err
	}
	all := []map[string]string{}
	for _, st := range streams {
		all = append(all, st.Map())
	}
	return map[string]interface{}{"status": "success", "data": all}, nil
}

// stats counts what a selector finds.
func (s *Server) stats(r *http.Request) (any, error) {
	filter, err := selected(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	from, to, err := s.span(r, time.Hour)
	if err != nil {
		return nil, err
	}
	type sum struct{ entries, bytes int64 }
	var workers []*sum
	done, err := s.logs.Store().Scan(r.Context(), segment.Query{From: from.UnixNano(), To: to.UnixNano(), Filter: filter}, func() func(segment.Row) bool {
		n := &sum{}
		workers = append(workers, n)
		return func(row segment.Row) bool {
			n.entries++
			n.bytes += int64(len(row.Body()))
			return true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("counting: %w", err)
	}
	var total sum
	for _, n := range workers {
		total.entries += n.entries
		total.bytes += n.bytes
	}
	streams := s.logs.Store().Streams(from.UnixNano(), to.UnixNano(), filter)
	return map[string]int64{"streams": int64(len(streams)), "chunks": done.Blocks, "entries": total.entries, "bytes": total.bytes}, nil
}

// sameOrigin refuses a page of somebody else's that would read the logs through a person's browser.
func sameOrigin(c *websocket.Config, r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	_, host, _ := strings.Cut(origin, "://")
	if host != r.Host {
		return fmt.Errorf("a request from %s is not for %s", origin, r.Host)
	}
	return nil
}

// tail sends lines as they come.
func (s *Server) tail(ws *websocket.Conn) {
	r := ws.Request()
	e, err := parseQuery(r.FormValue("query"))
	if err != nil || e.logs == nil {
		_ = websocket.Message.Send(ws, fmt.Sprintf("a query for log lines is expected: %v", err))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	gone := make(chan struct{})
	go func() { // ends with the connection, which is closed below
		defer close(gone)
		defer cancel()
		var ignored []byte
		for websocket.Message.Receive(ws, &ignored) == nil {
		}
	}()
	_ = s.logs.FollowRecords(ctx, e.logs.filter, func(records []segment.Record) error { // ends with the client
		return websocket.JSON.Send(ws, map[string]any{"streams": e.logs.streams(records)})
	})
	_ = ws.Close()
	<-gone
}
