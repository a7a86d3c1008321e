//go:build linux && (amd64 || arm64)

package load

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopConn is a TCP connection of a loop. Its methods are for the loop's fibers, and for one of them at a time; those that
// read and write have the fiber wait, at most until the deadline.
type loopConn struct {
	loop     *loop
	fd       int
	waiter   *fiber
	deadline time.Duration // since the start of the run
	pending  bool          // something may be there to read
	silenced bool          // not watched: something happened and nobody waited for it
	local    net.Addr
	remote   net.Addr
}

var _ net.Conn = (*loopConn)(nil)

// dial makes a connection for the fiber that runs. A goroutine does, for names are resolved and connections made in ways
// that block.
func (l *loop) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f := l.running
	var conn *loopConn
	var err error
	done := false
	l.posters.Go(func() {
		var fd int
		var local, remote net.Addr
		fd, local, remote, err = dialRaw(ctx, network, addr)
		l.post(func() {
			if err == nil {
				conn, err = l.adopt(fd, local, remote)
			}
			done = true
			f.wake()
		})
	})
	for !done {
		f.park(false)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// dialRaw makes a connection and takes it away from Go's poller.
func dialRaw(ctx context.Context, network, addr string) (fd int, local, remote net.Addr, err error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return -1, nil, nil, err
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return -1, nil, nil, err
	}
	var dup error
	if err := raw.Control(func(old uintptr) { fd, dup = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, nil, nil, err
	}
	if dup != nil {
		return -1, nil, nil, os.NewSyscallError("fcntl", dup)
	}
	return fd, nc.LocalAddr(), nc.RemoteAddr(), nil
}

// adopt takes a connection in.
func (l *loop) adopt(fd int, local, remote net.Addr) (*loopConn, error) {
	if err := l.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	c := &loopConn{loop: l, fd: fd, local: local, remote: remote}
	l.conns[int32(fd)] = c
	return c, nil
}

// happened is called where the connection can be read or written, or has broken.
func (c *loopConn) happened() {
	c.pending = true
	if f := c.waiter; f != nil {
		if f.state == onConn {
			c.loop.resume(f)
		}
		return
	}
	// It would be reported again and again.
	if c.loop.control(unix.EPOLL_CTL_DEL, c.fd, 0) == nil {
		c.silenced = true
	}
}

// await has the fiber that runs wait until something happens.
func (c *loopConn) await(events uint32) error {
	l := c.loop
	f := l.running
	if c.fd < 0 {
		return net.ErrClosed
	}
	if c.silenced || events != unix.EPOLLIN {
		op := unix.EPOLL_CTL_MOD
		if c.silenced {
			op = unix.EPOLL_CTL_ADD
		}
		if err := l.control(op, c.fd, events); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
		c.silenced = false
		if events != unix.EPOLLIN {
			defer func() {
				if c.fd >= 0 {
					_ = l.control(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN)
				}
			}()
		}
	}
	if !f.armed {
		f.armed = true
		l.push(fiberTimer{c.deadline, f, true})
	}
	c.waiter, f.conn = f, c
	f.wait(onConn)
	c.waiter, f.conn = nil, nil
	switch {
	case c.fd < 0:
		return net.ErrClosed
	case f.late:
		f.late = false
		return os.ErrDeadlineExceeded
	}
	return nil
}

// readable waits until there is something to read.
func (c *loopConn) readable() error {
	if c.pending {
		return nil
	}
	return c.await(unix.EPOLLIN)
}

// Read implements net.Conn.
func (c *loopConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		if err := c.readable(); err != nil {
			return 0, err
		}
		if c.fd < 0 {
			return 0, net.ErrClosed
		}
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			c.pending = false
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			c.pending = int(n) == len(b) // there may be more
			return int(n), nil
		}
	}
}

// Write implements net.Conn.
func (c *loopConn) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		if c.fd < 0 {
			return written, net.ErrClosed
		}
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&b[written])), uintptr(len(b)-written), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			written += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			if err := c.await(unix.EPOLLOUT); err != nil {
				return written, err
			}
		default:
			return written, os.NewSyscallError("write", errno)
		}
	}
	return written, nil
}

// peek reports whether there is something to read, without taking it.
func (c *loopConn) peek() bool {
	var one [1]byte
	_, _, err := unix.Recvfrom(c.fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err != unix.EAGAIN && err != unix.EINTR
}

// Close implements net.Conn.
func (c *loopConn) Close() error {
	if c.fd < 0 {
		return net.ErrClosed
	}
	delete(c.loop.conns, int32(c.fd))
	err := unix.Close(c.fd) // which takes it out of the epoll as well
	c.fd = -1
	if f := c.waiter; f != nil && f.state == onConn {
		c.loop.resume(f)
	}
	return err
}

// SetDeadline implements net.Conn. The zero time is no deadline.
func (c *loopConn) SetDeadline(t time.Time) error {
	if c.fd < 0 {
		return net.ErrClosed
	}
	if c.deadline = t.Sub(c.loop.of.origin); t.IsZero() {
		c.deadline = 1<<63 - 1
	}
	return nil
}

// SetReadDeadline implements net.Conn; it is SetDeadline.
func (c *loopConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline implements net.Conn; it is SetDeadline.
func (c *loopConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// LocalAddr implements net.Conn.
func (c *loopConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *loopConn) RemoteAddr() net.Addr { return c.remote }
