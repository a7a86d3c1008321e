package dynamo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a connection.
const (
	maxHead     = 64 << 10 // bytes of a request before its body
	maxHeaders  = 128
	maxBody     = 16 << 20 // as DynamoDB has it
	maxKept     = 1 << 20  // of buffers, between requests
	headTimeout = 10 * time.Second
	bodyTimeout = time.Minute
	idleTimeout = 5 * time.Minute
	writeLimit  = time.Minute
)

// Server serves an API over HTTP/1.1: just what AWS's clients need, which takes a third of the time of Go's own server. A request has a
// Content-Length; connections are kept; there is no pipelining of answers, chunked body, trailer, or upgrade.
type Server struct {
	api *API
	// Clients at once, at most.
	clients int

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing atomic.Bool // set under mu
	all     sync.WaitGroup
}

// NewServer makes a server for at most so many connections at once.
func NewServer(api *API, clients int) *Server {
	return &Server{api: api, clients: clients, conns: map[*conn]struct{}{}}
}

// Serve answers what comes in by l, until ctx ends; requests that are being answered then have until the grace is over. When it returns
// all connections are closed, and l.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	err := s.accept(working, l)
	if ctx.Err() != nil {
		err = nil
	}
	l.Close()
	s.close(false)
	late := time.AfterFunc(grace, func() { s.close(true) })
	s.all.Wait()
	late.Stop()
	return err
}

func (s *Server) accept(ctx context.Context, l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() { // such as too many open files
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
				continue
			}
			return fmt.Errorf("accepting connections to the tables: %w", err)
		}
		c := &conn{server: s, nc: nc}
		c.ctx = context.WithValue(context.WithValue(ctx, hostKey{}, nc.LocalAddr().String()), askedKey{}, &c.asked)
		s.mu.Lock()
		full := s.closing.Load() || len(s.conns) >= s.clients
		if !full {
			s.conns[c] = struct{}{}
			s.all.Add(1)
		}
		s.mu.Unlock()
		if full {
			nc.Close()
			continue
		}
		go c.serve()
	}
}

// close closes connections that wait for a request, or with all every one.
func (s *Server) close(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	for c := range s.conns {
		if all || !c.busy.Load() {
			c.nc.Close()
		}
	}
}

// conn is one client's connection.
type conn struct {
	server *Server
	nc     net.Conn
	ctx    context.Context
	busy   atomic.Bool // a request is being answered

	in       []byte // what was read; in[:used] has been answered
	used     int
	answer   []byte
	out      []byte
	deadline time.Time // of reads
	writeBy  time.Time
	head     head
	asked    asked
}

func (c *conn) serve() {
	s := c.server
	defer func() {
		s.mu.Lock()
		delete(s.conns, c) // before the client can see the end, and come again
		s.mu.Unlock()
		c.nc.Close()
		s.all.Done()
	}()
	for c.one() {
		if s.closing.Load() {
			return
		}
	}
}

// expire has reads fail after about d. To set a deadline for each read would cost more than reading.
func (c *conn) expire(d time.Duration, exact bool) {
	now := time.Now()
	if want := now.Add(d); exact || c.deadline.Before(now.Add(d-d/8)) || c.deadline.After(want) {
		c.deadline = want
		c.nc.SetReadDeadline(want)
	}
}

// more reads more of a request.
func (c *conn) more() error {
	if c.used > 0 {
		c.in = c.in[:copy(c.in, c.in[c.used:])]
		c.used = 0
	}
	if len(c.in) == cap(c.in) {
		c.in = append(c.in, make([]byte, max(4096, len(c.in)))...)[:len(c.in)]
	}
	n, err := c.nc.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// one answers the next request, and says whether the connection goes on.
func (c *conn) one() bool {
	end := -1
	for {
		rest := c.in[c.used:]
		if end = bytes.Index(rest, []byte("\r\n\r\n")); end >= 0 {
			break
		}
		if len(rest) > maxHead {
			return c.refuse(431, "Request Header Fields Too Large")
		}
		if len(rest) == 0 {
			c.busy.Store(false)
			c.shrink()
			c.expire(idleTimeout, false)
		} else {
			c.expire(headTimeout, true)
		}
		if c.more() != nil {
			return false
		}
		c.busy.Store(true)
	}
	h := &c.head
	if status, reason := h.parse(c.in[c.used : c.used+end+2]); status != 0 {
		return c.refuse(status, reason)
	}
	bodyAt := c.used + end + 4
	if h.length > maxBody {
		return c.refuse(413, "Content Too Large")
	}
	if h.expects && len(c.in) < bodyAt+h.length {
		if _, err := c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return false
		}
	}
	if len(c.in) < bodyAt+h.length {
		if !c.readBody(bodyAt, h.length) {
			return false
		}
		if status, _ := h.parse(c.in[:end+2]); status != 0 { // what it points to has moved
			return false
		}
		bodyAt = end + 4
	}
	h.body = c.in[bodyAt : bodyAt+h.length]
	err := c.answerOne()
	c.used = bodyAt + h.length
	if c.used == len(c.in) {
		c.in, c.used = c.in[:0], 0
	}
	return err == nil && !h.close
}

// answerOne answers the request of the head, and measures that.
func (c *conn) answerOne() error {
	m := &c.server.api.meters
	c.asked.reset(rand.IntN(keyEvery) == 0)
	start, mark := time.Now(), m.cpu.Begin()
	c.respond()
	err := c.flush()
	cpu, sampled := mark.End()
	if len(c.asked.tables) > 0 {
		m.add(&c.asked, measured{took: time.Since(start), cpu: cpu, sampled: sampled, in: len(c.head.body), out: len(c.answer)})
	}
	return err
}

// announced bodies get room at once up to this size, and beyond it only as they come in.
const announced = 64 << 10

// readBody reads until the body is there, which then stands behind the head at the beginning of the buffer.
func (c *conn) readBody(bodyAt, length int) bool {
	want := bodyAt - c.used + length
	if grown := min(want, announced); cap(c.in) < grown {
		c.in = append(make([]byte, 0, grown), c.in[c.used:]...)
		c.used = 0
	}
	c.expire(bodyTimeout, true)
	for len(c.in)-c.used < want {
		if c.more() != nil {
			return false
		}
	}
	if c.used > 0 {
		c.in = c.in[:copy(c.in, c.in[c.used:])]
		c.used = 0
	}
	return true
}

// shrink gives large buffers back.
func (c *conn) shrink() {
	if cap(c.in) > maxKept {
		c.in, c.used = nil, 0
	}
	if cap(c.answer) > maxKept {
		c.answer = nil
	}
	if cap(c.out) > maxKept {
		c.out = nil
	}
	if cap(c.head.scratch) > maxKept {
		c.head.scratch = nil
	}
}

// refuse answers what is no request, and ends the connection.
func (c *conn) refuse(status int, reason string) bool {
	c.out = fmt.Appendf(c.out[:0], "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, reason)
	c.answer = c.answer[:0]
	c.flush()
	return false
}

// respond makes the answer to the request of the head.
func (c *conn) respond() {
	h := &c.head
	c.answer = c.answer[:0]
	status := 200
	switch string(h.method) {
	case "POST":
		status, c.answer = c.server.api.answerHTTP(c.ctx, h, c.answer)
	case "GET": // as DynamoDB does, for health checks
		c.answer = append(c.answer, "healthy: dynamodb."+c.server.api.cfg.Region+".amazonaws.com \n"...)
	default:
		status, c.answer = 404, append(c.answer, "<UnknownOperationException/>\n"...)
	}
	out := append(c.out[:0], "HTTP/1.1 "...)
	out = append(strconv.AppendInt(out, int64(status), 10), ' ')
	out = append(out, reasons[status]...)
	out = append(out, "\r\nServer: Server\r\nDate: "...)
	out = append(out, c.server.api.dates.now(c.server.api.cfg.Now())...)
	out = append(out, "\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(c.answer)), 10)
	if h.close {
		out = append(out, "\r\nConnection: close"...)
	}
	out = append(out, "\r\nx-amzn-RequestId: "...)
	out = appendRequestID(out)
	out = append(out, "\r\nx-amz-crc32: "...)
	out = strconv.AppendUint(out, uint64(crc32.ChecksumIEEE(c.answer)), 10)
	c.out = append(out, "\r\n\r\n"...)
}

var reasons = map[int]string{200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 500: "Internal Server Error", 503: "Service Unavailable"}

// joined answers are copied behind their head, so that one system call writes both.
const joined = 64 << 10

func (c *conn) flush() (err error) {
	if now := time.Now(); now.After(c.writeBy.Add(-writeLimit / 2)) { // each write has half of the limit or more
		c.writeBy = now.Add(writeLimit)
		c.nc.SetWriteDeadline(c.writeBy)
	}
	if len(c.answer) > joined {
		b := net.Buffers{c.out, c.answer}
		_, err = b.WriteTo(c.nc)
		return err
	}
	c.out = append(c.out, c.answer...)
	_, err = c.nc.Write(c.out)
	return err
}

// dates keeps the text of the present second.
type dates struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	text   string
}

func (d *dates) now(now time.Time) string {
	if last := d.last.Load(); last != nil && last.second == now.Unix() {
		return last.text
	}
	next := &date{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	d.last.Store(next)
	return next.text
}

var requests atomic.Uint64

// appendRequestID appends 52 letters and digits, like DynamoDB's, of which only the last tell requests apart.
func appendRequestID(out []byte) []byte {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
	out = append(out, "0000000000000000000000000000000000000000000000000000"...)
	n := requests.Add(1)
	for i := len(out) - 1; n > 0; i-- {
		out[i] = digits[n&31]
		n >>= 5
	}
	return out
}
