package load

import (
	"net"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// benchServer answers every request with 12 bytes and does as little as it can for it.
func benchServer(b testing.TB) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func benchSession(b testing.TB, st *topology.Step) (*session, *step) {
	b.Helper()
	w := getWorkload()
	w.Users = 1
	w.Scenarios["s"].Steps = []*topology.Step{st}
	r, _, err := prepare(Config{Target: "http://" + benchServer(b), Workload: w})
	if err != nil {
		b.Fatal(err)
	}
	r.origin, r.ctx, r.stop = time.Now(), b.Context(), b.Context().Done()
	r.rec.end = time.Hour
	s := newSession(r, 0)
	own := r.targets.all[0].newCaller()
	s.own = []caller{own}
	b.Cleanup(own.close)
	s.begin(r.plan.scenarios[0])
	return s, r.plan.scenarios[0].steps[0]
}

// A plain request, whole: written, sent over loopback, its answer read and recorded. The server's half is in the time.
func BenchmarkRequest(b *testing.B) {
	for name, st := range map[string]*topology.Step{
		"plain":     {Path: "/"},
		"templated": {Path: "/p/${random:1:1000}?u=${user}", Method: "POST", JSON: map[string]any{"id": "${zipf:1:100}", "by": "user ${user}"}},
	} {
		b.Run(name, func(b *testing.B) {
			s, step := benchSession(b, st)
			started := false
			b.ReportAllocs()
			for b.Loop() {
				if o, ok := s.perform(step, s.run.now(), &started, 0); !ok || o.kind != "" {
					b.Fatal(o.kind)
				}
			}
		})
	}
}

// The same without the network: an answer that is there already.
func BenchmarkParse(b *testing.B) {
	raw := []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 18:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\nhello world\n")
	x := exchange{method: "GET"}
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r := reader{buf: buf, end: copy(buf, raw), limit: 1 << 20}
		if keep, err := r.answer(&x); !keep || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPoisson(b *testing.B) {
	p, err := Steady(1e6, time.Hour)
	mustProfile(b, p, err)
	s := NewPoisson(p, 1)
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.At(n); !ok {
			b.Fatal("the schedule has ended")
		}
		n++
	}
}

// No allocation for a request in steady state: a plain one, and one with values made for it.
func TestNoAllocation(t *testing.T) {
	for _, path := range []string{"/", "/p/${random:1:1000}?u=${user}&z=${zipf:1:9}&i=${uuid}&c=${pick:a,b}"} {
		s, step := benchSession(t, &topology.Step{Path: path})
		started := false
		one := func() {
			if o, ok := s.perform(step, s.run.now(), &started, 0); !ok || o.kind != "" {
				t.Fatal(o.kind)
			}
		}
		for range 100 {
			one()
		}
		if n := testing.AllocsPerRun(500, one); n > 0 { // on average: a histogram that meets a larger value grows
			t.Errorf("%s: %v allocations for a request", path, n)
		}
	}
}
