package metrics

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
)

// OTLP takes metrics by OpenTelemetry's protocol over HTTP (opentelemetry.io/docs/specs/otlp), protobuf or JSON, plain or
// gzip. Names become Prometheus's as its own compatibility specification says: dots to underscores, units and _total as
// suffixes, the resource's service.name and service.instance.id as job and instance, its other attributes on target_info.
//
// Points with delta temporality are not supported: they are refused with a partial success that says so.
func (s *Store) OTLP() http.Handler {
	return &otlpReceiver{store: s, slots: make(chan struct{}, maxConcurrent)}
}

type otlpReceiver struct {
	store *Store
	slots chan struct{}
}

func (h *otlpReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON := media == "application/json"
	if err != nil || !isJSON && media != "application/x-protobuf" {
		http.Error(w, "want application/x-protobuf or application/json", http.StatusUnsupportedMediaType)
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		answerOTLP(w, isJSON, http.StatusTooManyRequests, &status.Status{Code: 8, Message: "too many exports are under way"})
		return
	}
	req, code, err := h.receive(r, isJSON)
	if err != nil {
		h.store.counts.invalid.Add(1)
		answerOTLP(w, isJSON, code, &status.Status{Code: 3, Message: err.Error()})
		return
	}
	res, err := h.store.appendOTLP(r.Context(), req)
	if err != nil {
		answerOTLP(w, isJSON, http.StatusServiceUnavailable, &status.Status{Code: 14, Message: err.Error()})
		return
	}
	answer := &collector.ExportMetricsServiceResponse{}
	if res.Failed > 0 || res.Problems != nil {
		answer.PartialSuccess = &collector.ExportMetricsPartialSuccess{RejectedDataPoints: int64(res.Failed)}
		if res.Problems != nil {
			answer.PartialSuccess.ErrorMessage = res.Problems.Error()
		}
	}
	answerOTLP(w, isJSON, http.StatusOK, answer)
}

// receive reads the message, bounded before and after it is unpacked.
func (h *otlpReceiver) receive(r *http.Request, isJSON bool) (*collector.ExportMetricsServiceRequest, int, error) {
	var body io.Reader = r.Body
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("unpacking the body: %w", err)
		}
		defer z.Close()
		body = z
	default:
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: want gzip or none", e)
	}
	// A message takes several times its size once it is parsed.
	data, err := readAll(nil, body, h.store.cfg.Limits.Body/4)
	if err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, errTooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		return nil, code, fmt.Errorf("reading the body: %w", err)
	}
	req := &collector.ExportMetricsServiceRequest{}
	if isJSON {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, req)
	} else {
		err = proto.Unmarshal(data, req)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the message: %w", err)
	}
	return req, 0, nil
}

func answerOTLP(w http.ResponseWriter, isJSON bool, code int, m proto.Message) {
	var data []byte
	var err error
	kind := "application/x-protobuf"
	if isJSON {
		kind = "application/json"
		data, err = protojson.Marshal(m)
	} else {
		data, err = proto.Marshal(m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	w.Write(data)
}
