//go:build linux && (amd64 || arm64)

package gateway

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

// workers are those of the fast tier, if there is one.
func (r *rig) workers() []*worker {
	r.reloading.Lock() // which Run holds while it begins
	defer r.reloading.Unlock()
	if fast := r.fast.Load(); fast != nil {
		return fast.workers
	}
	return nil
}

// exhausted leaves the process without a file descriptor that it could open, but for a number of sockets that are made before.
func (r *rig) exhausted(sockets int) (made []int, undo func()) {
	t := r.t
	t.Helper()
	for _, w := range r.workers() { // all listeners are there when what was posted after them has been done
		done := make(chan struct{})
		w.loop.Post(func() { close(done) })
		<-done
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for range sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, fd)
	}
	lowest, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0) // the one that would come next
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(lowest)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	undo = func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }
	t.Cleanup(undo)
	return made, undo
}

// connect has a socket connect, and ask for a path.
func (r *rig) connect(fd int, to net.Addr, path string) {
	r.t.Helper()
	a := to.(*net.TCPAddr)
	r.t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}); err != nil {
		r.t.Fatal(err)
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
	if _, err := unix.Write(fd, []byte("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		r.t.Fatal(err)
	}
}

// Without file descriptors nothing is accepted, which is tried again now and then; what is there goes on, and when there are
// descriptors again those who have waited get in.
func TestNoDescriptorToAcceptWith(t *testing.T) {
	r, release := limited(t, Config{}, topology.Connections{Max: 100, PerClient: 100})
	busy := r.open("127.0.0.1")
	if !busy.answered("/") { // so that there is a connection to the backend
		t.Fatal("no answer")
	}
	_, _ = io.WriteString(busy, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
	until(t, "it is asked on", func() bool { return r.Stats().Routes[0].InFlight == 1 })
	sockets, undo := r.exhausted(1)
	began := time.Now()
	r.connect(sockets[0], r.Addr(), "/")
	until(t, "accepting fails again and again", func() bool { return r.counts("outside").Failed >= 3 })
	if n := r.counts("outside").Closed; n != 0 {
		t.Errorf("%d connections with requests were closed", n)
	}
	close(release)
	if !busy.fine() {
		t.Error("a request that was under way has no answer")
	}
	s, took := r.counts("outside"), time.Since(began)
	undo()
	if most := 64 * (2 + int64(took/(5*time.Millisecond))); s.Failed > most { // as quickly as the full tier's server tries again
		t.Errorf("%d attempts in %v: that spins", s.Failed, took)
	}
	buf := make([]byte, 1000)
	if n, err := unix.Read(sockets[0], buf); err != nil || string(buf[:min(n, 12)]) != "HTTP/1.1 200" {
		t.Errorf("one that has waited: %q, %v", buf[:max(n, 0)], err)
	}
}

// Where descriptors are scarce, quiet connections give theirs to new ones.
func TestQuietConnectionsGiveUpTheirDescriptors(t *testing.T) {
	r, _ := limited(t, Config{}, topology.Connections{Max: 100, PerClient: 100})
	for range 8 { // for the new one itself, both ends of a connection to the backend, and on each loop
		if !r.open("127.0.0.1").answered("/") {
			t.Fatal("no answer")
		}
	}
	sockets, _ := r.exhausted(1)
	asked := r.stopped() // it has asked before it is accepted: it is not quiet, however busy this machine is
	r.connect(sockets[0], r.Addr(), "/")
	asked()
	buf := make([]byte, 1000)
	n, err := unix.Read(sockets[0], buf)
	if err != nil || string(buf[:min(n, 12)]) != "HTTP/1.1 200" {
		t.Errorf("a new one: %q, %v", buf[:max(n, 0)], err)
	}
	if s := r.counts("outside"); s.Closed == 0 || s.Failed == 0 {
		t.Errorf("%+v", s)
	}
}

// stopped has the fast tier's loops stand still until they are to go on.
func (r *rig) stopped() (goOn func()) {
	gate := make(chan struct{})
	for _, w := range r.workers() {
		still := make(chan struct{})
		w.loop.Post(func() { close(still); <-gate })
		<-still
	}
	return sync.OnceFunc(func() { close(gate) })
}

// Connections that have just come, or are between two requests, keep their descriptors.
func TestJustQuietIsNotClosed(t *testing.T) {
	r, _ := limited(t, Config{}, topology.Connections{Max: 100, PerClient: 100})
	if c := r.open("127.0.0.1"); !c.answered("/") {
		t.Fatal("no answer")
	}
	closes := func(least time.Duration) bool {
		for _, w := range r.workers() {
			done := make(chan bool)
			w.loop.Post(func() {
				done <- slices.ContainsFunc(w.doors, func(d *door) bool { return w.closeQuiet(d, least) })
			})
			if <-done {
				return true
			}
		}
		return r.plainConns.closeQuiet(least)
	}
	until(t, "it is taken for quiet", func() bool {
		if closes(time.Hour) {
			t.Fatal("one that has just become quiet was closed")
		}
		return closes(0)
	})
}

// A connection to a backend that cannot be made for want of descriptors is no fault of the backend's.
func TestNoDescriptorForABackend(t *testing.T) {
	r := start(t, Config{})
	id := r.serve("web", text("fine"))
	c := r.open("127.0.0.1")
	until(t, "it is there", func() bool { return r.counts("outside").Open == 1 })
	_, undo := r.exhausted(0)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	a := readAnswer(t, c, "POST")
	undo()
	r.wantFault(a, 503, "destination_unavailable")
	if b := r.Stats().Backends[0]; b.ID != id || b.Failures != 0 || b.InFlight != 0 {
		t.Errorf("%+v", b)
	}
	if !c.answered("/") {
		t.Error("the connection does not go on")
	}
}
