package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// postMessage stores the body as a message and answers when it is as safe as the queue says.
func (b *Bus) postMessage(w http.ResponseWriter, r *http.Request) error {
	body, err := b.body(w, r)
	if err != nil {
		return err
	}
	q := query{r: r}
	v := r.URL.Query()
	m := broker.Message{ID: v.Get("id"), Key: v.Get("key"), Headers: keptHeaders(r.Header), Body: body, At: q.instant("at"),
		Delay: q.duration("delay", 0, 366*24*time.Hour), TTL: q.duration("ttl", 0, 366*24*time.Hour), Priority: q.number("priority", 0, 9)}
	if m.ID == "" {
		m.ID = r.Header.Get("Idempotency-Key")
	}
	if q.err != nil {
		return q.err
	}
	type outcome struct {
		p   broker.Published
		err error
	}
	done := make(chan outcome, 1)
	if err := b.Broker().Publish(r.PathValue("queue"), m, func(p broker.Published, err error) { done <- outcome{p, err} }); err != nil {
		return err
	}
	o := <-done
	if o.err != nil {
		return o.err
	}
	status := http.StatusCreated
	if o.p.Duplicate {
		status = http.StatusOK
	}
	reply(w, status, map[string]any{"seq": o.p.Seq, "duplicate": o.p.Duplicate})
	return nil
}

// Message is a message as HTTP clients see it. Body is there where it is text, otherwise BodyBase64.
type Message struct {
	Seq        uint64            `json:"seq"`
	Receipt    string            `json:"receipt,omitempty"`
	Attempt    int               `json:"attempt,omitempty"`
	Published  time.Time         `json:"published"`
	Deadline   *time.Time        `json:"deadline,omitempty"`
	Key        string            `json:"key,omitempty"`
	Priority   int               `json:"priority,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`
	Origin     string            `json:"origin,omitempty"`
	OriginSeq  uint64            `json:"origin_seq,omitempty"`
	Dead       bool              `json:"dead,omitempty"`
	Attempts   []Attempt         `json:"failed_attempts,omitempty"`
}

// Attempt is one that failed.
type Attempt struct {
	At     time.Time `json:"at"`
	Ended  time.Time `json:"ended"`
	Reason string    `json:"reason"`
}

func instant(d time.Duration) time.Time { return time.Unix(0, int64(d)).UTC() }

func describe(seq uint64, m workqueue.Message, headers []broker.Header, body []byte) Message {
	j := Message{Seq: seq, Published: instant(m.Put), Key: m.Key, Priority: m.Priority, Origin: m.Origin, OriginSeq: m.OriginSeq, Dead: m.IsDead()}
	for _, h := range headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		j.Headers[h.Name] = h.Value
	}
	j.setBody(body)
	for _, a := range m.History {
		j.Attempts = append(j.Attempts, Attempt{instant(a.At), instant(a.Ended), a.Reason})
	}
	return j
}

func (j *Message) setBody(body []byte) {
	if utf8.Valid(body) {
		text := string(body)
		j.Body = &text
	} else {
		j.BodyBase64 = body
	}
}

func delivered(d broker.Delivery) Message {
	j := describe(d.Seq, d.Meta, d.Headers, d.Body)
	j.Receipt, j.Attempt, j.Deadline = receiptOf(d), d.Attempt, &d.Deadline
	return j
}

// receiptOf settles a delivery.
func receiptOf(d broker.Delivery) string { return fmt.Sprintf("%d.%d", d.Seq, d.Attempt) }

func parseReceipt(s string) (seq uint64, attempt int, err error) {
	a, b, ok := strings.Cut(s, ".")
	seq, err1 := strconv.ParseUint(a, 10, 64)
	attempt, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%w: %q is not a receipt", errBadRequest, s)
	}
	return seq, attempt, nil
}

// getMessages waits for messages (long poll) and gives them out.
func (b *Bus) getMessages(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	most, wait := max(q.number("max", 1, maxReceive), 1), q.duration("wait", 0, maxWait)
	if q.err != nil {
		return q.err
	}
	most = min(most, max(1, maxAnswer/b.cfg.MaxMessage))
	name, consumer := r.PathValue("queue"), r.URL.Query().Get("consumer")
	ctx, receive := r.Context(), b.Broker().ReceiveNow
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
		receive = b.Broker().Receive
	}
	got, err := receive(ctx, name, consumer, most)
	if err != nil {
		return err
	}
	if r.Context().Err() != nil {
		for _, d := range got {
			b.Broker().Return(d)
		}
		return nil
	}
	messages := make([]Message, 0, len(got))
	for _, d := range got {
		messages = append(messages, delivered(d))
	}
	reply(w, http.StatusOK, map[string]any{"messages": messages})
	return nil
}

func (b *Bus) lookAt(w http.ResponseWriter, r *http.Request) error {
	text, _, _ := strings.Cut(r.PathValue("receipt"), ".")
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %q is not the number of a message", errBadRequest, text)
	}
	l, err := b.Broker().Look(r.PathValue("queue"), seq)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, describe(l.Seq, l.Meta, l.Headers, l.Body))
	return nil
}

// settleMessage acknowledges (DELETE, or ack), refuses (nack), extends or gives up (dead) a delivery; it answers when that is
// on disk.
func (b *Bus) settleMessage(w http.ResponseWriter, r *http.Request) error {
	seq, attempt, err := parseReceipt(r.PathValue("receipt"))
	if err != nil {
		return err
	}
	q := query{r: r}
	delay, by := q.duration("delay", -1, 366*24*time.Hour), q.duration("by", 0, 24*time.Hour)
	if q.err != nil {
		return q.err
	}
	name, reason := r.PathValue("queue"), r.URL.Query().Get("reason")
	done := make(chan error, 1)
	told := func(err error) { done <- err }
	switch verb := r.PathValue("verb"); verb {
	case "", "ack":
		err = b.Broker().Ack(name, seq, attempt, told)
	case "nack":
		err = b.Broker().Nack(name, seq, attempt, delay, orElse(reason, "refused by its consumer"), told)
	case "extend":
		err = b.Broker().Extend(name, seq, attempt, by, told)
	case "dead":
		err = b.Broker().Terminate(name, seq, attempt, orElse(reason, "given up by its consumer"), told)
	default:
		return fmt.Errorf("%w: %q: expected ack, nack, extend or dead", errBadRequest, verb)
	}
	if err == nil {
		err = <-done
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// streamMessages sends messages as server-sent events; up to 'max' of them are in flight, and others follow as these are
// settled.
func (b *Bus) streamMessages(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	most := max(q.number("max", 1, maxReceive), 1)
	if q.err != nil {
		return q.err
	}
	name := r.PathValue("queue")
	if _, err := b.Broker().QueueStatus(name); err != nil {
		return err
	}
	out := newEventStream(w)
	flying := map[string]broker.Delivery{}
	for r.Context().Err() == nil {
		for receipt, d := range flying {
			if !b.Broker().Holds(d) {
				delete(flying, receipt)
			}
		}
		room := most - len(flying)
		got, err := b.receiveOrWait(r.Context(), name, r.URL.Query().Get("consumer"), room)
		if err != nil {
			return nil // the stream ends, as the broker does
		}
		for _, d := range got {
			if !out.send("message", receiptOf(d), delivered(d)) {
				b.Broker().Return(d)
				continue
			}
			flying[receiptOf(d)] = d
		}
		if len(got) == 0 && room > 0 {
			out.alive()
		}
	}
	return nil
}

// receiveOrWait waits for messages where there is room for some, and otherwise a moment for the client to settle one.
func (b *Bus) receiveOrWait(ctx context.Context, name, consumer string, room int) ([]broker.Delivery, error) {
	patience := 15 * time.Second
	if room == 0 {
		patience = 20 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if room > 0 {
		return b.Broker().Receive(ctx, name, consumer, room)
	}
	<-ctx.Done()
	return nil, nil
}

// eventStream writes server-sent events.
type eventStream struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	err error
}

func newEventStream(w http.ResponseWriter) *eventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, c: http.NewResponseController(w)}
	s.err = s.c.Flush()
	return s
}

// send reports whether the event could be written.
func (s *eventStream) send(kind, id string, v any) bool {
	text, err := json.Marshal(v)
	if err != nil || s.err != nil {
		return false
	}
	_ = s.c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, s.err = fmt.Fprintf(s.w, "event: %s\nid: %s\ndata: %s\n\n", kind, id, text); s.err == nil {
		s.err = s.c.Flush()
	}
	return s.err == nil
}

// alive shows a client, and whatever stands between, that the connection is still there.
func (s *eventStream) alive() {
	_ = s.c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, s.err = io.WriteString(s.w, ": waiting\n\n"); s.err == nil {
		s.err = s.c.Flush()
	}
}

func (b *Bus) getQueue(w http.ResponseWriter, r *http.Request) error {
	s, err := b.Broker().QueueStatus(r.PathValue("queue"))
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, s)
	return nil
}

// getDead says why messages died, and shows some of them.
func (b *Bus) getDead(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	most := q.number("max", 10, maxReceive)
	if q.err != nil {
		return q.err
	}
	most = min(most, max(1, maxAnswer/b.cfg.MaxMessage))
	name := r.PathValue("queue")
	in, groups, err := b.Broker().DeadLetters(name)
	if err != nil {
		return err
	}
	letters, err := b.Broker().Dead(name, r.URL.Query().Get("signature"), most)
	if err != nil {
		return err
	}
	shown := make([]Message, 0, len(letters))
	for _, l := range letters {
		shown = append(shown, describe(l.Seq, l.Meta, l.Headers, l.Body))
	}
	reply(w, http.StatusOK, map[string]any{"queue": name, "in": in, "groups": groups, "messages": shown})
	return nil
}

func (b *Bus) postRedrive(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	most := q.number("max", 0, 1<<30)
	if q.err != nil {
		return q.err
	}
	done, err := b.Broker().Redrive(r.PathValue("queue"), r.URL.Query().Get("signature"), most)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, done)
	return nil
}

func (b *Bus) getRedrive(w http.ResponseWriter, r *http.Request) error {
	s, ok := b.Broker().RedriveStatus(r.PathValue("id"))
	if !ok {
		return fmt.Errorf("%w: no redrive %q is remembered", workqueue.ErrUnknown, r.PathValue("id"))
	}
	reply(w, http.StatusOK, s)
	return nil
}
