package metrics

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxConcurrent bodies are held in memory at once; further requests are told to come again.
const maxConcurrent = 16

// RemoteWrite takes what other Prometheus-like senders write: the remote write protocol 1.0, protobuf in snappy's block
// format. A series that was seen before costs neither an allocation nor a parse of its labels.
//
// It answers 204 when all was stored, 400 when some samples were not to be stored (those that were, are), 413 and 415 for
// bodies that are too large or of another kind, 429 when too many are under way, 500 if the storage fails: the sender
// tries 429 and 5xx again.
func (s *Store) RemoteWrite() http.Handler {
	h := &remoteWriter{store: s, slots: make(chan struct{}, maxConcurrent)}
	h.buffers.New = func() any { return new(writeBuffers) }
	return h
}

type remoteWriter struct {
	store   *Store
	slots   chan struct{}
	buffers sync.Pool
}

type writeBuffers struct{ packed, plain []byte }

func (h *remoteWriter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many writes are under way", http.StatusTooManyRequests)
		return
	}
	if status, err := remoteKind(r.Header); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	buf := h.buffers.Get().(*writeBuffers)
	defer h.buffers.Put(buf)
	message, status, err := h.unpack(buf, r.Body)
	if err != nil {
		h.store.counts.invalid.Add(1)
		http.Error(w, err.Error(), status)
		return
	}
	b := h.store.Begin(r.Context(), "remote-write")
	if err := b.writeRequest(message); err != nil {
		b.Rollback()
		h.store.counts.invalid.Add(1)
		http.Error(w, "reading the message: "+err.Error(), http.StatusBadRequest)
		return
	}
	res, err := b.Commit()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case res.Problems != nil:
		http.Error(w, fmt.Sprintf("%d samples stored, %d not: %v", res.Stored, res.Failed, res.Problems), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// remoteKind checks that a request is of the protocol that is spoken here.
func remoteKind(h http.Header) (status int, err error) {
	if e := h.Get("Content-Encoding"); e != "" && e != "snappy" {
		return http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %q: want snappy", e)
	}
	kind := h.Get("Content-Type")
	media, params, err := mime.ParseMediaType(kind)
	if kind != "" && (err != nil || media != "application/x-protobuf") {
		return http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: want application/x-protobuf", kind)
	}
	if p := params["proto"]; p != "" && p != "prometheus.WriteRequest" {
		return http.StatusUnsupportedMediaType, fmt.Errorf("message %q is not supported: want prometheus.WriteRequest (remote write 1.0)", p)
	}
	return 0, nil
}

// unpack reads the body and decompresses it, neither beyond the limit.
func (h *remoteWriter) unpack(buf *writeBuffers, body io.Reader) (message []byte, status int, err error) {
	limit := h.store.cfg.Limits.Body
	if buf.packed, err = readAll(buf.packed[:0], body, limit); err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, errTooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		return nil, code, fmt.Errorf("reading the body: %w", err)
	}
	n, err := snappy.DecodedLen(buf.packed)
	switch {
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("unpacking the body: %w", err)
	case n > limit:
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has %d bytes unpacked: at most %d are taken", n, limit)
	}
	if cap(buf.plain) < n {
		buf.plain = make([]byte, n)
	}
	if buf.plain, err = snappy.Decode(buf.plain[:cap(buf.plain)], buf.packed); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("unpacking the body: %w", err)
	}
	return buf.plain, 0, nil
}

var errField = errors.New("a field that is cut off or of the wrong type")

// fields calls f for each field of a message; only those of bytes have data, the others bits.
func fields(m []byte, f func(num protowire.Number, kind protowire.Type, data []byte, bits uint64) error) error {
	for len(m) > 0 {
		num, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return errField
		}
		m = m[n:]
		var data []byte
		var bits uint64
		switch kind {
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(m)
		case protowire.VarintType:
			bits, n = protowire.ConsumeVarint(m)
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(m)
		default:
			n = protowire.ConsumeFieldValue(num, kind, m)
		}
		if n < 0 {
			return errField
		}
		m = m[n:]
		if err := f(num, kind, data, bits); err != nil {
			return err
		}
	}
	return nil
}

// writeRequest appends a prometheus.WriteRequest (prompb/remote.proto: timeseries 1, metadata 3).
func (b *Batch) writeRequest(m []byte) error {
	return fields(m, func(num protowire.Number, kind protowire.Type, data []byte, _ uint64) error {
		switch {
		case num == 1 && kind == protowire.BytesType:
			return b.timeSeries(data)
		case num == 3 && kind == protowire.BytesType:
			return b.describe(data)
		}
		return nil
	})
}

// timeSeries appends a prometheus.TimeSeries (labels 1, samples 2, exemplars 3, histograms 4). Labels come first in what
// every sender writes; their bytes as they came identify the series.
func (b *Batch) timeSeries(m []byte) error {
	text, rest, err := leadingLabels(m)
	if err != nil {
		return err
	}
	e := b.series(text, func() (labels.Labels, error) { return parseLabels(text) })
	return fields(rest, func(num protowire.Number, kind protowire.Type, data []byte, _ uint64) error {
		if kind != protowire.BytesType {
			return nil
		}
		if num == 1 {
			return errors.New("labels after samples")
		}
		if e == nil {
			if num == 2 || num == 4 {
				b.failed++
			}
			return nil
		}
		switch num {
		case 2:
			s, err := parseSample(data)
			if err != nil {
				return err
			}
			b.sample(e, s)
		case 3:
			return b.exemplar(e, data)
		case 4:
			return b.histogram(e, data)
		}
		return nil
	})
}

// leadingLabels splits the labels' fields off.
func leadingLabels(m []byte) (text, rest []byte, err error) {
	rest = m
	for len(rest) > 0 && rest[0] == 1<<3|byte(protowire.BytesType) {
		_, n := protowire.ConsumeBytes(rest[1:])
		if n < 0 {
			return nil, nil, errField
		}
		rest = rest[1+n:]
	}
	return m[:len(m)-len(rest)], rest, nil
}

// parseLabels reads the labels of a series (prometheus.Label: name 1, value 2).
func parseLabels(text []byte) (labels.Labels, error) {
	var pairs []labels.Label
	err := fields(text, func(_ protowire.Number, _ protowire.Type, data []byte, _ uint64) error {
		l, err := parseLabel(data)
		if l.Value != "" { // an empty label is none
			pairs = append(pairs, l)
		}
		return err
	})
	if err != nil {
		return labels.EmptyLabels(), err
	}
	slices.SortStableFunc(pairs, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return labels.New(pairs...), nil
}

func parseLabel(m []byte) (l labels.Label, err error) {
	err = fields(m, func(num protowire.Number, kind protowire.Type, data []byte, _ uint64) error {
		switch {
		case num == 1 && kind == protowire.BytesType:
			l.Name = string(data)
		case num == 2 && kind == protowire.BytesType:
			l.Value = string(data)
		}
		return nil
	})
	return l, err
}

// parseSample reads a prometheus.Sample (value 1, timestamp 2).
func parseSample(m []byte) (s Sample, err error) {
	err = fields(m, func(num protowire.Number, kind protowire.Type, _ []byte, bits uint64) error {
		switch {
		case num == 1 && kind == protowire.Fixed64Type:
			s.V = math.Float64frombits(bits)
		case num == 2 && kind == protowire.VarintType:
			s.T = int64(bits)
		}
		return nil
	})
	return s, err
}

// maxExemplarLabels bounds the labels of an exemplar; OpenMetrics allows 128 characters in all.
const maxExemplarLabels = 16

// exemplar appends a prometheus.Exemplar (labels 1, value 2, timestamp 3) of a series that has samples.
func (b *Batch) exemplar(e *entry, m []byte) error {
	var ex exemplar.Exemplar
	var pairs []labels.Label
	err := fields(m, func(num protowire.Number, kind protowire.Type, data []byte, bits uint64) error {
		switch {
		case num == 1 && kind == protowire.BytesType && len(pairs) < maxExemplarLabels:
			l, err := parseLabel(data)
			pairs = append(pairs, l)
			return err
		case num == 2 && kind == protowire.Fixed64Type:
			ex.Value = math.Float64frombits(bits)
		case num == 3 && kind == protowire.VarintType:
			ex.Ts, ex.HasTs = int64(bits), true
		}
		return nil
	})
	if err != nil {
		return err
	}
	ex.Labels = labels.New(pairs...)
	if a, ok := b.app.(storage.ExemplarAppenderV2); ok {
		if _, err := a.AppendExemplars(e.ref, e.lset, []exemplar.Exemplar{ex}); err != nil {
			b.o.store.counts.exemplarErrors.Add(1)
		} else {
			b.o.store.counts.exemplars.Add(1)
		}
	}
	return nil
}

// histogram appends a prometheus.Histogram: a native one.
func (b *Batch) histogram(e *entry, m []byte) error {
	var h prompb.Histogram
	if err := h.Unmarshal(m); err != nil {
		return err
	}
	s := Sample{T: h.Timestamp}
	if h.IsFloatHistogram() {
		s.F = h.ToFloatHistogram()
	} else {
		s.H = h.ToIntHistogram()
	}
	b.sample(e, s)
	return nil
}

// describe notes a prometheus.MetricMetadata (type 1, family 2, help 4, unit 5).
func (b *Batch) describe(m []byte) error {
	var family, help, unit []byte
	var kind prompb.MetricMetadata_MetricType
	err := fields(m, func(num protowire.Number, wire protowire.Type, data []byte, bits uint64) error {
		switch {
		case num == 1 && wire == protowire.VarintType:
			kind = prompb.MetricMetadata_MetricType(int32(bits))
		case num == 2 && wire == protowire.BytesType:
			family = data
		case num == 4 && wire == protowire.BytesType:
			help = data
		case num == 5 && wire == protowire.BytesType:
			unit = data
		}
		return nil
	})
	if err != nil || len(family) == 0 {
		return err
	}
	c := &b.o.store.metadata
	c.setType(family, model.MetricType(strings.ToLower(kind.String())))
	c.setHelp(family, help)
	c.setUnit(family, unit)
	return nil
}
