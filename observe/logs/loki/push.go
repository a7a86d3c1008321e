package loki

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxBody    = 32 << 20 // of a push, unpacked
	maxEntries = 200000   // of a push
)

// pushed is what a push brings.
type pushed struct {
	labels  map[string]string
	entries []entry
}

type entry struct {
	at       int64
	line     string
	metadata []segment.Field
}

func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-r.Context().Done():
		return
	}
	streams, err := readPush(r)
	if err != nil {
		s.logs.BadRequest()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var records []segment.Record
	var parser logs.Parser
	for _, p := range streams {
		stream := segment.NewStream(p.labels)
		for _, e := range p.entries {
			fields := parser.Parse(e.line)
			if len(e.metadata) > 0 {
				fields = append(e.metadata, fields...)
			}
			records = append(records, segment.Record{Time: e.at, Stream: stream, Body: e.line, Fields: fields})
		}
	}
	if err := s.logs.Append(r.Context(), records); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func readPush(r *http.Request) ([]pushed, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the push: %w", err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("the push has more than %d bytes", maxBody)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		n, err := snappy.DecodedLen(data)
		if err != nil || n > maxBody {
			return nil, fmt.Errorf("the push is not snappy, or unpacks to more than %d bytes (Content-Type is %q)", maxBody, kind)
		}
		if data, err = snappy.Decode(nil, data); err != nil {
			return nil, fmt.Errorf("unpacking the push: %w", err)
		}
		return parseProto(data)
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		if data, err = gunzip(data); err != nil {
			return nil, err
		}
	}
	return parseJSON(data)
}

func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpacking the push: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(z, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("unpacking the push: %w", err)
	}
	if len(out) > maxBody {
		return nil, fmt.Errorf("the push unpacks to more than %d bytes", maxBody)
	}
	return out, nil
}

// parseJSON reads {"streams": [{"stream": {"a": "b"}, "values": [["1700000000000000000", "line", {"k": "v"}]]}]}.
func parseJSON(data []byte) ([]pushed, error) {
	var body struct {
		Streams []struct {
			Stream map[string]string   `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, fmt.Errorf("reading the push: %w", err)
	}
	total := 0
	out := make([]pushed, len(body.Streams))
	for i, s := range body.Streams {
		if err := checkLabels(s.Stream); err != nil {
			return nil, err
		}
		out[i].labels = s.Stream
		if total += len(s.Values); total > maxEntries {
			return nil, fmt.Errorf("more than %d entries", maxEntries)
		}
		for _, v := range s.Values {
			e, err := jsonEntry(v)
			if err != nil {
				return nil, err
			}
			out[i].entries = append(out[i].entries, e)
		}
	}
	return out, nil
}

func jsonEntry(v []json.RawMessage) (e entry, err error) {
	if len(v) != 2 && len(v) != 3 {
		return e, fmt.Errorf("an entry has %d parts: a time and a line are expected, and fields may follow", len(v))
	}
	var at string
	if err := json.Unmarshal(v[0], &at); err != nil {
		return e, fmt.Errorf("an entry's time is nanoseconds in a string: %w", err)
	}
	if e.at, err = strconv.ParseInt(at, 10, 64); err != nil {
		return e, fmt.Errorf("an entry's time: %w", err)
	}
	if err := json.Unmarshal(v[1], &e.line); err != nil {
		return e, fmt.Errorf("an entry's line is a string: %w", err)
	}
	if len(v) == 3 {
		var metadata map[string]string
		if err := json.Unmarshal(v[2], &metadata); err != nil {
			return e, fmt.Errorf("an entry's fields are strings by name: %w", err)
		}
		for name, value := range metadata {
			e.metadata = append(e.metadata, segment.Field{Name: name, Value: value})
		}
	}
	return e, nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) == 0 {
		return fmt.Errorf("a stream has no labels")
	}
	if len(labels) > segment.MaxLabels/2 {
		return fmt.Errorf("a stream has %d labels, and may have %d", len(labels), segment.MaxLabels/2)
	}
	for name, value := range labels {
		if !labelName.MatchString(name) || len(name) > 200 || len(value) > 2048 {
			return fmt.Errorf("label %.100q: the name, or the length of the value, is not allowed", name)
		}
	}
	return nil
}

// parseProto reads logproto.PushRequest (pkg/push/push.proto of Loki): streams = 1 {labels = 1, entries = 2 {timestamp = 1, line = 2,
// structuredMetadata = 3 {name = 1, value = 2}}}.
func parseProto(data []byte) (out []pushed, err error) {
	total := 0
	err = eachField(data, func(n protowire.Number, data []byte, _ uint64) error {
		if n != 1 {
			return nil
		}
		var p pushed
		err := eachField(data, func(n protowire.Number, data []byte, _ uint64) error {
			switch n {
			case 1:
				labels, err := parseLabels(string(data))
				if err != nil {
					return err
				}
				p.labels = labels
			case 2:
				if total++; total > maxEntries {
					return fmt.Errorf("more than %d entries", maxEntries)
				}
				e, err := protoEntry(data)
				p.entries = append(p.entries, e)
				return err
			}
			return nil
		})
		if err == nil {
			err = checkLabels(p.labels)
		}
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the push: %w", err)
	}
	return out, nil
}

func protoEntry(data []byte) (e entry, err error) {
	err = eachField(data, func(n protowire.Number, data []byte, _ uint64) error {
		switch n {
		case 1:
			var seconds, nanos int64
			err := eachField(data, func(n protowire.Number, _ []byte, v uint64) error {
				switch n {
				case 1:
					seconds = int64(v)
				case 2:
					nanos = int64(int32(v))
				}
				return nil
			})
			if seconds > 9e9 || seconds < -9e9 || nanos < 0 || nanos >= 1e9 {
				return fmt.Errorf("an entry's time is out of range")
			}
			e.at = seconds*int64(time.Second) + nanos
			return err
		case 2:
			e.line = string(data)
		case 3:
			var f segment.Field
			err := eachField(data, func(n protowire.Number, data []byte, _ uint64) error {
				switch n {
				case 1:
					f.Name = string(data)
				case 2:
					f.Value = string(data)
				}
				return nil
			})
			e.metadata = append(e.metadata, f)
			return err
		}
		return nil
	})
	return e, err
}

// eachField gives each field of a message to f: its bytes, or its number.
func eachField(data []byte, f func(n protowire.Number, data []byte, v uint64) error) error {
	for len(data) > 0 {
		num, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var value []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(num, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := f(num, value, v); err != nil {
			return err
		}
	}
	return nil
}
