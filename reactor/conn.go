//go:build linux && (amd64 || arm64)

package reactor

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a non-blocking TCP socket in a loop. Its zero value is not in any.
type Conn struct {
	loop    *Loop
	handler Handler
	fd      int32
	index   uint32

	// Readable and Writable say that the next Read or Write may do something. They are wrong at most in saying so.
	Readable, Writable bool
	// Ended says that the peer will send nothing more than what is there already.
	Ended bool
	// Failed says that the connection is broken.
	Failed bool
}

// Add puts a socket into the loop, which owns it from here on. Where that fails the socket is closed.
func (l *Loop) Add(c *Conn, fd int, h Handler) error {
	var index uint32
	if n := len(l.free); n > 0 {
		index = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		index = uint32(len(l.entries))
		l.entries = append(l.entries, entry{})
	}
	e := &l.entries[index]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(index), Pad: int32(e.gen)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.free = append(l.free, index)
		_ = unix.Close(fd)
		return fmt.Errorf("watching a connection: %w", err)
	}
	e.conn = c
	*c = Conn{loop: l, handler: h, fd: int32(fd), index: index}
	return nil
}

// FD returns the socket, which stays the loop's.
func (c *Conn) FD() int { return int(c.fd) }

// Open reports whether the connection is in a loop.
func (c *Conn) Open() bool { return c.loop != nil }

// SetHandler makes another one be told of the connection's events.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Close closes the socket. It may be called more than once.
func (c *Conn) Close() {
	if fd := c.detach(); fd >= 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) // leaves the loop with it
	}
}

// Shutdown tells the peer that nothing more will come; reading goes on.
func (c *Conn) Shutdown() {
	if c.loop != nil {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR) // fails only where the peer is gone
	}
}

// Reset has the socket reset the connection when it is closed, so that the peer knows that something is missing.
func (c *Conn) Reset() {
	if c.loop != nil {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // or it ends in the usual way
	}
}

// Detach takes the socket out of the loop and returns it; it is the caller's from here on. -1: it was closed.
func (c *Conn) Detach() int {
	l := c.loop
	fd := c.detach()
	if fd >= 0 {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
	return fd
}

func (c *Conn) detach() int {
	l := c.loop
	if l == nil {
		return -1
	}
	e := &l.entries[c.index]
	e.conn = nil
	e.gen++
	l.free = append(l.free, c.index)
	c.loop = nil
	return int(c.fd)
}

func (c *Conn) dispatch(events uint32) {
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.Readable = true
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.Writable = true
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.Ended = true
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.Failed = true
	}
	c.handler.Ready(c)
}

// Read reads what is there. It returns 0 and no error where nothing is, and end where the peer will send no more.
func (c *Conn) Read(p []byte) (n int, end bool, err syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch errno {
		case 0:
			n = int(r)
			if n == 0 {
				return 0, true, 0
			}
			// Less than was asked for empties the socket: what comes later is a new event (epoll(7)). An end is not.
			c.Readable = n == len(p) || c.Ended
			return n, false, 0
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.Readable = false
			return 0, false, 0
		default:
			return 0, false, errno
		}
	}
}

// Peek reports whether the peer has sent something, or its end.
func (c *Conn) Peek() bool {
	var one [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&one)), 1, syscall.MSG_PEEK, 0, 0)
	return errno != syscall.EAGAIN
}

// Write writes what fits.
func (c *Conn) Write(p []byte) (n int, err syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			c.Writable = int(r) == len(p)
			return int(r), 0
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.Writable = false
			return 0, 0
		default:
			return 0, errno
		}
	}
}

// Writev writes what fits of three pieces, in one system call.
func (c *Conn) Writev(a, b, d []byte) (n int, err syscall.Errno) {
	if len(b)+len(d) == 0 {
		return c.Write(a)
	}
	l := c.loop
	l.iov[0] = syscall.Iovec{Base: unsafe.SliceData(a), Len: uint64(len(a))}
	l.iov[1] = syscall.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	l.iov[2] = syscall.Iovec{Base: unsafe.SliceData(d), Len: uint64(len(d))}
	l.msg = syscall.Msghdr{Iov: &l.iov[0], Iovlen: 3}
	for {
		r, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&l.msg)), syscall.MSG_NOSIGNAL)
		switch errno {
		case 0:
			c.Writable = int(r) == len(a)+len(b)+len(d)
			return int(r), 0
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.Writable = false
			return 0, 0
		default:
			return 0, errno
		}
	}
}

// Dial begins to connect a new socket to the address. Once it is Writable, Connected says what came of it.
func (l *Loop) Dial(c *Conn, to unix.Sockaddr, h Handler) error {
	family := unix.AF_INET
	if _, ok := to.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return err
	}
	return l.Add(c, fd, h)
}

// Connected returns the error with which connecting failed, if it did.
func (c *Conn) Connected() error {
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}
