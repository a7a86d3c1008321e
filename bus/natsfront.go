package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// natsFront answers NATS clients for the queues.
type natsFront struct {
	bus   *Bus
	begun time.Time
	wire  atomic.Pointer[wire]

	mu     sync.Mutex
	pulls  map[*natsPull]struct{}
	closed bool
}

// natsPull is a request for messages that is not answered in full yet.
type natsPull struct {
	pull      *broker.Pull
	reply     string
	ends      time.Time // zero: never
	status    string    // that tells the end
	heartbeat time.Duration

	mu     sync.Mutex
	sent   time.Time // when anything was last sent
	looked time.Time // when it was last made sure that its client is there
	left   int
}

const (
	// maxPulls bounds the requests that wait.
	maxPulls = 10000
	// maxBatch bounds the messages that one request asks for.
	maxBatch = 10000
	// mindEvery is how exact the ends and heartbeats of requests are.
	mindEvery = 20 * time.Millisecond
	// lookEvery is how often it is made sure that those who wait are still there.
	lookEvery = 5 * time.Second
)

func newNATSFront(b *Bus) *natsFront {
	return &natsFront{bus: b, begun: time.Now(), pulls: map[*natsPull]struct{}{}}
}

// connect opens the connection to the server and asks for what concerns queues.
func (f *natsFront) connect() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return broker.ErrClosed
	}
	raw, err := net.DialTimeout("tcp", f.bus.leaf.address, 10*time.Second)
	if err != nil {
		return fmt.Errorf("connecting to the NATS server: %w", err)
	}
	w, err := newWire(raw, leafUser, f.bus.leaf.password, f.handle)
	if err != nil {
		return err
	}
	w.subscribe("queues.>")
	w.subscribe(apiPrefix + ">")
	for _, q := range f.bus.queueNames() {
		w.subscribe("$JS.ACK." + q + ".>")
	}
	w.subscribed()
	f.wire.Store(w)
	return nil
}

// run reads and writes until close. The server ends a connection that does not keep up with a flood of messages; what was not
// answered then was not acknowledged either, and a new connection goes on.
func (f *natsFront) run() {
	for {
		w := f.wire.Load()
		w.run()
		if err := f.connect(); err != nil {
			return
		}
		f.bus.cfg.Log.Warn("the connection of the queues to the NATS server was made anew", "because", w.failure())
	}
}

func (f *natsFront) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wire.Load().conn.Close()
}

// send publishes a message; while there is no connection it is lost, as with any client that is not acknowledged.
func (f *natsFront) send(subject, reply, status string, headers []broker.Header, body []byte) {
	f.wire.Load().publish(subject, reply, status, headers, body)
}

// handle is called for each message that comes in, in turn; it must not block.
func (f *natsFront) handle(in inbound) {
	switch {
	case strings.HasPrefix(in.subject, "queues."):
		f.publish(in)
	case strings.HasPrefix(in.subject, apiPrefix):
		f.api(in)
	case strings.HasPrefix(in.subject, "$JS.ACK."):
		f.ack(in)
	}
}

// publish stores a message and answers as JetStream does.
func (f *natsFront) publish(in inbound) {
	name, key := splitSubject(in.subject)
	m, err := messageOf(in, name, key)
	if err == nil {
		err = f.bus.broker.Publish(name, m, func(p broker.Published, err error) { f.published(in.reply, name, p, err) })
	}
	if err != nil {
		f.published(in.reply, name, broker.Published{}, err)
	}
}

func (f *natsFront) published(reply, queue string, p broker.Published, err error) {
	if reply == "" {
		return
	}
	if err != nil {
		f.answer(reply, server.JSPubAckResponse{Error: apiError(err), PubAck: &server.PubAck{Stream: queue}})
		return
	}
	ack := append(make([]byte, 0, 64), `{"stream":"`...)
	ack = append(append(ack, queue...), `","seq":`...)
	ack = strconv.AppendUint(ack, p.Seq, 10)
	if p.Duplicate {
		ack = append(ack, `,"duplicate":true`...)
	}
	f.send(reply, "", "", nil, append(ack, '}'))
}

func (f *natsFront) answer(reply string, v any) {
	if reply == "" {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		f.bus.cfg.Log.Error("writing an answer", "error", err)
		return
	}
	f.send(reply, "", "", nil, text)
}

// Headers by which a publisher says more about a message. Those that begin with Nats- are JetStream's own.
const (
	headerID       = "Nats-Msg-Id"
	headerTTL      = "Nats-TTL"
	headerSchedule = "Nats-Schedule"
	headerDelay    = "Banyan-Delay"
	headerKey      = "Banyan-Key"
	headerPriority = "Banyan-Priority"
)

// messageOf reads what the headers say of a message. What JetStream would have checked and a queue can't is refused.
func messageOf(in inbound, queue, key string) (broker.Message, error) {
	m := broker.Message{Key: key, Body: in.body, Headers: in.headers}
	for _, h := range in.headers {
		var err error
		switch name := h.Name; {
		case strings.EqualFold(name, headerID):
			m.ID = h.Value
		case strings.EqualFold(name, headerKey):
			m.Key = h.Value
		case strings.EqualFold(name, headerTTL):
			m.TTL, err = parseTTL(h.Value)
		case strings.EqualFold(name, headerDelay):
			m.Delay, err = time.ParseDuration(h.Value)
		case strings.EqualFold(name, headerPriority):
			m.Priority, err = strconv.Atoi(h.Value)
		case strings.EqualFold(name, headerSchedule):
			at, found := strings.CutPrefix(h.Value, "@at ")
			if m.At, err = time.Parse(time.RFC3339Nano, at); !found && err == nil {
				err = errors.New("expected @at and an instant")
			}
		case strings.EqualFold(name, "Nats-Expected-Stream"):
			if h.Value != queue {
				err = fmt.Errorf("the queue is %s", queue)
			}
		case len(name) > len("Nats-Expected-") && strings.EqualFold(name[:len("Nats-Expected-")], "Nats-Expected-"),
			strings.EqualFold(name, "Nats-Rollup"), strings.EqualFold(name, "Nats-Incr"), strings.EqualFold(name, "Nats-Batch-Id"):
			err = errors.New("not supported by queues")
		}
		if err != nil {
			return m, fmt.Errorf("%w: header %s: %q: %w", broker.ErrInvalid, h.Name, h.Value, err)
		}
	}
	return m, nil
}

// parseTTL reads a duration, or seconds, as JetStream does.
func parseTTL(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	if s == "never" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

// apiError says an error in JetStream's terms.
func apiError(err error) *server.ApiError {
	e := &server.ApiError{Code: 500, ErrCode: 10051, Description: err.Error()}
	switch {
	case errors.Is(err, workqueue.ErrFull), errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrBacklog):
		e.Code, e.ErrCode = 503, 10077
	case errors.Is(err, journal.ErrFailed), errors.Is(err, journal.ErrClosed), errors.Is(err, broker.ErrClosed):
		e.Code, e.ErrCode = 503, 10008
	case errors.Is(err, broker.ErrTooLarge):
		e.Code, e.ErrCode = 400, 10054
	case errors.Is(err, broker.ErrNoQueue):
		e.Code, e.ErrCode = 404, 10059
	case errors.Is(err, broker.ErrInvalid), errors.Is(err, errUnsupported):
		e.Code, e.ErrCode = 400, 10003
	case errors.Is(err, workqueue.ErrSettled), errors.Is(err, workqueue.ErrUnknown):
		e.Code, e.ErrCode = 404, 10037
	}
	return e
}

// ack settles a delivery: $JS.ACK.QUEUE.CONSUMER.ATTEMPT.SEQ.SEQ.TIME.PENDING, and what is meant in the body.
func (f *natsFront) ack(in inbound) {
	tokens := strings.Split(in.subject, ".")
	if len(tokens) != 9 {
		return
	}
	queue := tokens[2]
	attempt, err1 := strconv.Atoi(tokens[4])
	seq, err2 := strconv.ParseUint(tokens[5], 10, 64)
	if err1 != nil || err2 != nil {
		return
	}
	var done func(error)
	if in.reply != "" {
		done = func(err error) { f.settled(in.reply, err) }
	}
	verb, rest, _ := strings.Cut(string(in.body[:min(len(in.body), 4096)]), " ")
	b := f.bus.broker
	var err error
	switch verb {
	case "", "+ACK", "+OK":
		err = b.Ack(queue, seq, attempt, done)
	case "+NXT":
		err = b.Ack(queue, seq, attempt, nil)
		f.next(inbound{subject: apiPrefix + "CONSUMER.MSG.NEXT." + queue + "." + tokens[3], reply: in.reply, body: []byte(rest)}, queue, tokens[3])
		done = nil
	case "-NAK":
		delay, reason := nak(rest)
		err = b.Nack(queue, seq, attempt, delay, reason, done)
	case "+WPI":
		err = b.Extend(queue, seq, attempt, 0, done)
	case "+TERM":
		if rest == "" {
			rest = "given up by its consumer"
		}
		err = b.Terminate(queue, seq, attempt, rest, done)
	default:
		err = fmt.Errorf("%w: acknowledgement %q", broker.ErrInvalid, verb)
	}
	if err != nil && done != nil {
		done(err)
	}
}

// nak reads what may stand behind -NAK: JetStream's {"delay": nanoseconds}, to which "reason" may be added, or a reason.
func nak(rest string) (delay time.Duration, reason string) {
	var said struct {
		Delay  *int64 `json:"delay"`
		Reason string `json:"reason"`
	}
	delay, reason = -1, "refused by its consumer"
	if rest == "" {
		return delay, reason
	}
	if json.Unmarshal([]byte(rest), &said) != nil {
		return delay, rest
	}
	if said.Delay != nil {
		delay = max(0, time.Duration(*said.Delay))
	}
	if said.Reason != "" {
		reason = said.Reason
	}
	return delay, reason
}

// settled answers one who waits to hear that its acknowledgement is kept. Clients take any answer for success but for the status
// 503, so that is what an acknowledgement gets that came too late.
func (f *natsFront) settled(reply string, err error) {
	if err != nil {
		f.send(reply, "", "503 "+oneLine(err.Error()), nil, nil)
		return
	}
	f.send(reply, "", "", nil, nil)
}

func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

// next has a client wait for messages.
func (f *natsFront) next(in inbound, queue, consumer string) {
	if in.reply == "" {
		return
	}
	ask := server.JSApiConsumerGetNextRequest{Batch: 1}
	if body := strings.TrimSpace(string(in.body)); body != "" {
		if n, err := strconv.Atoi(body); err == nil {
			ask.Batch = n
		} else if err := json.Unmarshal([]byte(body), &ask); err != nil {
			f.send(in.reply, "", "400 Bad Request", nil, nil)
			return
		}
	}
	if ask.Batch == 0 {
		ask.Batch = 1
	}
	if ask.Batch < 0 || ask.Batch > maxBatch || ask.MaxBytes > 0 || ask.Heartbeat < 0 {
		f.send(in.reply, "", "400 Bad Request", nil, nil)
		return
	}
	now := time.Now()
	p := &natsPull{reply: in.reply, heartbeat: ask.Heartbeat, sent: now, looked: now, left: ask.Batch, status: "408 Request Timeout"}
	switch {
	case ask.Expires > 0:
		p.ends = now.Add(ask.Expires)
	case ask.NoWait:
		p.ends, p.status = now, "404 No Messages"
	}
	account := f.bus.nats.GlobalAccount()
	p.pull = &broker.Pull{Batch: ask.Batch, Alive: func() bool { return account.SubscriptionInterest(in.reply) },
		Deliver: func(d broker.Delivery, last bool) { f.deliver(p, consumer, d, last) }}
	if !f.add(p) {
		f.send(in.reply, "", "409 Exceeded MaxWaiting", nil, nil)
		return
	}
	if err := f.bus.broker.Pull(queue, p.pull); err != nil {
		f.forget(p)
		f.send(in.reply, "", "409 Consumer Deleted", nil, nil)
	}
}

// add takes a request among those that wait, if there is room for it.
func (f *natsFront) add(p *natsPull) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pulls) >= maxPulls {
		for other := range f.pulls {
			if !other.pull.Alive() {
				delete(f.pulls, other) // the broker finds out by itself
			}
		}
	}
	if len(f.pulls) >= maxPulls {
		return false
	}
	f.pulls[p] = struct{}{}
	return true
}

func (f *natsFront) forget(p *natsPull) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pulls, p)
}

// deliver sends a message. Dead letters say in headers where they come from.
func (f *natsFront) deliver(p *natsPull, consumer string, d broker.Delivery, last bool) {
	reply := make([]byte, 0, 96)
	reply = append(append(append(append(reply, "$JS.ACK."...), d.Queue...), '.'), consumer...)
	for _, n := range []int64{int64(d.Attempt), int64(d.Seq), int64(d.Seq), int64(d.Meta.Put), int64(d.Pending)} {
		reply = strconv.AppendInt(append(reply, '.'), n, 10)
	}
	headers := d.Headers
	if d.Meta.Origin != "" {
		headers = append(headers, deadHeaders(d.Meta)...)
	}
	p.mu.Lock()
	p.sent = time.Now()
	p.left--
	p.mu.Unlock()
	f.send(p.reply, string(reply), "", headers, d.Body)
	if last {
		f.forget(p)
	}
}

// deadHeaders say what a dead letter died of.
func deadHeaders(m workqueue.Message) []broker.Header {
	return []broker.Header{
		{Name: "Dead-Letter-Queue", Value: m.Origin}, {Name: "Dead-Letter-Seq", Value: strconv.FormatUint(m.OriginSeq, 10)},
		{Name: "Dead-Letter-Attempts", Value: strconv.Itoa(len(m.History))}, {Name: "Dead-Letter-Reason", Value: oneLine(m.LastReason())},
	}
}

// mind ends requests whose time is over, and sends heartbeats.
func (f *natsFront) mind(ctx context.Context) {
	tick := time.NewTicker(mindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.mindAll(now)
		}
	}
}

func (f *natsFront) mindAll(now time.Time) {
	var over []*natsPull
	f.mu.Lock()
	for p := range f.pulls {
		p.mu.Lock()
		switch {
		case !p.ends.IsZero() && now.After(p.ends):
			over = append(over, p)
		case now.Sub(p.looked) > lookEvery:
			if p.looked = now; !p.pull.Alive() {
				over = append(over, p)
			}
		case p.heartbeat > 0 && now.Sub(p.sent) >= p.heartbeat:
			p.sent = now
			f.send(p.reply, "", "100 Idle Heartbeat", nil, nil)
		}
		p.mu.Unlock()
	}
	for _, p := range over {
		delete(f.pulls, p)
	}
	f.mu.Unlock()
	for _, p := range over {
		f.bus.broker.Cancel(p.pull)
		if p.left > 0 {
			f.send(p.reply, "", p.status, []broker.Header{{Name: "Nats-Pending-Messages", Value: strconv.Itoa(p.left)}, {Name: "Nats-Pending-Bytes", Value: "0"}}, nil)
		}
	}
}
