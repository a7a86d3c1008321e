package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// natsCall is a message, its headers and its subject. What it builds is the subject, the length of the headers, each with a
// line break, the headers and the message.
type natsCall struct {
	subject, headers, body template
	publish                bool
}

// natsVersion begins the headers of a message (NATS client protocol, HPUB).
const natsVersion = "NATS/1.0\r\n"

var _ call = (*natsCall)(nil)

func (c *compiler) compileNATS(s *topology.Step, sc *scope) (*natsCall, error) {
	n := &natsCall{publish: s.NATS.Publish}
	var err error
	if s.NATS.Subject == "" || strings.ContainsAny(s.NATS.Subject, " \t\r\n") && !strings.Contains(s.NATS.Subject, "${") {
		return nil, fmt.Errorf("nats: subject %q", s.NATS.Subject)
	}
	if n.subject, err = sc.parse(s.NATS.Subject, always(escapeNone)); err != nil {
		return nil, fmt.Errorf("nats: subject: %w", err)
	}
	for _, k := range sortedKeys(s.Headers) {
		if !isToken(k) {
			return nil, fmt.Errorf("nats: header %q: not a header name", k)
		}
		v, err := sc.parse(s.Headers[k], always(escapeHeader))
		if err != nil {
			return nil, fmt.Errorf("nats: header %s: %w", k, err)
		}
		for _, part := range v {
			if strings.ContainsAny(part.literal, "\r\n\x00") {
				return nil, fmt.Errorf("nats: header %s: a control character in its value", k)
			}
		}
		if n.headers == nil {
			n.headers = template{{literal: natsVersion}}
		}
		n.headers = append(append(append(n.headers, segment{literal: k + ": "}), v...), segment{literal: "\r\n"})
	}
	if n.headers != nil {
		n.headers = append(n.headers, segment{literal: "\r\n"}).joined()
	}
	n.body, err = c.payload(s, sc)
	return n, err
}

func (c *natsCall) build(dst []byte, v *values) ([]byte, bool) {
	dst, ok := c.subject.append(dst, v)
	if !ok || bytes.ContainsAny(dst, " \t\r\n") { // it would be read as the end of the subject
		return dst, false
	}
	var scratch [512]byte
	headers, ok := c.headers.append(scratch[:0], v)
	if !ok {
		return dst, false
	}
	dst = strconv.AppendInt(append(dst, '\n'), int64(len(headers)), 10)
	return c.body.append(append(append(dst, '\n'), headers...), v)
}

// natsCaller speaks the NATS client protocol.
type natsCaller struct {
	target *target
	dialogue
	inbox   string
	count   uint64
	maximum int64 // payload that the server takes
	headers bool  // the server takes them
	out     []byte
}

func (c *natsCaller) close() { c.dialogue.close(c.target.to) }

func (c *natsCaller) do(ctx context.Context, x *exchange) error {
	if err := c.open(ctx, c.target.to, x, func() error { return c.greet(x) }); err != nil {
		return err
	}
	before := c.reader.total
	err := c.send(x)
	x.bytesIn += c.reader.total - before
	var named *failed
	if err != nil && !(errors.As(err, &named) && named.kind == natsNoResponders) {
		c.close()
	}
	return err
}

// The kinds of NATS errors.
const (
	natsNoResponders Kind = "nats no responders"
	natsDenied       Kind = "nats permissions violation"
	natsAuth         Kind = "nats authorization violation"
	natsTooLarge     Kind = "nats maximum payload"
	natsOther        Kind = "nats other error"
)

const maxNATSLine = 64 << 10

// greet reads the server's INFO, says who is there and subscribes to the answers.
func (c *natsCaller) greet(x *exchange) error {
	line, err := c.line(maxNATSLine)
	if err != nil {
		return err
	}
	raw, ok := bytes.CutPrefix(line, []byte("INFO "))
	var info struct {
		MaxPayload  int64 `json:"max_payload"`
		TLSRequired bool  `json:"tls_required"`
		Headers     bool  `json:"headers"`
	}
	if !ok || json.Unmarshal(raw, &info) != nil {
		return malformed("it starts with %.40q", line)
	}
	if info.TLSRequired {
		return &failed{TLS, "the NATS server wants TLS, which is not supported here"}
	}
	c.maximum, c.headers = info.MaxPayload, info.Headers
	hello := map[string]any{"verbose": false, "pedantic": false, "lang": "go", "version": "1", "protocol": 1, "name": "banyan-load",
		"headers": true, "no_responders": true}
	if u := c.target.user; u != nil {
		if password, ok := u.Password(); ok {
			hello["user"], hello["pass"] = u.Username(), password
		} else {
			hello["auth_token"] = u.Username()
		}
	}
	connect, err := json.Marshal(hello)
	if err != nil {
		return err
	}
	c.inbox = fmt.Sprintf("_INBOX.load%016x%016x", rand.Uint64(), rand.Uint64())
	c.out = fmt.Appendf(c.out[:0], "CONNECT %s\r\nSUB %s.* 1\r\nPING\r\n", connect, c.inbox)
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	return c.await(x, "")
}

// send publishes, or asks and reads the answer.
func (c *natsCaller) send(x *exchange) error {
	subject, rest, _ := bytes.Cut(x.request, []byte{'\n'})
	length, body, _ := bytes.Cut(rest, []byte{'\n'}) // the headers included
	headed := len(length) != 1 || length[0] != '0'
	if headed && !c.headers {
		return &failed{natsOther, "the server takes no headers"}
	}
	if c.maximum > 0 && int64(len(body)) > c.maximum {
		return &failed{natsTooLarge, fmt.Sprintf("%d bytes, the server takes %d", len(body), c.maximum)}
	}
	publish := x.call.(*natsCall).publish
	c.out = c.out[:0]
	if headed {
		c.out = append(c.out, 'H')
	}
	c.out = append(append(c.out, "PUB "...), subject...)
	reply := ""
	if !publish {
		c.count++
		reply = c.inbox + "." + strconv.FormatUint(c.count, 36)
		c.out = append(append(c.out, ' '), reply...)
	}
	c.out = append(c.out, ' ')
	if headed {
		c.out = append(append(c.out, length...), ' ')
	}
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(append(append(c.out, "\r\n"...), body...), "\r\n"...)
	if publish {
		c.out = append(c.out, "PING\r\n"...)
	}
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	return c.await(x, reply)
}

// await reads until the message for reply has come, or with no reply the PONG.
func (c *natsCaller) await(x *exchange, reply string) error {
	for {
		line, err := c.line(maxNATSLine)
		if err != nil {
			return err
		}
		verb, rest, _ := bytes.Cut(line, []byte{' '})
		switch string(bytes.ToUpper(verb)) {
		case "PONG":
			if reply == "" {
				return nil
			}
		case "PING":
			if _, err := c.nc.Write([]byte("PONG\r\n")); err != nil {
				return err
			}
		case "+OK", "INFO":
		case "-ERR":
			return natsError(string(rest))
		case "MSG", "HMSG":
			done, err := c.message(x, string(verb) == "HMSG", string(rest), reply)
			if done || err != nil {
				return err
			}
		default:
			return malformed("%.40q", line)
		}
	}
}

// message reads a message; done says that it is the one for reply. Others answer questions that were given up.
func (c *natsCaller) message(x *exchange, headers bool, line, reply string) (done bool, err error) {
	words := strings.Fields(line)
	if len(words) < 3 {
		return false, malformed("message %.60q", line)
	}
	size, err := strconv.ParseInt(words[len(words)-1], 10, 64)
	if err != nil || size < 0 {
		return false, malformed("length of a message %.40q", words[len(words)-1])
	}
	head := int64(0)
	if headers {
		if head, err = strconv.ParseInt(words[len(words)-2], 10, 64); err != nil || head < 0 || head > size {
			return false, malformed("length of a message's headers %.40q", words[len(words)-2])
		}
	}
	mine, capture := words[0] == reply, x.capture
	x.body, x.capture = x.body[:0], true
	if err = c.exactly(x, head); err == nil {
		noOne := mine && size == head && bytes.HasPrefix(x.body, []byte("NATS/1.0 503"))
		x.body, x.capture = x.body[:0], mine && capture
		if err = c.exactly(x, size-head); err == nil {
			var end []byte
			if end, err = c.line(2); err == nil && len(end) > 0 {
				err = malformed("a message longer than its length")
			}
		}
		if err == nil && noOne {
			err = &failed{natsNoResponders, ""}
		}
	}
	x.capture = capture
	return mine, err
}

func natsError(text string) *failed {
	kind := natsOther
	for prefix, k := range map[string]Kind{"Permissions Violation": natsDenied, "Authorization": natsAuth, "User Authentication": natsAuth, "Maximum Payload": natsTooLarge} {
		if strings.HasPrefix(strings.Trim(text, "'"), prefix) {
			kind = k
		}
	}
	return &failed{kind, text}
}
