package peerlink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/banyanhq/banyan/policy"
)

var secret = []byte("sixteen bytes or more")

// told is what one gateway hears.
type told struct {
	peer   string
	report Report
	gone   bool
}

// gate is one gateway in a test.
type gate struct {
	link  *Link
	heard chan told
	stop  func() // and wait
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a gateway that tells the same all the time.
func start(t *testing.T, l net.Listener, secret []byte, peers []string, r Report) *gate {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate{heard: make(chan told)}
	hear := func(x told) {
		select {
		case g.heard <- x:
		case <-ctx.Done():
		}
	}
	var err error
	g.link, err = New(Config{
		Listener: l, Name: l.Addr().String(), Peers: peers, Secret: secret, Every: time.Millisecond,
		Report: func() Report { return r },
		Heard:  func(peer string, r Report) { hear(told{peer, r, false}) },
		Gone:   func(peer string) { hear(told{peer, Report{}, true}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { g.link.Run(ctx) })
	g.stop = func() { cancel(); running.Wait() }
	t.Cleanup(g.stop)
	return g
}

func spent(service string, n int64) Report {
	return Report{
		Spent:  map[string]policy.Spend{service: {Requests: n, Retries: 2, Hedged: 3, Hedges: 4, Tries: 5, Failures: 6}},
		Limits: map[uint64][]policy.KeySpend{7: {{Key: 8, N: 9}, {Key: 1<<64 - 1, N: 1<<32 - 1}}},
	}
}

// All of a system have the same list, themselves in it: each hears of each other one, and of nobody else; and that one
// is gone when it is.
func TestEachHearsOfTheOthers(t *testing.T) {
	const n = 3
	var listeners []net.Listener
	var addresses []string
	for range n {
		l := listen(t)
		listeners = append(listeners, l)
		addresses = append(addresses, l.Addr().String())
	}
	var gates []*gate
	for i, l := range listeners {
		gates = append(gates, start(t, l, secret, addresses, spent("web", int64(i))))
	}
	last := "" // the instance of the last of them
	for i, g := range gates {
		from := map[string]int64{}
		for len(from) < n-1 {
			x := <-g.heard
			if x.gone { // where the machine stands still for longer than a silence may last: it comes again
				delete(from, x.peer)
				continue
			}
			who := x.report.Spent["web"].Requests
			if want := spent("web", who); !reflect.DeepEqual(x.report, want) {
				t.Fatalf("gateway %d heard %+v, want %+v", i, x.report, want)
			}
			from[x.peer] = who
		}
		for peer, who := range from {
			if who == int64(i) {
				t.Errorf("gateway %d hears of itself, as %s", i, peer)
			}
			if who == n-1 {
				last = peer
			}
		}
	}
	drain := func(g *gate, until func(told) bool) {
		for x := range g.heard {
			if until(x) {
				return
			}
		}
	}
	gates[2].stop()
	for _, g := range gates[:2] {
		drain(g, func(x told) bool { return x.gone && x.peer == last })
	}
	// One that was not listened to for too long was cut off, and comes again.
	drain(gates[0], func(told) bool {
		for i, p := range gates[0].link.Peers() {
			if p.Address != addresses[i] || p.Reports != (i == 1) {
				return false
			}
		}
		return true
	})
}

// between stands in the middle of a connection, and remembers and changes what goes to the listener.
func between(t *testing.T, to string, change func(offset int, b []byte)) (address string, seen func() []byte) {
	l := listen(t)
	var mu sync.Mutex
	var all []byte
	var running sync.WaitGroup
	running.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			running.Go(func() { _, _ = io.Copy(a, b); a.Close() })
			running.Go(func() {
				defer b.Close()
				buf := make([]byte, 4096)
				for n := 0; ; {
					k, err := a.Read(buf)
					if err != nil {
						return
					}
					if change != nil {
						change(n, buf[:k])
					}
					n += k
					mu.Lock()
					all = append(all, buf[:k]...)
					mu.Unlock()
					if _, err := b.Write(buf[:k]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().String(), func() []byte { mu.Lock(); defer mu.Unlock(); return bytes.Clone(all) }
}

// What was recorded is not believed when it is sent again.
func TestReplayIsNotBelieved(t *testing.T) {
	lb := listen(t)
	b := start(t, lb, secret, []string{"127.0.0.1:1"}, Report{})
	middle, seen := between(t, lb.Addr().String(), nil)
	a := start(t, listen(t), secret, []string{middle}, spent("web", 1))
	<-b.heard
	<-b.heard
	a.stop()
	for x := range b.heard {
		if x.gone {
			break
		}
	}
	conn, err := net.Dial("tcp", lb.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(seen())
	_, _ = io.Copy(io.Discard, conn) // it is closed
	select {
	case x := <-b.heard:
		t.Errorf("it believed %+v", x)
	default:
	}
}

// What was changed on the way is not believed, whichever byte it is.
func TestChangedReportIsNotBelieved(t *testing.T) {
	own, nonce := id{1}, []byte(nil)
	report := spent("web", 1).append(nil)
	frame := func() []byte { // of a session with fixed numbers
		a, b := net.Pipe()
		defer a.Close()
		s := &session{conn: b, mac: key(secret, own[:], nonce)}
		go func() { _ = s.send(report, time.Minute); b.Close() }()
		all, _ := io.ReadAll(a)
		return all
	}()
	receive := func(data []byte) (Report, error) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		go func() { _, _ = b.Write(data); b.Close() }()
		s := newSession(a, key(secret, own[:], nonce))
		return s.receive(time.Minute)
	}
	if r, err := receive(frame); err != nil || !reflect.DeepEqual(r, spent("web", 1)) {
		t.Fatalf("as it was sent: %+v %v", r, err)
	}
	for i := range frame {
		changed := bytes.Clone(frame)
		changed[i] ^= 0x10
		if r, err := receive(changed); err == nil {
			t.Errorf("byte %d changed: it believed %+v", i, r)
		}
	}
}

func TestStrangersAreNotBelieved(t *testing.T) {
	lb := listen(t)
	b := start(t, lb, secret, []string{"127.0.0.1:1"}, Report{})
	a := start(t, listen(t), []byte("another secret, as long"), []string{lb.Addr().String()}, spent("web", 1))
	for { // until it has tried and knows
		if p := a.link.Peers()[0]; strings.Contains(p.Error, "does not know the secret") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, hello := range []string{"", "GET / HTTP/1.1\r\n\r\n", magic, magic + strings.Repeat("x", 500)} {
		conn, err := net.Dial("tcp", lb.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, hello)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	select {
	case x := <-b.heard:
		t.Errorf("it believed %+v", x)
	default:
	}
	if _, err := New(Config{Secret: []byte("short")}); err == nil {
		t.Error("a short secret is taken")
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte{})
	f.Add(Report{}.append(nil))
	f.Add(spent("web", 1<<62).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err != nil {
			return
		}
		again, err := parseReport(r.append(nil))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%x: %+v, written and read again %+v %v", b, r, again, err)
		}
	})
}

// spoken is a connection on which the other side says all that it will say at once.
type spoken struct {
	net.Conn
	in io.Reader
}

func (s *spoken) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *spoken) Write(p []byte) (int, error) { return len(p), nil }
func (s *spoken) SetDeadline(time.Time) error { return nil }

// Nobody is believed without the secret, whatever is said; and of what one with the secret says, nothing does harm.
func FuzzGreeting(f *testing.F) {
	own := drawn()
	f.Add([]byte(magic + strings.Repeat("i", 16) + strings.Repeat("n", 16) + "\x03abc" + strings.Repeat("m", 16)))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := greet(&spoken{in: bytes.NewReader(b)}, secret, own); err == nil {
			t.Fatalf("%q is believed: %+v", b, s)
		}
		if s, err := call(&spoken{in: bytes.NewReader(b)}, secret, own, "me"); err == nil {
			t.Fatalf("%q is taken for a gateway: %+v", b, s)
		}
		// One whose key is known.
		s := newSession(&spoken{in: bytes.NewReader(b)}, key(secret))
		if _, err := s.receive(time.Second); err == nil {
			t.Fatalf("%q is a report", b)
		}
		if len(b) > 1<<16 {
			return
		}
		var sent bytes.Buffer
		from := newSession(&writes{to: &sent}, key(secret))
		if err := from.send(b, time.Second); err != nil {
			t.Fatal(err)
		}
		to := newSession(&spoken{in: &sent}, key(secret))
		if _, err := to.receive(time.Second); err != nil && !errors.Is(err, errReport) {
			t.Fatalf("%q was sent, and came as %v", b, err)
		}
	})
}

type writes struct {
	net.Conn
	to *bytes.Buffer
}

func (w *writes) Write(p []byte) (int, error) { return w.to.Write(p) }
func (w *writes) SetDeadline(time.Time) error { return nil }
