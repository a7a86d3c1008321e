package observe

import (
	"bytes"
	"fmt"
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

// TestDecodeOldFormats reads what earlier versions recorded of the same system: before waiting was counted, and before refusals were.
func TestDecodeOldFormats(t *testing.T) {
	for format := 1; format < codecVersion; format++ {
		b, err := os.ReadFile(fmt.Sprintf("testdata/interval-format-%d.bin", format))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(b)
		if err != nil {
			t.Fatalf("format %d: %v", format, err)
		}
		want := someInterval(t)
		for i := range want.Processes {
			if format == withoutWaited {
				want.Processes[i].Waited = 0
			}
		}
		if !reflect.DeepEqual(got.Processes, want.Processes) || got.Machine != want.Machine {
			t.Errorf("format %d: got %+v\nwant %+v", format, got.Processes, want.Processes)
		}
		for i, c := range got.Edges {
			if w := want.Edges[i]; c.Requests != w.Requests || c.Refused != 0 || c.Sum != w.Sum || !reflect.DeepEqual(c.ByCode, w.ByCode) {
				t.Errorf("format %d: edge %d is %+v, want %+v", format, i, c, w)
			}
		}
	}
}

// TestBoundsAndRefusalsAreKept follows both from samples through the stored form into a window. A bound that is not there for all of
// it counts for as long as it is.
func TestBoundsAndRefusalsAreKept(t *testing.T) {
	var tr tracker
	total := newSums(Digits)
	c := newCalls("", Outside, "web")
	for i, limit := range []int64{100, 100, 130, 0} {
		for range 5 * i {
			c.answer(time.Microsecond, 503)
			c.Refused++
		}
		c.answer(time.Millisecond, 503) // of web itself
		s := Sample{At: at(float64(i)), Edges: []CallCounters{c.snapshot()}}
		if limit > 0 {
			s.Bounds = []BoundState{{Service: "web", Limit: limit}}
		}
		iv, ok := tr.next(&s)
		if !ok {
			continue
		}
		got, err := decode(encode(iv))
		if err != nil {
			t.Fatal(err)
		}
		if err := total.add(got); err != nil {
			t.Fatal(err)
		}
	}
	sum := total.interval()
	if e := sum.Edges[0]; e.Refused != 30 || e.Errors != 33 {
		t.Errorf("%d refused of %d errors, want 30 of 33", e.Refused, e.Errors)
	}
	if len(sum.Bounds) != 1 || sum.Bounds[0] != (BoundMean{Service: "web", Limit: 115}) {
		t.Errorf("bounds %+v, want web at 115", sum.Bounds)
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
