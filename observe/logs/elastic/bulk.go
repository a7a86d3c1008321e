package elastic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxAction = 4 << 10 // bytes of a line that says what is to be done
	maxItems  = 100000  // of one _bulk
	maxID     = 512     // bytes of an _id, as Elasticsearch has it
	fieldID   = "_id"
)

// item of a _bulk.
type item struct {
	Index  string `json:"_index"`
	ID     string `json:"_id"`
	op     string
	err    *apiError
	record int // in the records; -1: none
}

// bulk stores the documents of a _bulk. Items that cannot be stored have an error of their own; the others are on disk when it
// returns.
func (s *Server) bulk(r *http.Request, index string) (any, error) {
	began := time.Now()
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	items, records, err := parseBulk(data, index, s.logs.Now(), s.logs.MaxLine())
	if err != nil {
		return nil, err
	}
	if err := s.logs.Append(r.Context(), records); err != nil {
		return nil, err
	}
	answer := make([]map[string]any, len(items))
	failed := 0
	for i := range items {
		answer[i] = map[string]any{items[i].op: items[i].answer(records)}
		if items[i].err != nil {
			failed++
		}
	}
	s.logs.Refused(failed)
	return map[string]any{"took": time.Since(began).Milliseconds(), "errors": failed > 0, "items": answer}, nil
}

func (it *item) answer(records []segment.Record) map[string]any {
	if it.err != nil {
		return map[string]any{"_index": it.Index, "_id": it.ID, "status": it.err.status, "error": map[string]any{"type": it.err.kind, "reason": it.err.reason}}
	}
	r := &records[it.record]
	return map[string]any{"_index": it.Index, "_id": docID(r), "_version": 1, "result": "created", "_shards": map[string]int{"total": 1, "successful": 1, "failed": 0},
		"_seq_no": r.Seq, "_primary_term": 1, "status": http.StatusCreated}
}

// docID is the id that a document came with, or its place in the store.
func docID(r *segment.Record) string {
	for _, f := range r.Fields {
		if f.Name == fieldID {
			return f.Value
		}
	}
	return fmt.Sprintf("%d-%d", r.Time, r.Seq)
}

// parseBulk reads lines in pairs: what is to be done, and the document.
func parseBulk(data []byte, index string, now time.Time, limit int) (items []item, records []segment.Record, err error) {
	streams := map[string]*segment.Stream{}
	for n := 1; len(data) > 0; n++ {
		var line []byte
		if line, data = nextLine(data); len(line) == 0 {
			continue
		}
		if len(items) == maxItems {
			return nil, nil, badRequest("illegal_argument_exception", "more than %d items", maxItems)
		}
		it, err := parseAction(line, index)
		if err != nil {
			return nil, nil, badRequest("illegal_argument_exception", "item %d: %v", len(items)+1, err)
		}
		if it.op != "delete" {
			if len(data) == 0 {
				return nil, nil, badRequest("illegal_argument_exception", "item %d: its document is missing", len(items)+1)
			}
			line, data = nextLine(data)
		}
		if it.err == nil {
			var record segment.Record
			if record, it.err = document(line, it.Index, it.ID, now, limit, streams); it.err == nil {
				it.record = len(records)
				records = append(records, record)
			}
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, nil, badRequest("parse_exception", "request body is required")
	}
	return items, records, nil
}

func nextLine(data []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(data, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// parseAction reads {"create": {"_index": "x", "_id": "y"}}. An item that is understood but not possible has an err.
func parseAction(line []byte, index string) (item, error) {
	if len(line) > maxAction {
		return item{}, fmt.Errorf("a line of %d bytes where an action is expected", len(line))
	}
	var action map[string]item
	if err := json.Unmarshal(line, &action); err != nil {
		return item{}, fmt.Errorf("malformed action: %w", err)
	}
	if len(action) != 1 {
		return item{}, fmt.Errorf("malformed action: one of create and index is expected")
	}
	var it item
	for op, target := range action {
		it = target
		it.op = op
	}
	if it.Index == "" {
		it.Index = index
	}
	it.record = -1
	switch {
	case it.op == "delete" || it.op == "update":
		it.err = unsupported(it.op)
	case it.op != "create" && it.op != "index":
		return item{}, fmt.Errorf("malformed action: %q is none; create and index are", it.op)
	case it.Index == "":
		return item{}, fmt.Errorf("no index is named")
	case !indexName.MatchString(it.Index):
		it.err = badRequest("invalid_index_name_exception", "%q is no name of an index", it.Index)
	case len(it.ID) > maxID:
		it.err = badRequest("action_request_validation_exception", "an _id of more than %d bytes", maxID)
	}
	return it, nil
}

// document makes a record of a document of up to limit bytes.
func document(line []byte, index, id string, now time.Time, limit int, streams map[string]*segment.Stream) (segment.Record, *apiError) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' || !json.Valid(line) {
		return segment.Record{}, badRequest("mapper_parsing_exception", "failed to parse: a document is one JSON object")
	}
	if len(line) > limit {
		return segment.Record{}, &apiError{http.StatusRequestEntityTooLarge, "content_too_long_exception", fmt.Sprintf("a document of %d bytes: %d at most are kept", len(line), limit)}
	}
	text := string(line)
	record := segment.Record{Time: now.UnixNano(), Body: text, Fields: logs.Parse(text)}
	service := ""
	for _, f := range record.Fields {
		switch f.Name {
		case "@timestamp":
			at, ok := parseTime(f.Value)
			if !ok {
				return record, badRequest("mapper_parsing_exception", "failed to parse field [@timestamp]: %.100q is no date", f.Value)
			}
			record.Time = at
		case "service.name", "service":
			if len(f.Value) < 200 {
				service = f.Value
			}
		}
	}
	if id != "" {
		record.Fields = append([]segment.Field{{Name: fieldID, Value: id}}, record.Fields...)
	}
	key := index + "\x00" + service
	if streams[key] == nil {
		streams[key] = segment.NewStream(map[string]string{labelIndex: index, logs.LabelService: service})
	}
	record.Stream = streams[key]
	return record, nil
}

// parseTime reads a date as Elasticsearch's strict_date_optional_time||epoch_millis does, and a few more forms that shippers send.
func parseTime(text string) (int64, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil && inRange(t) {
			return t.UnixNano(), true
		}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > -maxMillis && ms < maxMillis {
		return ms * 1e6, true
	}
	return 0, false
}

const maxMillis = 9e12 // what nanoseconds can count, roughly

func inRange(t time.Time) bool { return t.Year() > 1680 && t.Year() < 2260 }

// one stores a single document.
func (s *Server) one(r *http.Request, index, id string) (any, error) {
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	if !indexName.MatchString(index) {
		return nil, badRequest("invalid_index_name_exception", "%q is no name of an index", index)
	}
	if len(id) > maxID {
		return nil, badRequest("action_request_validation_exception", "an _id of more than %d bytes", maxID)
	}
	record, bad := document(data, index, id, s.logs.Now(), s.logs.MaxLine(), map[string]*segment.Stream{})
	if bad != nil {
		return nil, bad
	}
	records := []segment.Record{record}
	if err := s.logs.Append(r.Context(), records); err != nil {
		return nil, err
	}
	it := item{Index: index}
	answer := it.answer(records)
	delete(answer, "status")
	return answer, nil
}
