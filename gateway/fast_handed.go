//go:build linux && (amd64 || arm64)

package gateway

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handedConn is a connection that the full tier's server has, because of a request that is not for the fast tier. When that
// has been answered it comes back to its loop: as soon as the server wants to read the next request from it, it is told that
// there is none.
//
// Of one that may come back, all but Close is called by the server, which does not read and change the state at the same
// time.
type handedConn struct {
	*net.TCPConn
	w      *worker
	d      *door
	from   netip.AddrPort // which the socket does not tell any more once the client is gone
	read   []byte         // received before it was handed over, and not read by the server yet
	left   int64          // of the request that it was handed over for; -1: not known, or another by now: it stays
	beyond []byte         // what the server has read of what follows that request, to see whether the client is there
	idle   bool           // the server wants the next request
	credit int8           // for the client's next life
	gone   atomic.Bool    // closed, or back
	seat   seat           // of one that stays

	returns bool // it may come back; set once. Otherwise, as with HTTP/2, reads and answers go on at the same time
}

// handOver gives a connection to the full tier. It runs on the loop and does not wait.
func (d *door) handOver(w *worker, fd int, c *handedConn) {
	c.w, c.d, c.returns = w, d, c.left >= 0
	c.seat = seat{limit: d.limit, conn: c, client: c.from.Addr()}
	d.open.Add(1)
	go func() { // it waits for the server to accept
		f := os.NewFile(uintptr(fd), "client")
		own, err := net.FileConn(f) // on a descriptor of its own
		_ = f.Close()
		if err != nil { // out of descriptors
			d.limit.acceptFailed(err, nil)
			c.leave()
			return
		}
		tcp, ok := own.(*net.TCPConn)
		if !ok {
			_ = own.Close()
			c.leave()
			return
		}
		c.TCPConn = tcp
		select {
		case d.handed <- c:
		case <-d.closed.Done():
			_ = c.Close()
		}
	}()
}

// RemoteAddr is the client's address.
func (c *handedConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }

// WriteTo copies what is read; that of the socket alone would leave out what was read before.
func (c *handedConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// Read reads the request that the connection was handed over for, and nothing of another into the same buffer: what the
// server has buffered cannot come back.
func (c *handedConn) Read(p []byte) (int, error) {
	switch {
	case !c.returns || c.left < 0:
		return c.receive(p)
	case c.left > 0:
		n, err := c.receive(p[:min(int64(len(p)), c.left)])
		c.left -= int64(n)
		return n, err
	case c.idle:
		c.comeBack()
		return 0, io.EOF
	}
	n, err := c.receive(p)
	c.beyond = append(c.beyond, p[:n]...)
	return n, err
}

// receive reads what was received before, and then from the socket.
func (c *handedConn) receive(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil
	}
	return n, nil
}

// comesBack reports whether the connection may come back.
func (c *handedConn) comesBack() bool { return c.returns }

// Answered is called when the server has answered a request, and wants the next; or when a handler has taken it over.
func (c *handedConn) Answered(hijacked bool) {
	if !c.returns {
		return
	}
	if hijacked || c.idle || c.left > 0 {
		c.left, c.beyond = -1, nil // it knows more than one request by now
	}
	c.idle = true
}

// comeBack gives the connection to its loop. Where that fails, for want of descriptors, the server closes it: it is idle.
func (c *handedConn) comeBack() {
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return
	}
	fd := -1
	if cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		return
	}
	if c.gone.Swap(true) {
		_ = unix.Close(fd)
		return // closed meanwhile
	}
	in := append(c.beyond, c.read...)
	if !c.w.loop.Post(func() { c.w.welcomeBack(c, fd, in) }) {
		_ = unix.Close(fd)
		c.leave()
	}
}

// leave gives up the connection's place.
func (c *handedConn) leave() {
	c.seat.leave()
	c.d.open.Done()
}

// seated returns the seat of a connection that stays with the full tier: others are not quiet while they are here.
func (c *handedConn) seated() *seat {
	if c.returns && c.left >= 0 {
		return nil
	}
	return &c.seat
}

// Close closes the connection, unless it is back: then only the server is rid of it.
func (c *handedConn) Close() error {
	if !c.gone.Swap(true) {
		defer c.leave()
	}
	return c.TCPConn.Close()
}
