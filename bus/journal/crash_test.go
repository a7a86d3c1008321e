package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

var errNoPower = errors.New("no power")

// fragileDisk loses, when the power goes, any part of what was written and not synced.
type fragileDisk struct {
	mu    sync.Mutex
	dark  bool
	files []*fragileFile
}

type fragileFile struct {
	File
	disk    *fragileDisk
	pending []write
}

type write struct {
	at   int64
	data []byte
}

func (d *fragileDisk) open(path string) (File, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ff := &fragileFile{File: f, disk: d}
	d.files = append(d.files, ff)
	return ff, nil
}

func (f *fragileFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dark {
		return 0, errNoPower
	}
	f.pending = append(f.pending, write{at, append([]byte(nil), p...)})
	return len(p), nil
}

func (f *fragileFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dark {
		return errNoPower
	}
	for _, w := range f.pending {
		if _, err := f.File.WriteAt(w.data, w.at); err != nil {
			return err
		}
	}
	f.pending = nil
	return nil
}

func (f *fragileFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dark {
		return errNoPower
	}
	for _, w := range f.pending {
		f.File.WriteAt(w.data, w.at)
	}
	f.pending = nil
	return f.File.Truncate(size)
}

// powerOff has any part of each write that was not synced reach the disk, in no order.
func (d *fragileDisk) powerOff(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dark = true
	for _, f := range d.files {
		for _, w := range f.pending {
			from, to := 0, len(w.data)
			switch rng.IntN(4) {
			case 0:
				continue
			case 1:
				to = rng.IntN(to)
			case 2:
				from = rng.IntN(to)
			}
			f.File.WriteAt(w.data[from:to], w.at+int64(from))
		}
	}
}

// Whatever the power's going leaves of what was not synced, all that was acknowledged is found again, in order, and nothing that
// was never written.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 2))
		dir := t.TempDir()
		var acked []string // of all lives
		known := map[string]bool{}
		for life := range 3 {
			disk := &fragileDisk{}
			var got []string
			j, err := Open(Options{Dir: dir, SegmentBytes: 2048, OpenFile: disk.open}, func(_ Position, data []byte) error {
				got = append(got, string(data))
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			checkFound(t, fmt.Sprintf("seed %d, life %d", seed, life), got, acked, known)
			acked = got // what was found is on disk, whether it was acknowledged or not
			var mu sync.Mutex
			n := 20 + rng.IntN(60)
			off := rng.IntN(n)
			var waiting sync.WaitGroup
			for i := range n {
				data := fmt.Sprintf("%d-%d-%s", life, i, strings.Repeat("x", rng.IntN(200)))
				known[data] = true
				durable := rng.IntN(2) == 0
				waiting.Add(1)
				err := j.Append(Record{Data: []byte(data), Durable: durable, Refusable: true, Done: func(_ Position, err error) {
					defer waiting.Done()
					if err == nil && durable {
						mu.Lock()
						acked = append(acked, data)
						mu.Unlock()
					}
				}})
				if err != nil {
					waiting.Done()
				}
				if rng.IntN(3) == 0 {
					waiting.Wait()
				}
				if i == off {
					disk.powerOff(rng)
				}
			}
			waiting.Wait()
			j.Close()
		}
	}
}

// checkFound wants all of want in got, in the same order, and in got only what is known.
func checkFound(t *testing.T, when string, got, want []string, known map[string]bool) {
	t.Helper()
	i := 0
	for _, g := range got {
		if !known[g] {
			t.Fatalf("%s: found %q, which was never written", when, g)
		}
		if i < len(want) && g == want[i] {
			i++
		}
	}
	if i < len(want) {
		t.Fatalf("%s: %d of %d acknowledged records are found; %.20q is missing", when, i, len(want), want[i])
	}
}
