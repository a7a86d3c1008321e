package observe

import (
	"bytes"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
)

func TestPackedHistogramKeepsEverything(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for digits := 1; digits <= 4; digits++ {
		for range 50 {
			h := stats.NewHistogram(digits)
			for range r.IntN(300) {
				h.RecordN(r.Int64N(1<<(1+r.IntN(45))), r.Int64N(1000))
			}
			got := stats.NewHistogram(digits)
			if err := pack(h).addTo(got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Buckets(), h.Buckets()) || got.Max() != h.Max() {
				t.Fatalf("%d digits: %v, want %v", digits, got.Buckets(), h.Buckets())
			}
			for q := 0.0; q <= 1; q += 0.05 {
				if got.Quantile(q) != h.Quantile(q) {
					t.Fatalf("%d digits: quantile %v is %d, want %d", digits, q, got.Quantile(q), h.Quantile(q))
				}
			}
		}
	}
}

// someInterval is one of the reference system, with all that an interval can hold.
func someInterval(t testing.TB) *Interval {
	var tr tracker
	sample := reference(10)
	for i := range 3 {
		s := sample(i)
		if iv, ok := tr.next(&s); ok && i == 2 {
			return iv
		}
	}
	t.Fatal("no interval")
	return nil
}

func TestCodecRoundTrip(t *testing.T) {
	iv := someInterval(t)
	b := encode(iv)
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := encode(got); !bytes.Equal(again, b) {
		t.Error("what was read is written differently")
	}
	total, want := newSums(Digits), newSums(Digits)
	if err := total.add(got); err != nil {
		t.Fatal(err)
	}
	if err := want.add(iv); err != nil {
		t.Fatal(err)
	}
	g, w := total.interval(), want.interval()
	if !reflect.DeepEqual(g.Attributed, w.Attributed) || !reflect.DeepEqual(g.Processes, w.Processes) || g.Machine != w.Machine {
		t.Errorf("got %+v\nwant %+v", g, w)
	}
	for i, c := range g.Edges {
		e := w.Edges[i]
		if c.Requests != e.Requests || c.Sum != e.Sum || c.InFlight != e.InFlight || !reflect.DeepEqual(c.ByCode, e.ByCode) ||
			!reflect.DeepEqual(c.Latency.Buckets(), e.Latency.Buckets()) || c.Quantile(1) != e.Quantile(1) {
			t.Errorf("edge %d: got %+v, want %+v", i, c, e)
		}
	}
}

// TestDecodeFormat1 reads what an earlier version recorded of the same system, before waiting was counted.
func TestDecodeFormat1(t *testing.T) {
	b, err := os.ReadFile("testdata/interval-format-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	want := someInterval(t)
	for i := range want.Processes {
		want.Processes[i].Waited = 0
	}
	if !reflect.DeepEqual(got.Processes, want.Processes) || got.Machine != want.Machine {
		t.Errorf("got %+v\nwant %+v", got.Processes, want.Processes)
	}
}

func TestDecodeRefusesPieces(t *testing.T) {
	b := encode(someInterval(t))
	for n := range len(b) {
		if _, err := decode(b[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read as a whole", n, len(b))
		}
	}
	if _, err := decode(append(b, 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(&Interval{Start: at(0), End: at(1), digits: 2}))
	iv := &Interval{Start: at(0), End: at(1), digits: 2, Routes: []CallSums{{Route: "r", Requests: 2, ByCode: map[int]int64{200: 2},
		Latency: stats.NewHistogram(2)}}, Attributed: []AttributedSums{{Route: "r", To: "web", Count: 1, Sum: time.Second}},
		Backends: []BackendSums{{Service: "web", Replica: "web-1", Requests: 1}}, Processes: []ProcessSums{{Service: "web", Replica: "web-1", CPU: 1}}}
	iv.Routes[0].Latency.RecordN(1e6, 2)
	f.Add(encode(iv))
	f.Fuzz(func(t *testing.T, b []byte) {
		iv, err := decode(b)
		if err != nil {
			return
		}
		written := encode(iv)
		again, err := decode(written)
		if err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if !bytes.Equal(encode(again), written) {
			t.Error("written twice, differently")
		}
		s := newSums(Digits)
		for range 2 {
			if s.add(iv) != nil {
				return // a damaged histogram
			}
		}
		out := s.interval()
		if out.Duration() <= 0 {
			t.Errorf("lasts %v", out.Duration())
		}
		for _, c := range out.Routes {
			if c.Requests < 0 || c.Sum < 0 || !(c.InFlight >= 0) {
				t.Errorf("negative: %+v", c)
			}
		}
	})
}
