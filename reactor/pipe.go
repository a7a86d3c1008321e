//go:build linux && (amd64 || arm64)

package reactor

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pipe moves bytes from one connection to another inside the kernel (splice(2)). Between two calls it is empty, so that one
// serves all connections of a loop.
type Pipe struct{ in, out int }

const (
	// MaxMove is the most that one call of Move moves.
	MaxMove = 64 << 10
	// pipeSize gives the pipe twice as many places as MaxMove has pages: one is taken for each piece of one, too.
	pipeSize  = 2 * MaxMove
	moveFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
)

// NewPipe opens a pipe.
func NewPipe() (*Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // at worst less is moved at once
	return &Pipe{in: fds[1], out: fds[0]}, nil
}

// Close closes the pipe.
func (p *Pipe) Close() {
	_ = unix.Close(p.in)
	_ = unix.Close(p.out)
}

// Moved is what came of a call of Move.
type Moved struct {
	// N bytes were taken from the source.
	N int
	// Left are those of them, at the end, that the destination did not take, behind what the caller gave.
	Left []byte
	// End says that the source will send no more.
	End bool
	// Read and Write are errors of the source and of the destination.
	Read, Write syscall.Errno
}

// Move moves up to most bytes that have come on src to dst, at most MaxMove. What dst does not take is appended to left.
func (p *Pipe) Move(dst, src *Conn, most int, left []byte) Moved {
	m := Moved{Left: left}
	n, errno := splice(int(src.fd), p.in, min(most, MaxMove))
	switch {
	case errno == syscall.EAGAIN:
		src.Readable = false
		return m
	case errno != 0:
		m.Read = errno
		return m
	case n == 0:
		m.End = true
		return m
	}
	m.N = n
	for n > 0 {
		w, errno := splice(p.out, int(dst.fd), n)
		if errno != 0 || w == 0 {
			if errno == syscall.EAGAIN {
				dst.Writable = false
			} else {
				m.Write = max(errno, syscall.EPIPE)
			}
			m.Left = p.drain(m.Left, n)
			return m
		}
		n -= w
	}
	return m
}

// drain reads n bytes, which are in the pipe, behind b.
func (p *Pipe) drain(b []byte, n int) []byte {
	at := len(b)
	if cap(b)-at < n {
		b = append(make([]byte, 0, at+n), b...)
	}
	b = b[:at+n]
	for at < len(b) {
		r, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(p.out), uintptr(unsafe.Pointer(&b[at])), uintptr(len(b)-at))
		if errno != 0 && errno != syscall.EINTR || errno == 0 && r == 0 {
			panic("reactor: a pipe has lost what was in it: " + errno.Error())
		}
		if errno == 0 {
			at += int(r)
		}
	}
	return b
}

func splice(from, to, n int) (int, syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), moveFlags)
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}
