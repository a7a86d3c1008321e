package bus

import (
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
	"github.com/banyanhq/banyan/bus/schema"
	"github.com/banyanhq/banyan/bus/streamlog"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// natsFront answers NATS clients for the queues.
type natsFront struct {
	bus    *Bus
	broker *broker.Broker
	begun  time.Time
	wires  atomic.Pointer[wires]
	ended  chan struct{} // closed when its connections have ended for good

	mu     sync.Mutex
	pulls  map[*natsPull]struct{}
	closed bool
}

// wires are the connections to the server: by one in memory comes what is published to queues, and go the answers to it; by the other
// one comes and goes the rest, in the order in which it was said. They are the same one where the server has no place for the first.
type wires struct{ published, leaf *wire }

// run reads and writes until one of them ends, which ends the other.
func (w *wires) run() {
	var group sync.WaitGroup
	defer group.Wait()
	if w.published != w.leaf {
		group.Go(func() {
			w.published.run()
			w.close()
		})
	}
	w.leaf.run()
	w.close()
}

func (w *wires) close() {
	w.published.conn.Close()
	w.leaf.conn.Close()
}

// await returns when the server knows what was subscribed to.
func (w *wires) await(limit time.Duration) error {
	return errors.Join(w.published.await(limit), w.leaf.await(limit))
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

// openFront has NATS clients find the queues of a broker. It is closed by close.
func openFront(b *Bus, queues *broker.Broker) (*natsFront, error) {
	f := &natsFront{bus: b, broker: queues, begun: time.Now(), ended: make(chan struct{}), pulls: map[*natsPull]struct{}{}}
	if err := f.connect(); err != nil {
		return nil, err
	}
	go func() {
		defer close(f.ended)
		f.run()
	}()
	// Whoever is told the address is not to find nobody there.
	if err := f.wires.Load().await(30 * time.Second); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// connect opens the connections to the server and asks for what concerns queues.
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
	w, err := newLeafWire(raw, leafUser, f.bus.leaf.password, f.handle)
	if err != nil {
		return err
	}
	published := w
	if f.bus.nats.NumClients() < f.bus.cfg.MaxClients+ownConnections { // which clients may have used up; a leaf is not among them
		memory, err := f.bus.nats.InProcessConn()
		if err != nil {
			raw.Close()
			return fmt.Errorf("connecting to the NATS server: %w", err)
		}
		if published, err = newClientWire(memory, f.bus.leaf.password, f.publish); err != nil {
			return err
		}
		published.subscribe("queues.>")
		published.subscribed()
	} else {
		w.subscribe("queues.>")
	}
	w.subscribe(toCheckPrefix + ">")
	w.subscribe(apiPrefix + ">")
	for _, q := range f.bus.queueNames() {
		w.subscribe("$JS.ACK." + q + ".>")
	}
	w.subscribed()
	f.wires.Store(&wires{published, w})
	return nil
}

// run reads and writes until close. The server ends a connection that does not keep up with a flood of messages; what was not
// answered then was not acknowledged either, and a new connection goes on.
func (f *natsFront) run() {
	for {
		w := f.wires.Load()
		w.run()
		if err := f.connect(); err != nil {
			return
		}
		f.bus.cfg.Log.Warn("the connections of the queues to the NATS server were made anew", "because", errors.Join(w.published.failure(), w.leaf.failure()))
	}
}

// close returns when nothing is answered any more.
func (f *natsFront) close() {
	f.mu.Lock()
	f.closed = true
	f.wires.Load().close()
	f.mu.Unlock()
	<-f.ended
}

// send publishes a message; while there is no connection it is lost, as with any client that is not acknowledged.
func (f *natsFront) send(subject, reply, status string, headers []broker.Header, body []byte) {
	f.wires.Load().leaf.publish(subject, reply, status, headers, body)
}

// handle is called for each message that comes in by the leaf's connection, in turn; it must not block.
func (f *natsFront) handle(in inbound) {
	switch {
	case strings.HasPrefix(in.subject, "queues."):
		f.publish(in)
	case strings.HasPrefix(in.subject, apiPrefix):
		f.api(in)
	case strings.HasPrefix(in.subject, toCheckPrefix):
		f.check(in)
	case strings.HasPrefix(in.subject, "$JS.ACK."):
		f.ack(in)
	}
}

// publish stores a message and answers as JetStream does. It is called for each that comes in, in turn; it must not block.
func (f *natsFront) publish(in inbound) {
	name, key := splitSubject(in.subject)
	m, err := messageOf(in, name, key)
	if err == nil {
		err = f.broker.Publish(name, m, func(p broker.Published, err error) { f.published(in.reply, name, p, err) })
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
		text, err := json.Marshal(server.JSPubAckResponse{Error: apiError(err), PubAck: &server.PubAck{Stream: queue}})
		if err != nil {
			f.bus.cfg.Log.Error("writing an answer", "error", err)
			return
		}
		f.wires.Load().published.publish(reply, "", "", nil, text)
		return
	}
	var room [128]byte
	ack := append(room[:0], `{"stream":"`...)
	ack = append(append(ack, queue...), `","seq":`...)
	ack = strconv.AppendUint(ack, p.Seq, 10)
	if p.Duplicate {
		ack = append(ack, `,"duplicate":true`...)
	}
	f.wires.Load().published.publish(reply, "", "", nil, append(ack, '}'))
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
	case errors.Is(err, journal.ErrFailed), errors.Is(err, journal.ErrClosed), errors.Is(err, broker.ErrClosed), errors.Is(err, streamlog.ErrFailed),
		errors.Is(err, errUnwritable):
		e.Code, e.ErrCode = 503, 10008
	case errors.Is(err, broker.ErrTooLarge):
		e.Code, e.ErrCode = 400, 10054
	case errors.Is(err, broker.ErrNoQueue):
		e.Code, e.ErrCode = 404, 10059
	case errors.Is(err, broker.ErrInvalid), errors.Is(err, errUnsupported), errors.Is(err, schema.ErrMismatch), errors.Is(err, errFed):
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
	b := f.broker
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
