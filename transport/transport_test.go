package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/internal/loopback"
)

var secret = []byte("a secret of the tests")

// end is one node's transport with what it received.
type end struct {
	*Transport
	address string
	stop    context.CancelFunc
	done    chan error
	got     chan string
}

func launch(t *testing.T, node uint64, change func(*Config)) *end {
	t.Helper()
	e := &end{done: make(chan error, 1), got: make(chan string, 10000)}
	cfg := Config{Node: node, Secret: secret, WriteTimeout: time.Minute, Receive: func(from uint64, frame []byte) { e.got <- fmt.Sprintf("%d:%s", from, frame) }}
	if change != nil {
		change(&cfg)
	}
	var err error
	if e.Transport, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() { e.done <- e.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err, open := <-e.done; open && err != nil {
			t.Error(err)
		}
		close(e.done)
	})
	return e
}

// sendUntil sends numbered frames until one arrives, and returns the number of that which did.
func sendUntil(t *testing.T, from, to *end, node uint64) string {
	t.Helper()
	for i := 0; ; i++ {
		from.Send(node, fmt.Appendf(nil, "%d", i))
		select {
		case got := <-to.got:
			return got
		case err := <-to.done:
			t.Fatal(err)
		case <-time.After(time.Millisecond): // so that what is sent before the stream stands does not fill the other's channel
		}
	}
}

func TestFramesArriveInOrder(t *testing.T) {
	a, b := launch(t, 1, nil), launch(t, 2, nil)
	a.SetPeer(2, b.address)
	sendUntil(t, a, b, 2)
	a.Send(2, []byte("begin"))
	for range b.got {
		if len(b.got) == 0 {
			break
		}
	}
	large := bytes.Repeat([]byte("x"), 1<<20)
	for range 20 {
		a.Send(2, large)
	}
	a.Send(2, []byte("end"))
	var sizes []int
	for got := range b.got {
		if got == "1:end" {
			break
		}
		if len(got) > 100 {
			sizes = append(sizes, len(got))
		}
	}
	if want := slices.Repeat([]int{2 + 1<<20}, 20); !slices.Equal(sizes, want) {
		t.Errorf("of 20 large frames these sizes arrived before what was sent after them: %v", sizes)
	}
}

func TestStreamComesBack(t *testing.T) {
	a, b := launch(t, 1, nil), launch(t, 2, nil)
	a.SetPeer(2, b.address)
	sendUntil(t, a, b, 2)
	b.stop()
	if err := <-b.done; err != nil {
		t.Fatal(err)
	}
	close(b.done)
	b.done = make(chan error, 1)
	b.done <- nil // for the cleanup
	again := launch(t, 2, nil)
	a.SetPeer(2, again.address)
	sendUntil(t, a, again, 2)
}

// A node that could not be reached is dialled as soon as it dials itself, and not when the wait is over.
func TestNodeThatIsBackIsDialledAtOnce(t *testing.T) {
	gone, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		t.Fatal(err)
	}
	address := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	a := launch(t, 1, func(c *Config) { c.redialWait = time.Hour })
	a.SetPeer(2, address)
	a.Send(2, []byte("into the void"))
	for a.Dropped() == 0 {
		time.Sleep(time.Millisecond) // until it waits
	}
	b := launch(t, 2, nil)
	a.mu.Lock()
	a.addrs[2] = b.address // as if it listened where it was before
	a.mu.Unlock()
	b.SetPeer(1, a.address)
	sendUntil(t, b, a, 1)
	sendUntil(t, a, b, 2)
}

func TestStrangersAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		node   uint64
		secret string
		magic  string
	}{
		"wrong secret":     {2, "another secret, as long", magic},
		"another protocol": {2, string(secret), "HTTP"},
		"another node":     {3, string(secret), magic},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			var wg sync.WaitGroup
			var accept error
			wg.Go(func() { _, accept = accepted(there, secret, 2); _ = there.Close() })
			var err error
			if c.magic != magic {
				hello := append([]byte(c.magic), make([]byte, helloLen-4)...)
				_, err = here.Write(hello)
			} else {
				err = dialled(here, []byte(c.secret), 1, c.node)
			}
			_ = here.Close()
			wg.Wait()
			if accept == nil || !errors.Is(accept, ErrHandshake) {
				t.Errorf("the acceptor says %v, the dialler %v", accept, err)
			}
		})
	}
}

// TestImpostorIsRefused: who listens where a node should must know the secret as well, or be another node.
func TestImpostorIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		node   uint64
		secret string
	}{"wrong secret": {2, "another secret, as long"}, "another node": {3, string(secret)}} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = accepted(there, []byte(c.secret), c.node); _ = there.Close() })
			if err := dialled(here, secret, 1, 2); !errors.Is(err, ErrHandshake) {
				t.Errorf("the dialler says %v", err)
			}
			_ = here.Close()
			wg.Wait()
		})
	}
}

func TestBadFramesEndTheStream(t *testing.T) {
	good := append(header([]byte("frame")), "frame"...)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, b := range map[string][]byte{"flipped": flipped, "too long": header(make([]byte, 100)), "torn": good[:len(good)-1]} {
		if _, err := readFrame(bytes.NewReader(b), 50); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := readFrame(bytes.NewReader(good), 50); err != nil || string(got) != "frame" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a := launch(t, 1, func(c *Config) { c.QueueBytes, c.MaxFrame = 1000, 600 })
	a.Send(9, []byte("nobody knows where"))
	if a.Dropped() != 1 {
		t.Errorf("a frame for an unknown node: %d dropped", a.Dropped())
	}
	a.SetPeer(2, listener.Addr().String())
	a.Send(2, make([]byte, 601))
	for range 3 {
		a.Send(2, make([]byte, 500))
	}
	if a.Dropped() != 3 {
		t.Errorf("one frame too large, three where two fit: %d dropped, want 3 with the one before", a.Dropped())
	}
}

func TestConfigIsChecked(t *testing.T) {
	receive := func(uint64, []byte) {}
	for name, cfg := range map[string]Config{
		"no node":      {Secret: secret, Receive: receive},
		"short secret": {Node: 1, Secret: []byte("short"), Receive: receive},
		"no receiver":  {Node: 1, Secret: secret},
		"giant frames": {Node: 1, Secret: secret, Receive: receive, MaxFrame: 2 << 30},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(append(header([]byte("frame")), "frame"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := readFrame(bytes.NewReader(b), 1<<16)
		if err == nil && !bytes.Equal(append(header(frame), frame...), b[:headerLen+len(frame)]) {
			t.Fatalf("%x was read as %x", b, frame)
		}
	})
}
