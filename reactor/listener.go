//go:build linux && (amd64 || arm64)

package reactor

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Acceptor is told of new connections. It is called on the loop's goroutine and owns the socket.
type Acceptor interface {
	Accepted(fd int, from netip.AddrPort)
	// Failed is told that accepting fails for another reason than that nobody comes; it is tried again.
	Failed(err error)
}

// Listener is a listening socket in a loop, shared with other loops.
type Listener struct {
	conn     Conn
	acceptor Acceptor
	retry    Timer
	paused   *Loop // while it looks away
	fd       int
}

// acceptPause is how long a listener looks away after a failure.
const acceptPause = 100 * time.Millisecond

// Listen has the loop accept connections from l, as well as others that do the same. The caller keeps l, and closes it
// when all have stopped.
func (l *Loop) Listen(ln *net.TCPListener, a Acceptor) (*Listener, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	out := &Listener{acceptor: a}
	out.retry.Owner = out
	if cerr := raw.Control(func(fd uintptr) {
		out.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("sharing a listener: %w", err)
	}
	if err := out.add(l); err != nil {
		_ = unix.Close(out.fd)
		return nil, err
	}
	return out, nil
}

// add registers the socket level-triggered, waking one of the loops that share it. Where that fails the socket stays.
func (ln *Listener) add(l *Loop) error {
	var index uint32
	if n := len(l.free); n > 0 {
		index = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		index = uint32(len(l.entries))
		l.entries = append(l.entries, entry{})
	}
	e := &l.entries[index]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(index), Pad: int32(e.gen)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, ln.fd, &ev); err != nil {
		l.free = append(l.free, index)
		return fmt.Errorf("watching a listener: %w", err)
	}
	e.conn = &ln.conn
	ln.conn = Conn{loop: l, handler: ln, fd: int32(ln.fd), index: index}
	return nil
}

// maxAccepts bounds how many connections are taken in a row, so that others of the loop get their turn.
const maxAccepts = 16

// Ready takes what has come.
func (ln *Listener) Ready(*Conn) {
	for range maxAccepts {
		fd, from, err := unix.Accept4(ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			ln.acceptor.Accepted(fd, addrPort(from))
			if !ln.conn.Open() {
				return // closed meanwhile
			}
		case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
			return
		default:
			// Out of descriptors or memory: look away for a while, or this would spin.
			ln.acceptor.Failed(err)
			l := ln.conn.loop
			if fd := ln.conn.Detach(); fd >= 0 {
				ln.pause(l)
			}
			return
		}
	}
}

// Expired looks again after a failure.
func (ln *Listener) Expired(*Timer) {
	l := ln.paused
	ln.paused = nil
	if err := ln.add(l); err != nil {
		ln.acceptor.Failed(err)
		ln.pause(l)
	}
}

// pause has the listener, which is not in the loop, come back to it after a while.
func (ln *Listener) pause(l *Loop) {
	l.Set(&ln.retry, acceptPause)
	ln.paused = l
}

// Close accepts nothing more.
func (ln *Listener) Close() {
	if ln.paused != nil {
		ln.paused.Unset(&ln.retry)
		ln.paused = nil
		_ = unix.Close(ln.fd)
	}
	if fd := ln.conn.Detach(); fd >= 0 {
		_ = unix.Close(fd)
	}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
