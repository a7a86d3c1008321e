package elastic

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxWindow   = 10000 // from + size, as index.max_result_window
	countedHits = 10000 // hits are counted up to this unless track_total_hits says otherwise
	maxSearches = 50    // of one _msearch
	sampled     = 500   // documents that a mapping is derived from
)

// request of a search.
type request struct {
	Query       json.RawMessage            `json:"query"`
	Size        *int                       `json:"size"`
	From        int                        `json:"from"`
	Sort        json.RawMessage            `json:"sort"`
	Aggs        map[string]json.RawMessage `json:"aggs"`
	Aggregation map[string]json.RawMessage `json:"aggregations"`
	Track       json.RawMessage            `json:"track_total_hits"`
	After       []json.RawMessage          `json:"search_after"`
	Source      json.RawMessage            `json:"_source"`
}

// ready is a request that is understood.
type ready struct {
	query     segment.Query
	size      int
	from      int
	track     int64 // hits are counted up to this
	sorted    bool  // hits have a sort
	withPlace bool  // and their place in it
	source    bool
	aggs      []*aggregation
}

func (s *Server) search(r *http.Request, index string) (any, error) {
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	var req request
	if len(bytes.TrimSpace(data)) > 0 {
		if err := parse(data, &req); err != nil {
			return nil, err
		}
	}
	if err := req.parameters(r); err != nil {
		return nil, err
	}
	return s.carryOut(r, index, &req)
}

// parameters takes over what stands in the URL.
func (q *request) parameters(r *http.Request) error {
	v := r.URL.Query()
	if text := v.Get("q"); text != "" {
		q.Query, _ = json.Marshal(map[string]any{"query_string": map[string]string{"query": text, "default_operator": v.Get("default_operator"), "default_field": v.Get("df")}})
	}
	if text := v.Get("size"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return badRequest("illegal_argument_exception", "size: %v", err)
		}
		q.Size = &n
	}
	if text := v.Get("from"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return badRequest("illegal_argument_exception", "from: %v", err)
		}
		q.From = n
	}
	if text := v.Get("sort"); text != "" {
		field, order, _ := strings.Cut(text, ":")
		q.Sort, _ = json.Marshal([]any{map[string]string{field: cmp.Or(order, "asc")}})
	}
	if text := v.Get("track_total_hits"); text == "true" || text == "false" {
		q.Track = json.RawMessage(text)
	}
	if v.Has("scroll") {
		return unsupported("scroll (search_after is)")
	}
	return nil
}

func (s *Server) understand(index string, req *request) (*ready, error) {
	c := &compiler{now: s.logs.Now(), from: math.MinInt64}
	filter := segment.All()
	if len(req.Query) > 0 {
		var err error
		if filter, err = c.query(req.Query, true, 0); err != nil {
			return nil, err
		}
	}
	out := &ready{size: 10, from: req.From, track: countedHits, source: string(req.Source) != "false"}
	if req.Size != nil {
		out.size = *req.Size
	}
	if out.size < 0 || out.from < 0 || out.size+out.from > maxWindow {
		return nil, badRequest("illegal_argument_exception", "from + size must be between 0 and %d", maxWindow)
	}
	switch text := string(req.Track); text {
	case "", "null":
	case "true":
		out.track = math.MaxInt64
	case "false":
		out.track = 0
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, badRequest("parsing_exception", "track_total_hits: true, false or a number is expected")
		}
		out.track = n
	}
	out.query = segment.Query{From: c.from, To: c.to, Filter: segment.And(indexFilter(index), filter)}
	if c.to < 0 {
		return nil, badRequest("illegal_argument_exception", "times before 1970 cannot end a range")
	}
	if err := out.order(req.Sort); err != nil {
		return nil, err
	}
	if err := out.after(req.After); err != nil {
		return nil, err
	}
	aggs := req.Aggs
	if aggs == nil {
		aggs = req.Aggregation
	}
	var err error
	out.aggs, err = c.aggregations(aggs, 0)
	return out, err
}

// order reads a sort: by @timestamp, and by place where times are equal.
func (q *ready) order(data json.RawMessage) error {
	if len(data) == 0 || string(data) == "null" {
		return nil
	}
	list := []json.RawMessage{data}
	if data[0] == '[' {
		if err := parse(data, &list); err != nil {
			return err
		}
	}
	for i, data := range list {
		field, order, err := sortOf(data)
		if err != nil {
			return err
		}
		switch {
		case field == "@timestamp" && i == 0:
			q.sorted = true
			q.query.Ascending = order != "desc"
		case field == "_doc" || field == "_score" || field == "_shard_doc" || field == "_seq_no" || field == "_id":
			q.withPlace = q.sorted
		default:
			return unsupported("a sort by " + field + " (by @timestamp it is)")
		}
	}
	return nil
}

func sortOf(data json.RawMessage) (field, order string, err error) {
	if len(data) > 0 && data[0] == '"' {
		err = parse(data, &field)
		return field, "asc", err
	}
	var m map[string]json.RawMessage
	if err := parse(data, &m); err != nil {
		return "", "", err
	}
	if len(m) != 1 {
		return "", "", badRequest("parsing_exception", "a sort has one field, not %d", len(m))
	}
	for f, v := range m {
		field = f
		if len(v) > 0 && v[0] == '"' {
			err = parse(v, &order)
		} else {
			var o struct{ Order string }
			err = parse(v, &o)
			order = o.Order
		}
	}
	return field, order, err
}

// after reads the sort of the hit that a page ended with: milliseconds, and the place if there was one.
func (q *ready) after(values []json.RawMessage) error {
	if len(values) == 0 {
		return nil
	}
	if !q.sorted || len(values) > 2 {
		return badRequest("illegal_argument_exception", "search_after wants the values of the sort")
	}
	ms, err := strconv.ParseInt(strings.Trim(string(values[0]), `"`), 10, 64)
	if err != nil || ms > maxMillis || ms < -maxMillis {
		return badRequest("illegal_argument_exception", "search_after: milliseconds are expected, not %.50s", values[0])
	}
	p := segment.Position{Time: ms * 1e6}
	if len(values) == 2 {
		at, seq, _ := strings.Cut(strings.Trim(string(values[1]), `"`), "-")
		t, err1 := strconv.ParseInt(at, 10, 64)
		n, err2 := strconv.ParseUint(seq, 10, 64)
		if err1 != nil || err2 != nil {
			return badRequest("illegal_argument_exception", "search_after: %.50s is no place", values[1])
		}
		p = segment.Position{Time: t, Seq: n}
	} else if q.query.Ascending {
		p = segment.Position{Time: ms*1e6 + 999999, Seq: math.MaxUint64}
	}
	q.query.After = &p
	return nil
}

func (s *Server) carryOut(r *http.Request, index string, req *request) (map[string]any, error) {
	began := time.Now()
	q, err := s.understand(index, req)
	if err != nil {
		return nil, err
	}
	var records []segment.Record
	if q.size > 0 {
		find := q.query
		find.Limit = q.from + q.size
		if records, _, err = s.logs.Store().Search(r.Context(), find); err != nil {
			return nil, fmt.Errorf("searching: %w", err)
		}
		records = records[min(q.from, len(records)):]
	}
	answer := map[string]any{"timed_out": false, "_shards": shards}
	hits := map[string]any{"max_score": nil, "hits": q.hits(records)}
	total, aggs, err := s.tally(r, q)
	if err != nil {
		return nil, err
	}
	if q.track > 0 {
		relation := "eq"
		if total > q.track {
			total, relation = q.track, "gte"
		}
		hits["total"] = map[string]any{"value": total, "relation": relation}
	}
	answer["hits"] = hits
	if len(q.aggs) > 0 {
		answer["aggregations"] = aggs
	}
	answer["took"] = time.Since(began).Milliseconds()
	return answer, nil
}

func (q *ready) hits(records []segment.Record) []map[string]any {
	hits := make([]map[string]any, len(records))
	for i := range records {
		r := &records[i]
		index, _ := r.Stream.Get(labelIndex)
		hit := map[string]any{"_index": cmp.Or(index, "logs"), "_id": docID(r), "_score": nil}
		if q.source {
			hit["_source"] = source(r)
		}
		if q.sorted {
			place := []any{floorMillis(r.Time)}
			if q.withPlace {
				place = append(place, fmt.Sprintf("%d-%d", r.Time, r.Seq))
			}
			hit["sort"] = place
		}
		hits[i] = hit
	}
	return hits
}

func floorMillis(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}

// source is the document as it came, or one made of a line of a replica.
func source(r *segment.Record) any {
	if _, ok := r.Stream.Get(labelIndex); ok && json.Valid([]byte(r.Body)) {
		return json.RawMessage(r.Body)
	}
	doc := map[string]any{}
	for _, f := range r.Fields {
		doc[f.Name] = f.Value
	}
	for _, l := range r.Stream.Labels() {
		doc[l.Name] = l.Value
	}
	doc["@timestamp"] = time.Unix(0, r.Time).UTC().Format("2006-01-02T15:04:05.000000000Z")
	doc["message"] = strings.ToValidUTF8(r.Body, "\uFFFD")
	return doc
}

// tally counts the hits and computes the aggregations.
func (s *Server) tally(r *http.Request, q *ready) (int64, map[string]any, error) {
	if q.track == 0 && len(q.aggs) == 0 {
		return 0, nil, nil
	}
	var count, buckets atomic.Int64
	var workers []*bucket
	scan := q.query
	scan.After = nil
	_, err := s.logs.Store().Scan(r.Context(), scan, func() func(segment.Row) bool {
		b := newBucket(q.aggs)
		workers = append(workers, b)
		return func(row segment.Row) bool {
			n := count.Add(1)
			if len(q.aggs) == 0 {
				return n <= q.track
			}
			b.add(q.aggs, row, &buckets)
			return buckets.Load() <= maxBuckets
		}
	})
	if err != nil {
		return 0, nil, fmt.Errorf("aggregating: %w", err)
	}
	if buckets.Load() > maxBuckets {
		return 0, nil, badRequest("too_many_buckets_exception", "more than %d buckets", maxBuckets)
	}
	total := newBucket(q.aggs)
	for _, w := range workers {
		total.merge(q.aggs, w)
	}
	answer, err := total.answer(q.aggs)
	return count.Load(), answer, err
}

func (s *Server) count(r *http.Request, index string) (any, error) {
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	var req request
	if len(bytes.TrimSpace(data)) > 0 {
		if err := parse(data, &req); err != nil {
			return nil, err
		}
	}
	if err := req.parameters(r); err != nil {
		return nil, err
	}
	req.Track, req.Size = json.RawMessage("true"), new(int)
	q, err := s.understand(index, &req)
	if err != nil {
		return nil, err
	}
	n, _, err := s.tally(r, q)
	return map[string]any{"count": n, "_shards": shards}, err
}

func (s *Server) msearch(r *http.Request, index string) (any, error) {
	began := time.Now()
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	responses := []any{}
	for rest := string(data); rest != ""; {
		var head, line string
		if head, rest = nextLine(rest); strings.TrimSpace(head) == "" && rest == "" {
			break
		}
		line, rest = nextLine(rest)
		if len(responses) == maxSearches {
			return nil, badRequest("illegal_argument_exception", "more than %d searches", maxSearches)
		}
		one, err := s.oneOfMany(r, index, []byte(head), []byte(line))
		if err != nil {
			e, ok := err.(*apiError)
			if !ok {
				return nil, err
			}
			one = map[string]any{"error": map[string]any{"type": e.kind, "reason": e.reason, "root_cause": []any{}}, "status": e.status}
		}
		responses = append(responses, one)
	}
	return map[string]any{"took": time.Since(began).Milliseconds(), "responses": responses}, nil
}

func (s *Server) oneOfMany(r *http.Request, index string, head, line []byte) (map[string]any, error) {
	var header struct{ Index json.RawMessage }
	if len(bytes.TrimSpace(head)) > 0 {
		if err := parse(head, &header); err != nil {
			return nil, err
		}
	}
	if len(header.Index) > 0 {
		var names []string
		if header.Index[0] == '"' {
			names = make([]string, 1)
			if err := parse(header.Index, &names[0]); err != nil {
				return nil, err
			}
		} else if err := parse(header.Index, &names); err != nil {
			return nil, err
		}
		index = strings.Join(names, ",")
	}
	var req request
	if err := parse(line, &req); err != nil {
		return nil, err
	}
	answer, err := s.carryOut(r, index, &req)
	if err == nil {
		answer["status"] = http.StatusOK
	}
	return answer, err
}

// get returns a document by its _id.
func (s *Server) get(r *http.Request, index, id string) (any, int, error) {
	records, _, err := s.logs.Store().Search(r.Context(), segment.Query{From: math.MinInt64, Filter: segment.And(indexFilter(index), idFilter([]string{id})), Limit: 1})
	if err != nil {
		return nil, 0, fmt.Errorf("getting a document: %w", err)
	}
	if len(records) == 0 {
		return map[string]any{"_index": index, "_id": id, "found": false}, http.StatusNotFound, nil
	}
	return map[string]any{"_index": index, "_id": id, "_version": 1, "found": true, "_source": source(&records[0])}, http.StatusOK, nil
}

// fieldNames are those of the latest documents, for tools that offer fields to choose from.
func (s *Server) fieldNames(r *http.Request, index string) ([]string, error) {
	records, _, err := s.logs.Store().Search(r.Context(), segment.Query{From: math.MinInt64, Filter: indexFilter(index), Limit: sampled})
	if err != nil {
		return nil, fmt.Errorf("looking for fields: %w", err)
	}
	seen := map[string]bool{}
	for i := range records {
		for _, f := range records[i].Fields {
			seen[f.Name] = true
		}
		for _, l := range records[i].Stream.Labels() {
			seen[l.Name] = true
		}
	}
	delete(seen, "@timestamp")
	delete(seen, fieldID)
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, nil
}

func (s *Server) mapping(r *http.Request, index string) (any, error) {
	names, err := s.fieldNames(r, index)
	if err != nil {
		return nil, err
	}
	properties := map[string]any{"@timestamp": map[string]string{"type": "date"}}
	for _, n := range names {
		properties[n] = map[string]string{"type": "keyword"}
	}
	return map[string]any{cmp.Or(index, "logs"): map[string]any{"mappings": map[string]any{"properties": properties}}}, nil
}

func (s *Server) fieldCaps(r *http.Request, index string) (any, error) {
	names, err := s.fieldNames(r, index)
	if err != nil {
		return nil, err
	}
	caps := func(kind string) any {
		return map[string]any{kind: map[string]any{"type": kind, "searchable": true, "aggregatable": true, "metadata_field": false}}
	}
	fields := map[string]any{"@timestamp": caps("date")}
	for _, n := range names {
		fields[n] = caps("keyword")
	}
	return map[string]any{"indices": []string{cmp.Or(index, "logs")}, "fields": fields}, nil
}

// interval of a date_histogram.
func interval(fixed, calendar, old string) (time.Duration, error) {
	text := cmp.Or(fixed, calendar, old)
	if d, ok := map[string]time.Duration{"minute": time.Minute, "1m": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "second": time.Second}[text]; ok {
		return d, nil
	}
	number := strings.TrimRight(text, "dhms")
	n, err := strconv.ParseInt(number, 10, 32)
	unit, ok := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[text[len(number):]]
	if err != nil || !ok || n < 1 {
		return 0, unsupported("the interval " + strconv.Quote(text) + " (of milliseconds to days it is)")
	}
	return time.Duration(n) * unit, nil
}
