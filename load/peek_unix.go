//go:build unix

package load

import (
	"crypto/tls"
	"net"
	"syscall"
)

// peeker returns a function that reports whether there is something to read on an idle connection, without taking it or
// waiting for it.
func peeker(nc net.Conn) func() bool {
	if own, ok := nc.(interface{ peek() bool }); ok {
		return own.peek
	}
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	conn, ok := nc.(syscall.Conn)
	if !ok {
		return func() bool { return false }
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return func() bool { return true }
	}
	readable, one := false, make([]byte, 1)
	look := func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		readable = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
		return true
	}
	return func() bool { return raw.Read(look) != nil || readable }
}
