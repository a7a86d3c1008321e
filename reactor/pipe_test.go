//go:build linux && (amd64 || arm64)

package reactor

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is a connection of which one end is a Conn that is in no loop.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := near.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{Readable: true, Writable: true}
	if err := raw.Control(func(fd uintptr) { c.fd = int32(fd) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return c, far.(*net.TCPConn)
}

// readable waits until there is something to read: bytes, the end, or an error.
func readable(t *testing.T, c *Conn) {
	t.Helper()
	poll := []unix.PollFd{{Fd: c.fd, Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 60_000)
		if err == unix.EINTR { // as the runtime's signals do it
			continue
		}
		if err != nil || n != 1 {
			t.Fatalf("nothing to read within a minute: %v", err)
		}
		return
	}
}

// All that comes at one end goes out at the other, in its order, however slowly that is taken; what is not taken is given back.
func TestMove(t *testing.T) {
	p, err := NewPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src, from := pair(t)
	dst, to := pair(t)
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		_, _ = from.Write(sent)
		_ = from.CloseWrite()
	}()
	var got bytes.Buffer
	part := make([]byte, 300<<10)
	refusals := 0
	for moved := 0; ; {
		m := p.Move(dst, src, len(sent), nil)
		if m.Read != 0 || m.Write != 0 {
			t.Fatal(m.Read, m.Write)
		}
		if moved += m.N; m.End {
			if moved != len(sent) {
				t.Fatalf("%d bytes were moved of %d", moved, len(sent))
			}
			break
		}
		if m.N == 0 { // until more has come
			readable(t, src)
		}
		if len(m.Left) == 0 {
			continue
		}
		refusals++
		if dst.Writable {
			t.Fatal("something is left, and it may be written to")
		}
		for got.Len() < moved-len(m.Left) { // make room
			n, err := to.Read(part)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(part[:n])
		}
		got.Write(m.Left) // as the caller would send it
		dst.Writable = true
	}
	if refusals == 0 {
		t.Error("the slow end has taken everything at once")
	}
	if _, err := io.CopyN(&got, to, int64(len(sent)-got.Len())); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), sent) {
		t.Error("it is not what was sent")
	}
}

// After an error the pipe is empty, and good for others.
func TestMoveToOneThatIsGone(t *testing.T) {
	p, err := NewPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src, from := pair(t)
	dst, to := pair(t)
	_ = to.SetLinger(0)
	_ = to.Close()
	if _, err := from.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	readable(t, src)
	readable(t, dst) // of the reset
	if m := p.Move(dst, src, 1000, []byte("x")); m.Write == 0 || m.N != 1000 {
		t.Errorf("%+v", m)
	}
	next, reader := pair(t)
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	readable(t, src)
	if m := p.Move(next, src, 1000, nil); m.N != 5 || m.Write != 0 || len(m.Left) > 0 {
		t.Errorf("%+v", m)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(reader, b); string(b) != "hello" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if m := p.Move(next, src, 1000, nil); m.N != 0 || m.End || src.Readable {
		t.Errorf("%+v", m)
	}
	_ = from.CloseWrite()
	readable(t, src)
	if m := p.Move(next, src, 1000, nil); !m.End {
		t.Errorf("%+v", m)
	}
	if m := p.Move(next, &Conn{fd: 1 << 20}, 1000, nil); m.Read != syscall.EBADF {
		t.Errorf("%+v", m)
	}
}
