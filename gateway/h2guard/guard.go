// Package h2guard stands between a client's connection and the server of HTTP/2 (RFC 9113) that answers it. It follows the
// frames of both directions, and does two things:
//
//   - It bounds what frames may cost that ask for nothing: streams that are reset before they are answered, whether by the
//     client (CVE-2023-44487) or by the server because the client broke a rule on purpose (CVE-2025-8671); header blocks
//     that never end (CVE-2023-45288); floods of SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA (CVE-2019-9512, 9513,
//     9515, 9518); heads that trickle in. The connection ends with GOAWAY and ENHANCE_YOUR_CALM.
//   - It makes the server treat as RFC 9113 says what Go's treats otherwise: a head with a field that HTTP/2 forbids (8.2.2)
//     is a stream error, a setting given twice in one frame (6.5.3) is no error, wrong padding of HEADERS (6.2) is a
//     connection error.
//
// It never writes a frame of its own. What must end is made to end by the server, which is given a frame that it has to
// refuse; so frames are never mixed up, and the server's GOAWAY names the right last stream. It starts no goroutine.
package h2guard

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Reason is why a connection was ended.
type Reason uint32

// The reasons.
const (
	fine Reason = iota
	// Resets: too many streams were reset without an answer.
	Resets
	// Control: too many frames carried neither a request nor data.
	Control
	// HeaderBlock: a header block was too long, or in too many frames.
	HeaderBlock
)

// Reasons are all that there are.
var Reasons = [...]Reason{Resets, Control, HeaderBlock}

func (r Reason) String() string {
	return [...]string{"none", "resets", "control_frames", "header_block"}[r]
}

// Rate bounds events: Burst of them at once, and PerSecond in the long run.
type Rate struct{ Burst, PerSecond float64 }

// Limits of one connection.
type Limits struct {
	// Resets bounds the streams that are reset by the client, or by the server for the client's fault. Each head, or
	// trailer, of an answer makes up for one: who waits for that is no flood, though he may end a stream that has no end.
	Resets Rate
	// Control bounds the frames that carry neither a request nor data. Each frame that does, in either direction, makes up
	// for creditOfWork of them.
	Control Rate
	// Continuations is how many CONTINUATION frames a header block may have.
	Continuations int
	// HeaderBlock is how many bytes it may have as it is sent.
	HeaderBlock int
	// FrameTime is how long a header block, a frame other than DATA, or the preface with the first frame, may take to come
	// to its end.
	FrameTime time.Duration
}

// creditOfWork is how many control frames a frame of a request's or an answer's makes up for. Two updates of the window
// and a PING that measures the way go with each frame of data in common clients.
const creditOfWork = 4

// Config of a guard.
type Config struct {
	Limits Limits
	// Preface says that the client's preface (RFC 9113, 3.4) is still to come.
	Preface bool
	// Now is a clock that does not go back.
	Now func() time.Duration
	// Calmed is told of a connection that is being ended, once. It must not block. Nil: nobody is.
	Calmed func(Reason)
}

// Conn is a guarded connection. Reading and writing may go on at the same time, each by one goroutine at a time.
type Conn struct {
	net.Conn
	cfg Config

	// The reader's own. Of buf, [read:seen] is for the server, [seen:end] was not looked at yet.
	buf             []byte
	read, seen, end int
	pass            int   // bytes that follow and are not looked at
	raw             bool  // nothing is looked at any more
	failed          error // of the connection, after what is in buf
	timed           bool  // a deadline is set
	block           block
	hpack           *hpack.Decoder
	resets, control bucket

	// The writer's own.
	out outgoing

	// Of the writer for the reader: what it saw since the reader looked.
	answered, worked, blamed atomic.Int64

	calm   atomic.Uint32 // Reason
	cutter atomic.Pointer[time.Timer]
}

// Guard returns the connection with a guard before it. Where it is one over TLS, what is returned tells its state.
func Guard(c net.Conn, cfg Config) net.Conn {
	g := &Conn{Conn: c, cfg: cfg, buf: make([]byte, bufferSize)}
	if cfg.Preface {
		g.pass = len(preface)
		g.setDeadline() // until the first frame was there
	}
	g.hpack = hpack.NewDecoder(headerTable, g.block.check)
	g.hpack.SetMaxStringLength(cfg.Limits.HeaderBlock)
	if s, ok := c.(stater); ok {
		return &secure{g, s}
	}
	return g
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// headerTable is the size of the table of header compression, which the server does not change from its default (6.5.2).
const headerTable = 4096

type stater interface{ ConnectionState() tls.ConnectionState }

// secure is a guarded connection over TLS. Servers tell by the method which connections are.
type secure struct {
	*Conn
	state stater
}

func (s *secure) ConnectionState() tls.ConnectionState { return s.state.ConnectionState() }

// Guarded returns the connection that is guarded.
func (c *Conn) Guarded() net.Conn { return c.Conn }

// Close closes the connection.
func (c *Conn) Close() error {
	if t := c.cutter.Load(); t != nil {
		t.Stop()
	}
	return c.Conn.Close()
}

// cutAfter is how long a connection may last that is to end: the server's own grace for GOAWAY to arrive is a second.
const cutAfter = 3 * time.Second

// endFor has the server end the connection. What follows of the client is not read.
func (c *Conn) endFor(why Reason) {
	c.calm.Store(uint32(why))
	if c.cfg.Calmed != nil {
		c.cfg.Calmed(why)
	}
	c.cutter.Store(time.AfterFunc(cutAfter, func() { _ = c.Conn.Close() })) // where the client takes nothing, not even GOAWAY
	c.violate()
}

// violate gives the server a frame that is a connection error wherever it comes: DATA on stream 0 (6.1).
func (c *Conn) violate() {
	c.read, c.seen, c.end = 0, frameHead, frameHead
	clear(c.buf[:frameHead])
	c.raw, c.pass, c.failed = true, 0, errEnded
}

// bucket leaks events at a rate.
type bucket struct {
	level float64
	at    time.Duration
}

// add counts events, less those that are made up for, and reports whether there are too many.
func (b *bucket) add(events, credit float64, now time.Duration, r Rate) bool {
	b.level = max(0, b.level-credit-r.PerSecond*(now-b.at).Seconds()) + events
	b.at = now
	return b.level > r.Burst
}

// countReset counts streams that were reset.
func (c *Conn) countReset(n int64) bool {
	n += c.blamed.Swap(0)
	return c.resets.add(float64(n), float64(c.answered.Swap(0)), c.cfg.Now(), c.cfg.Limits.Resets)
}

// countControl counts a frame that carries no request and no data.
func (c *Conn) countControl(cost float64) bool {
	return c.control.add(cost, creditOfWork*float64(c.worked.Swap(0)), c.cfg.Now(), c.cfg.Limits.Control)
}
