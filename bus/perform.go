package bus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/schema"
	"github.com/banyanhq/banyan/policy/saga"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// performer makes the attempts of sagas: calls of services, and messages.
type performer struct {
	bus  *Bus
	http *http.Client
}

func newPerformer(b *Bus) *performer {
	return &performer{bus: b, http: serviceClient(256)}
}

// Bounds of what is kept of an answer.
const (
	maxResult  = 64 << 10
	maxRefusal = 4 << 10
)

// Perform is part of workflow.Performer.
func (p *performer) Perform(ctx context.Context, e saga.Effect) saga.Outcome {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	if e.Channel != "" {
		return p.send(ctx, e)
	}
	return p.call(ctx, e)
}

func (p *performer) call(ctx context.Context, e saga.Effect) saga.Outcome {
	base := ""
	if p.bus.cfg.ServiceURL != nil {
		base = p.bus.cfg.ServiceURL(e.Saga, e.Service)
	}
	if base == "" {
		return saga.Outcome{Unmade: true, Reason: "no replica of " + e.Service + " is ready"}
	}
	var body io.Reader
	if e.Method != http.MethodGet {
		body = bytes.NewReader(e.Body)
	}
	r, err := http.NewRequestWithContext(ctx, e.Method, base+e.Path, body)
	if err != nil {
		return saga.Outcome{Final: true, Reason: err.Error()}
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Idempotency-Key", e.Key)
	r.Header.Set("Banyan-Saga", e.Run)
	r.Header.Set("Banyan-Step", e.Step)
	r.Header.Set("Banyan-Attempt", strconv.Itoa(e.Attempt))
	r.Header.Set("Traceparent", traceparent(e))
	answer, err := p.http.Do(r)
	if err != nil {
		reason := err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			reason = fmt.Sprintf("no answer within %s", e.Timeout)
		}
		return saga.Outcome{Doubt: true, Reason: reason}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxResult+1))
	return judge(e, answer, text, err)
}

// traceparent has all steps of a run stand in one trace (W3C Trace Context).
func traceparent(e saga.Effect) string {
	trace := sha256.Sum256([]byte(e.Run))
	span := sha256.Sum256([]byte(e.Key + strconv.Itoa(e.Attempt)))
	return "00-" + hex.EncodeToString(trace[:16]) + "-" + hex.EncodeToString(span[:8]) + "-01"
}

// judge says what an answer means. A 4xx is the service's word that it was not done and will not be; 5xx and answers that
// break off leave that open.
func judge(e saga.Effect, answer *http.Response, text []byte, err error) saga.Outcome {
	status := answer.StatusCode
	reason := strings.TrimSpace(answer.Status + " " + strings.TrimSpace(strings.ToValidUTF8(string(text[:min(len(text), 300)]), "?")))
	switch {
	case status/100 == 2 || slices.Contains(e.Accept, status):
		switch {
		case err != nil:
			return saga.Outcome{Doubt: true, Reason: "the answer breaks off: " + err.Error()}
		case len(text) > maxResult:
			return saga.Outcome{Final: true, Doubt: true, Reason: fmt.Sprintf("the answer is larger than %d bytes", maxResult)}
		}
		return saga.Outcome{OK: true, Value: asJSON(text), Code: status}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status/100 == 5:
		out := saga.Outcome{Doubt: status/100 == 5 || status == http.StatusRequestTimeout, Reason: reason}
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 && seconds <= 3600 {
			out.After = time.Duration(seconds) * time.Second
		}
		return out
	}
	out := saga.Outcome{Final: true, Reason: reason, Code: status}
	if len(text) <= maxRefusal {
		out.Value = asJSON(text)
	}
	return out
}

// asJSON keeps an answer: what is not JSON as a text.
func asJSON(text []byte) json.RawMessage {
	var out bytes.Buffer
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return json.RawMessage("null")
	case json.Compact(&out, text) == nil:
		return out.Bytes()
	}
	quoted, _ := json.Marshal(strings.ToValidUTF8(string(text), "?")) // a string always can be
	return quoted
}

// send publishes a message. Its id is the key of the attempt, so that another attempt within the window is a duplicate.
func (p *performer) send(ctx context.Context, e saga.Effect) saga.Outcome {
	kind, name := topology.ServiceOf(e.Channel)
	var err error
	switch kind {
	case "queues":
		err = p.toQueue(ctx, name, e)
	case "topics":
		err = p.toTopic(ctx, name, e)
	default:
		return saga.Outcome{Final: true, Reason: e.Channel + " is neither a queue nor a topic"}
	}
	switch {
	case err == nil:
		return saga.Outcome{OK: true, Value: json.RawMessage("null")}
	case errors.Is(err, broker.ErrTooLarge), errors.Is(err, broker.ErrInvalid), errors.Is(err, broker.ErrNoQueue), errors.Is(err, errNoTopic), errors.Is(err, errBadRequest), errors.Is(err, schema.ErrMismatch), errors.Is(err, errFed):
		return saga.Outcome{Final: true, Reason: err.Error()}
	case errors.Is(err, workqueue.ErrFull):
		return saga.Outcome{Unmade: true, Reason: err.Error()}
	}
	return saga.Outcome{Doubt: true, Reason: err.Error()}
}

func (p *performer) toQueue(ctx context.Context, name string, e saga.Effect) error {
	m := broker.Message{ID: e.Key, Key: e.ChannelKey, Body: e.Body, Headers: []broker.Header{{Name: "content-type", Value: "application/json"}, {Name: "banyan-saga", Value: e.Run}}}
	for _, header := range slices.Sorted(maps.Keys(e.Headers)) {
		m.Headers = append(m.Headers, broker.Header{Name: strings.ToLower(header), Value: e.Headers[header]})
	}
	done := make(chan error, 1)
	if err := p.bus.Broker().Publish(name, m, func(_ broker.Published, err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *performer) toTopic(ctx context.Context, name string, e saga.Effect) error {
	if _, ok := p.bus.cfg.Topics[name]; !ok {
		return fmt.Errorf("%w: %q", errNoTopic, name)
	}
	if err := p.bus.checkKey(name, e.ChannelKey); err != nil {
		return err
	}
	if err := p.bus.checkEvent(name, nil, e.Body); err != nil {
		return err
	}
	headers := map[string]string{"content-type": "application/json", "banyan-saga": e.Run}
	maps.Copy(headers, e.Headers)
	event := newEvent{id: e.Key, key: e.ChannelKey, body: e.Body}
	for _, header := range slices.Sorted(maps.Keys(headers)) {
		event.headers = append(event.headers, broker.Header{Name: header, Value: headers[header]})
	}
	_, err := p.bus.embedded(name).publish(ctx, event)
	return err
}
