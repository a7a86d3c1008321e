package bus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
)

// wire is a connection to the embedded server, as a client has it or as a leaf node has it. A client may not send a message whose
// reply is an acknowledgement of JetStream, which is by what client libraries know how to settle a message; a leaf node may. What
// waits goes out in one piece.
type wire struct {
	conn    net.Conn
	speaks  dialect
	handle  func(inbound)
	lends   bool          // the body of what is handled is handle's until it returns, no longer: then it is cleared
	written chan struct{} // closed when the writer has ended
	pong    chan struct{} // closed with the first answer to a ping

	mu     sync.Mutex
	out    []byte
	err    error
	wakeUp chan struct{}
}

// dialect is what the protocol of one kind of connection calls things.
type dialect struct {
	subscribe               string // with room for the subject
	publish, publishHeaders string
	message, messageHeaders string
	numbered                bool // the number of its subscription stands behind a message's subject
}

var (
	leafDialect   = dialect{"LS+ %s\r\n", "LMSG ", "HMSG ", "LMSG", "HMSG", false}
	clientDialect = dialect{"SUB %s 1\r\n", "PUB ", "HPUB ", "MSG", "HMSG", true}
)

// inbound is a message that came in. Its bytes are its own, but for the body that a wire lends.
type inbound struct {
	subject string
	reply   string
	headers []broker.Header
	body    []byte
}

// maxControl bounds a line of the protocol.
const maxControl = 64 << 10

// newLeafWire greets the server as a leaf node. Handle is called for each message, by run.
func newLeafWire(conn net.Conn, user, password string, handle func(inbound)) (*wire, error) {
	return newWire(conn, leafDialect, map[string]any{"user": user, "pass": password, "server_id": "banyan-queues", "name": "banyan-queues", "headers": true}, handle)
}

// newClientWire greets the server as a client, who has subscribed to one subject at most. The body of what handle gets is its own until it
// returns.
func newClientWire(conn net.Conn, token string, handle func(inbound)) (*wire, error) {
	greeting := map[string]any{"name": "banyan queues", "lang": "go", "version": "1", "protocol": 1, "verbose": false, "pedantic": false, "echo": false, "headers": true, "auth_token": token}
	w, err := newWire(conn, clientDialect, greeting, handle)
	if err == nil {
		w.lends = true
	}
	return w, err
}

func newWire(conn net.Conn, speaks dialect, greeting map[string]any, handle func(inbound)) (*wire, error) {
	text, err := json.Marshal(greeting)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, speaks: speaks, handle: handle, written: make(chan struct{}), pong: make(chan struct{}), wakeUp: make(chan struct{}, 1), out: fmt.Appendf(nil, "CONNECT %s\r\n", text)}, nil
}

// subscribe asks for a subject.
func (w *wire) subscribe(subject string) { w.add(fmt.Appendf(nil, w.speaks.subscribe, subject)) }

// subscribed has the server say when it knows all subscriptions so far: await.
func (w *wire) subscribed() { w.add([]byte("PING\r\n")) }

// await returns when the server knows what was subscribed to.
func (w *wire) await(limit time.Duration) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-w.pong:
		return nil
	case <-w.written:
		return fmt.Errorf("the connection to the NATS server broke: %w", w.failure())
	case <-late.C:
		return errors.New("the NATS server does not answer")
	}
}

// publish sends a message. Status, such as "404 No Messages", goes into the first line of the headers; empty: none.
func (w *wire) publish(subject, reply, status string, headers []broker.Header, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	verb, bare := w.speaks.publish, status == "" && len(headers) == 0
	if !bare {
		verb = w.speaks.publishHeaders
	}
	w.out = append(append(w.out, verb...), subject...)
	if reply != "" {
		w.out = append(append(w.out, ' '), reply...)
	}
	w.out = append(w.out, ' ')
	if bare {
		w.out = strconv.AppendInt(w.out, int64(len(body)), 10)
		w.out = append(w.out, "\r\n"...)
	} else {
		n := headerBytes(status, headers)
		w.out = strconv.AppendInt(w.out, int64(n), 10)
		w.out = append(w.out, ' ')
		w.out = strconv.AppendInt(w.out, int64(n+len(body)), 10)
		w.out = append(w.out, "\r\n"...)
		w.out = appendHeaders(w.out, status, headers)
	}
	w.out = append(append(w.out, body...), "\r\n"...)
	w.wake()
}

func headerBytes(status string, headers []broker.Header) int {
	n := len("NATS/1.0\r\n") + len("\r\n")
	if status != "" {
		n += 1 + len(status)
	}
	for _, h := range headers {
		n += len(h.Name) + len(": ") + len(h.Value) + len("\r\n")
	}
	return n
}

func appendHeaders(dst []byte, status string, headers []broker.Header) []byte {
	dst = append(dst, "NATS/1.0"...)
	if status != "" {
		dst = append(append(dst, ' '), status...)
	}
	dst = append(dst, "\r\n"...)
	for _, h := range headers {
		dst = append(append(dst, h.Name...), ": "...)
		dst = append(append(dst, h.Value...), "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func (w *wire) add(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, p...)
	w.wake()
}

func (w *wire) wake() {
	select {
	case w.wakeUp <- struct{}{}:
	default:
	}
}

// run reads and writes until the connection ends. Closing the connection ends it.
func (w *wire) run() {
	go w.write()
	w.fail(w.read())
	w.conn.Close()
	<-w.written
}

// failure is why the connection ended.
func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.out = nil
	w.wake()
}

func (w *wire) write() {
	defer close(w.written)
	var spare []byte
	for range w.wakeUp {
		w.mu.Lock()
		out, err := w.out, w.err
		if len(out) > 0 {
			w.out = spare[:0] // the two buffers change places
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
		if len(out) == 0 {
			continue
		}
		if _, err := w.conn.Write(out); err != nil {
			w.fail(err)
			w.conn.Close()
			return
		}
		if spare = out; cap(spare) > 4<<20 {
			spare = nil
		}
	}
}

func (w *wire) read() error {
	r := bufio.NewReaderSize(w.conn, maxControl)
	var lent []byte
	ponged := sync.OnceFunc(func() { close(w.pong) })
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		verb, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(" "))
		switch string(verb) {
		case w.speaks.message, w.speaks.messageHeaders:
			in, data, err := readMessage(r, string(rest), lent, verb[0] == 'H', w.speaks.numbered)
			if err != nil {
				return err
			}
			w.handle(in)
			if w.lends {
				clear(data) // who kept it finds nothing, at once and each time, rather than some other message now and then
				if cap(data) <= maxControl {
					lent = data
				}
			}
		case "PING":
			w.add([]byte("PONG\r\n"))
		case "PONG":
			ponged()
		case "INFO", "+OK", "LS+", "LS-":
		case "-ERR":
			return fmt.Errorf("the NATS server says %s", rest)
		default:
			return fmt.Errorf("the NATS server sent %q", verb)
		}
	}
}

var errProtocol = errors.New("the NATS server sent a line that is not understood")

// readMessage reads what follows the verb: subject, the subscription's number perhaps, a reply perhaps, the headers' length perhaps, the
// length. Where there are queue groups, a sign says whether a reply stands before them. What follows is read into room, or into new room where
// that is too little, which is returned.
func readMessage(r *bufio.Reader, line string, room []byte, hasHeaders, numbered bool) (inbound, []byte, error) {
	var few [8]string
	fields := appendFields(few[:0], line)
	if numbered && len(fields) > 1 {
		fields = slices.Delete(fields, 1, 2)
	}
	numbers := 1
	if hasHeaders {
		numbers = 2
	}
	if len(fields) < 1+numbers {
		return inbound{}, nil, errProtocol
	}
	in := inbound{subject: fields[0]}
	switch between := fields[1 : len(fields)-numbers]; {
	case len(between) == 1, len(between) > 1 && between[0] == "+":
		in.reply = between[min(1, len(between)-1)]
	case len(between) > 1 && between[0] != "|":
		return in, nil, errProtocol
	}
	total, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil || total < 0 || total > 1<<30 {
		return in, nil, errProtocol
	}
	head := 0
	if hasHeaders {
		if head, err = strconv.Atoi(fields[len(fields)-2]); err != nil || head < 0 || head > total {
			return in, nil, errProtocol
		}
	}
	data := slices.Grow(room[:0], total+2)[:total+2]
	if _, err := io.ReadFull(r, data); err != nil {
		return in, nil, err
	}
	in.headers = readHeaders(data[:head])
	in.body = data[head:total]
	return in, data, nil
}

// appendFields adds what stands between the spaces of a line.
func appendFields(dst []string, line string) []string {
	for line != "" {
		var field string
		if field, line, _ = strings.Cut(line, " "); field != "" {
			dst = append(dst, field)
		}
	}
	return dst
}

// readHeaders reads the lines "Name: value" behind the first line. What is not such a line is left out.
func readHeaders(p []byte) (headers []broker.Header) {
	_, rest, _ := strings.Cut(string(p), "\r\n")
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		if name, value, ok := strings.Cut(line, ":"); ok && name != "" {
			headers = append(headers, broker.Header{Name: name, Value: textproto.TrimString(value)})
		}
	}
	return headers
}
