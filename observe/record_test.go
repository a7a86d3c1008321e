package observe

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func record(t *testing.T, dir string, cfg RecordConfig, from, n int) {
	t.Helper()
	cfg.Dir = dir
	o := newTestObserver(t, Config{System: "shop", Version: "1.0", Record: cfg})
	c := newCalls("GET /", "", "")
	for i := range n {
		for range 10 {
			c.answer(time.Duration(i+1)*time.Millisecond, 200)
		}
		o.Observe(Sample{At: at(float64(from + i)), Routes: []CallCounters{c.snapshot()}})
	}
	o.close()
}

func TestRecordingOfTwoRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "samples")
	record(t, dir, RecordConfig{}, 0, 31)
	record(t, dir, RecordConfig{}, 1000, 21)
	r, err := ReadRecording(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 2 || !r.Runs[0].From.Equal(at(0)) || !r.Runs[0].To.Equal(at(30)) || !r.Last().From.Equal(at(1000)) || r.Last().System != "shop" {
		t.Fatalf("runs: %+v", r.Runs)
	}
	for name, c := range map[string]struct {
		from, to time.Time
		want     int64
		covered  time.Duration
	}{
		"the last run": {time.Time{}, time.Time{}, 200, 20 * time.Second},
		"everything":   {at(-5), at(2000), 500, 50 * time.Second},
		"a part":       {at(10), at(15), 50, 5 * time.Second},
	} {
		w, err := r.Window(c.from, c.to)
		if err != nil {
			t.Fatal(name, err)
		}
		if got, _ := w.Route("GET /"); got.Requests != c.want || w.Covered != c.covered || w.Precision != Digits || got.Latency.Count() != c.want {
			t.Errorf("%s: %d requests in %v at %d digits, want %d in %v", name, got.Requests, w.Covered, w.Precision, c.want, c.covered)
		}
	}
	if _, err := r.Window(at(500), at(600)); !errors.Is(err, ErrNoData) {
		t.Errorf("between the runs: %v", err)
	}
}

// TestTornRecording cuts a recording at every byte: each whole interval before the cut is read, and nothing else.
func TestTornRecording(t *testing.T) {
	dir := t.TempDir()
	record(t, dir, RecordConfig{}, 0, 6)
	names, err := recordFiles(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	for n := range len(whole) + 1 {
		if err := os.WriteFile(names[0], whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		requests := int64(0)
		r, err := ReadRecording(dir)
		if err == nil {
			w, err := r.Window(time.Time{}, time.Time{})
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			requests = w.Routes[0].Requests
		} else if !errors.Is(err, ErrNoData) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if requests%10 != 0 || requests < last || requests > last+10 && last >= 0 {
			t.Fatalf("%d bytes: %d requests after %d", n, requests, last)
		}
		last = requests
	}
	if last != 50 {
		t.Errorf("the whole file has %d requests", last)
	}
	// A damaged byte in the middle ends the reading there.
	damaged := append([]byte(nil), whole...)
	damaged[len(damaged)/2] ^= 0x40
	if err := os.WriteFile(names[0], damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRecording(dir); err != nil || r.Last().Torn != 1 || !r.Last().To.Before(at(5)) {
		t.Errorf("damaged: %+v, %v", r, err)
	}
}

func TestRecordingRotates(t *testing.T) {
	dir := t.TempDir()
	cfg := RecordConfig{FileSize: 2000, TotalSize: 10000}
	record(t, dir, cfg, 0, 1000)
	names, err := recordFiles(dir)
	if err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	total := int64(0)
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > cfg.FileSize {
			t.Errorf("%s has %d bytes", n, info.Size())
		}
		total += info.Size()
	}
	if total > cfg.TotalSize {
		t.Errorf("%d bytes in all", total)
	}
	r, err := ReadRecording(dir)
	if err != nil || len(r.Runs) != 1 || !r.Last().To.Equal(at(999)) || r.Last().From.Equal(at(0)) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRecordingGoesOnAfterFailure(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "samples")
	if err := os.WriteFile(dir, nil, 0o644); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	o := newTestObserver(t, Config{Record: RecordConfig{Dir: dir}})
	for i := range 5 {
		o.Observe(Sample{At: at(float64(i))})
	}
	if o.counts.recordErrors != 4 {
		t.Errorf("%d errors, want 4", o.counts.recordErrors)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	o.Observe(Sample{At: at(5)})
	o.close()
	r, err := ReadRecording(dir)
	if err != nil || !r.Last().From.Equal(at(4)) || !r.Last().To.Equal(at(5)) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReadRecordingRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadRecording(dir); !errors.Is(err, ErrNoData) {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := ReadRecording(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "samples-x.banyan"), frame([]byte(`{"magic":"other"}`)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecording(dir); err == nil || errors.Is(err, ErrNoData) {
		t.Errorf("foreign file: %v", err)
	}
}

func FuzzReadRecording(f *testing.F) {
	header := frame([]byte(`{"magic":"banyan samples"}`))
	f.Add(append(header, frame(encode(&Interval{Start: at(0), End: at(1), digits: 2}))...))
	f.Add(append(header, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "samples-1.banyan"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := ReadRecording(dir); err == nil {
			_, _ = r.Window(time.Time{}, time.Time{}) // any answer but a panic
		}
	})
}
