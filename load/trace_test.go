package load

import (
	"bytes"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestParseTrace(t *testing.T) {
	tests := []struct {
		name, text string
		period     time.Duration // given
		want       time.Duration
		rates      []float64
		dated      bool
		err        string
	}{
		{name: "RFC 3339", text: "time,requests\n1998-04-30T21:30:00Z,60\n1998-04-30T21:31:00Z,120\n", want: time.Minute, rates: []float64{1, 2}, dated: true},
		{name: "date and time", text: "time,n\n2020-01-01 00:00:00,10\n2020-01-01 00:00:10,20\n", want: 10 * time.Second, rates: []float64{1, 2}, dated: true},
		{name: "epoch", text: "time,n\n1600000000,5\n1600000001,7\n", want: time.Second, rates: []float64{5, 7}, dated: true},
		{name: "index of hours", text: "hour,requests\n0,3600\n1,7200\n", want: time.Hour, rates: []float64{1, 2}},
		{name: "index of seconds", text: "second,users_or_rps\n0,3\n1,4\n2,0\n", want: time.Second, rates: []float64{3, 4, 0}},
		{name: "a rate", text: "time,rate,anomaly\n2018-04-25T00:00:00Z,1.5e3,0\n2018-04-25T00:01:00Z,2,0\n", want: time.Minute, rates: []float64{1500, 2}, dated: true},
		{name: "a gap", text: "second,n\n0,1\n1,2\n4,3\n", want: time.Second, rates: []float64{1, 2, 0, 0, 3}},
		{name: "one sample with period", text: "second,n\n0,10\n", period: 5 * time.Second, want: 5 * time.Second, rates: []float64{2}},
		{name: "one sample", text: "second,n\n0,10\n", err: "period"},
		{name: "empty", text: "", err: "header"},
		{name: "header only", text: "time,n\n", err: "no samples"},
		{name: "one column", text: "time\n1\n", err: "want time and count"},
		{name: "negative", text: "s,n\n0,-1\n", err: "line 2"},
		{name: "not a number", text: "s,n\n0,1\n1,x\n", err: "line 3"},
		{name: "no time", text: "time,n\nyesterday,1\n", err: "RFC 3339"},
		{name: "backwards", text: "s,n\n5,1\n4,1\n", err: "line 3"},
		{name: "repeated", text: "s,n\n0,1\n1,1\n1,1\n", err: "line 4"},
		{name: "far away", text: "s,n\n0,1\n1,1\n8000000000,1\n", err: "periods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseTrace(strings.NewReader(tt.text), tt.period)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one about %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.period != tt.want || len(s.rates) != len(tt.rates) || s.start.IsZero() == tt.dated {
				t.Fatalf("period %s, %d samples, start %s", s.period, len(s.rates), s.start)
			}
			for i, r := range tt.rates {
				if math.Abs(s.rates[i]-r) > 1e-9 {
					t.Errorf("sample %d is %v/s, want %v/s", i, s.rates[i], r)
				}
			}
		})
	}
}

func TestReplayKeepsTheCounts(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	zw.Write([]byte("minute,requests\n0,100\n1,300\n2,50\n3,10\n"))
	zw.Close()
	if err := os.WriteFile(filepath.Join(dir, "t.csv.gz"), packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	trace := &topology.Trace{File: "t.csv.gz", Speed: 60, From: topology.Duration(time.Minute), Length: topology.Duration(2 * time.Minute)}
	s, err := readTrace(trace, dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := replayOf(s, trace, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A minute of the trace in a second, with the counts as they are.
	if d := r.profile.Duration(); d != 2*time.Second {
		t.Errorf("two minutes 60 times faster take %s", d)
	}
	if a, b := r.profile.Expected(time.Second), r.profile.Total(); math.Abs(a-300) > 1e-6 || math.Abs(b-350) > 1e-6 {
		t.Errorf("%v arrivals in the first second and %v in all, want 300 and 350", a, b)
	}
	if r.bin() != time.Second {
		t.Errorf("a point of %s, want a second", r.bin())
	}
	if _, err := replayOf(s, &topology.Trace{File: "t", From: topology.Duration(time.Hour)}, 0); err == nil {
		t.Error("a part beyond the end is taken")
	}
	if _, err := readTrace(&topology.Trace{File: "none.csv"}, dir); err == nil {
		t.Error("a missing file is taken")
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add([]byte("time,requests\n1998-04-30T21:30:00Z,60\n1998-04-30T21:31:00Z,120\n"))
	f.Add([]byte("s,n\n0,1\n1,1e300\n"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseTrace(bytes.NewReader(data), 0)
		if err != nil {
			return
		}
		if s.period <= 0 || len(s.rates) == 0 || len(s.rates) > maxTraceSamples {
			t.Fatalf("period %s with %d samples", s.period, len(s.rates))
		}
		if r, err := replayOf(s, &topology.Trace{File: "f", Speed: 60}, 0); err == nil && r.profile.Total() > maxArrivals {
			t.Fatalf("%v arrivals", r.profile.Total())
		}
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
