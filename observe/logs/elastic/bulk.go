package elastic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxItems = 100000 // of one _bulk
	fieldID  = "_id"
)

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
	b := newBulkReader(string(data), index, s.logs.Now(), s.logs.MaxLine())
	if err := b.read(); err != nil {
		return nil, err
	}
	if err := s.logs.Append(r.Context(), b.records); err != nil {
		return nil, err
	}
	failed := 0
	for i := range b.items {
		if b.items[i].err != nil {
			failed++
		}
	}
	s.logs.Refused(failed)
	answer := make([]byte, 0, 64+200*len(b.items))
	answer = fmt.Appendf(answer, `{"took":%d,"errors":%t,"items":[`, time.Since(began).Milliseconds(), failed > 0)
	for i := range b.items {
		if i > 0 {
			answer = append(answer, ',')
		}
		it := &b.items[i]
		answer = append(appendString(append(answer, '{'), it.op), ':')
		if it.err != nil {
			answer = it.appendError(answer)
		} else {
			answer = appendCreated(answer, it.Index, &b.records[it.record])
			answer = append(answer, `,"status":201}`...)
		}
		answer = append(answer, '}')
	}
	return encoded(append(answer, "]}\n"...)), nil
}

func (it *item) appendError(b []byte) []byte {
	b = appendString(append(b, `{"_index":`...), it.Index)
	b = appendString(append(b, `,"_id":`...), it.ID)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(it.err.status), 10)
	b = appendString(append(b, `,"error":{"type":`...), it.err.kind)
	b = appendString(append(b, `,"reason":`...), it.err.reason)
	return append(b, "}}"...)
}

// appendCreated appends what is said of a document that is stored, but for the brace behind it. It is written by hand: a _bulk has
// thousands of them.
func appendCreated(b []byte, index string, r *segment.Record) []byte {
	b = appendString(append(b, `{"_index":`...), index)
	b = append(b, `,"_id":`...)
	if id, ok := givenID(r); ok {
		b = appendString(b, id)
	} else {
		b = append(appendPlace(append(b, '"'), r), '"')
	}
	b = append(b, `,"_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	return append(b, `,"_primary_term":1`...)
}

// appendString appends a string as JSON.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // a string has no error
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// docID is the id that a document came with, or its place in the store.
func docID(r *segment.Record) string {
	if id, ok := givenID(r); ok {
		return id
	}
	return string(appendPlace(nil, r))
}

func appendPlace(b []byte, r *segment.Record) []byte {
	return strconv.AppendUint(append(strconv.AppendInt(b, r.Time, 10), '-'), r.Seq, 10)
}

func givenID(r *segment.Record) (string, bool) {
	for i := range r.Fields {
		if r.Fields[i].Name == fieldID {
			return r.Fields[i].Value, true
		}
	}
	return "", false
}

// bulkReader makes records of a _bulk's lines, which come in pairs: what is to be done, and the document. The records share the memory of
// its text.
type bulkReader struct {
	rest, index string
	documents   documents
	items       []item
	records     []segment.Record

	action string // the line that was read last
	item   item   // what it says
	known  string // an index whose name is one
}

func newBulkReader(text, index string, now time.Time, limit int) *bulkReader {
	return &bulkReader{rest: text, index: index, documents: documents{now: now, limit: limit}}
}

func (b *bulkReader) read() error {
	lines := min(strings.Count(b.rest, "\n")/2+1, maxItems)
	b.items, b.records = make([]item, 0, lines), make([]segment.Record, 0, lines)
	for b.rest != "" {
		line := b.line()
		if line == "" {
			continue
		}
		if len(b.items) == maxItems {
			return badRequest("illegal_argument_exception", "more than %d items", maxItems)
		}
		if err := b.parseAction(line); err != nil {
			return badRequest("illegal_argument_exception", "item %d: %v", len(b.items)+1, err)
		}
		it := b.item
		if it.op != "delete" {
			if b.rest == "" {
				return badRequest("illegal_argument_exception", "item %d: its document is missing", len(b.items)+1)
			}
			line = b.line()
		}
		if it.err == nil {
			var record segment.Record
			if record, it.err = b.documents.record(line, it.Index, it.ID); it.err == nil {
				it.record = len(b.records)
				b.records = append(b.records, record)
			}
		}
		b.items = append(b.items, it)
	}
	if len(b.items) == 0 {
		return badRequest("parse_exception", "request body is required")
	}
	return nil
}

func (b *bulkReader) line() (line string) {
	line, b.rest = nextLine(b.rest)
	return line
}

func nextLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// documents makes records of documents, which share what they have in common.
type documents struct {
	now            time.Time
	limit          int // bytes of a document
	parser         logs.Parser
	streams        map[[2]string]*segment.Stream
	stream         *segment.Stream // of the last one
	index, service string          // of that stream
}

// record makes a record of a document.
func (d *documents) record(line, index, id string) (segment.Record, *apiError) {
	line = strings.TrimSpace(line)
	if len(line) > d.limit {
		return segment.Record{}, &apiError{http.StatusRequestEntityTooLarge, "content_too_long_exception", fmt.Sprintf("a document of %d bytes: %d at most are kept", len(line), d.limit)}
	}
	var given []segment.Field
	if id != "" {
		given = []segment.Field{{Name: fieldID, Value: id}}
	}
	record := segment.Record{Time: d.now.UnixNano(), Body: line}
	var ok bool
	if record.Fields, ok = d.parser.Object(line, given...); !ok {
		// It may be deeper than is read for fields.
		if !strings.HasPrefix(line, "{") || !json.Valid([]byte(line)) {
			return segment.Record{}, badRequest("mapper_parsing_exception", "failed to parse: a document is one JSON object")
		}
		record.Fields = append(given, logs.Parse(line)...)
	}
	service := ""
	for i := range record.Fields {
		switch f := &record.Fields[i]; f.Name {
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
	record.Stream = d.streamOf(index, service)
	return record, nil
}

func (d *documents) streamOf(index, service string) *segment.Stream {
	if d.stream != nil && d.index == index && d.service == service {
		return d.stream
	}
	d.index, d.service = index, service
	key := [2]string{index, service}
	if d.stream = d.streams[key]; d.stream == nil {
		d.stream = segment.NewStream(map[string]string{labelIndex: index, logs.LabelService: service})
		if d.streams == nil {
			d.streams = map[[2]string]*segment.Stream{}
		}
		d.streams[key] = d.stream
	}
	return d.stream
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
	d := documents{now: s.logs.Now(), limit: s.logs.MaxLine()}
	record, bad := d.record(string(data), index, id)
	if bad != nil {
		return nil, bad
	}
	records := []segment.Record{record}
	if err := s.logs.Append(r.Context(), records); err != nil {
		return nil, err
	}
	return encoded(append(appendCreated(nil, index, &records[0]), "}\n"...)), nil
}
