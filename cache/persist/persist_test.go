package persist

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/cache/disk"
)

var errDisk = errors.New("no space left on device")

func whatever(int64) error { return nil }

// load returns what the frames of a file hold.
func load(dir disk.FS, name string) (l *Log, r Report, all []string, err error) {
	l, r, err = OpenLog(dir, name, func(b []byte) error {
		if len(b) > 0 {
			all = append(all, string(b))
		}
		return nil
	}, whatever)
	return l, r, all, err
}

func entry(i int) string { return fmt.Sprintf("entry %d %s", i, strings.Repeat("x", i*37%300)) }

// newLog returns a file that is safe, with n entries that are not.
func newLog(t *testing.T, dir disk.FS, n int) *Log {
	t.Helper()
	l, err := CreateLog(dir, "log")
	if err == nil {
		err = errors.Join(l.Sync(l.End()), dir.Sync())
	}
	for i := range n {
		err = errors.Join(err, l.Append([]byte(entry(i))))
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantEntries(t *testing.T, all []string, least, most int) {
	t.Helper()
	if len(all) < least || len(all) > most {
		t.Errorf("there are %d entries, want %d to %d", len(all), least, most)
	}
	for i, e := range all {
		if e != entry(i) {
			t.Errorf("entry %d is %q", i, e)
		}
	}
}

// Every prefix of a file is read up to the last entry that is whole, and goes on from there.
func TestEveryPrefix(t *testing.T) {
	dir := disk.NewDying()
	l := newLog(t, dir, 0)
	ends := []int64{l.End()}
	for i := range 12 {
		if err := l.Append([]byte(entry(i))); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, l.End())
	}
	whole := dir.Bytes("log")
	for n := headLen; n <= len(whole); n++ {
		cut := disk.NewDying()
		cut.Put("log", bytes.Clone(whole[:n]))
		l, r, all, err := load(cut, "log")
		if err != nil {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
		want := 0
		for want+1 < len(ends) && ends[want+1] <= int64(n) {
			want++
		}
		wantEntries(t, all, want, want)
		if r.Torn != int64(n)-ends[want] {
			t.Errorf("the first %d bytes: %d are torn, want %d", n, r.Torn, int64(n)-ends[want])
		}
		if err := l.Append([]byte(entry(want))); err != nil {
			t.Fatal(err)
		}
		if _, r, all, err := load(cut, "log"); err != nil || r.Torn != 0 {
			t.Fatalf("after going on behind %d bytes: %+v, %v", n, r, err)
		} else {
			wantEntries(t, all, want+1, want+1)
		}
	}
	for n := range headLen {
		cut := disk.NewDying()
		cut.Put("log", bytes.Clone(whole[:n]))
		var damage *DamageError
		if _, _, _, err := load(cut, "log"); !errors.As(err, &damage) {
			t.Errorf("%d bytes of the head: %v", n, err)
		}
	}
}

// Whatever a dying machine leaves of what was not synced is no damage, and what was synced is there.
func TestMachineDies(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		dir := disk.NewDying()
		l := newLog(t, dir, 0)
		written, safe := 0, 0
		for range rng.IntN(60) {
			if rng.IntN(4) == 0 {
				if err := l.Sync(l.End()); err != nil {
					t.Fatal(err)
				}
				safe = written
				continue
			}
			if err := l.Append([]byte(entry(written))); err != nil {
				t.Fatal(err)
			}
			written++
		}
		for range 2 { // it may die again, soon
			dir = dir.Crash(rng)
			l, _, all, err := load(dir, "log")
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			wantEntries(t, all, safe, written)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			written, safe = len(all), len(all)
			for range rng.IntN(5) {
				if err := l.Append([]byte(entry(written))); err != nil {
					t.Fatal(err)
				}
				written++
			}
		}
	}
}

// A bit that flips in a part that was synced is found and refused; the file is left alone, and can be cut off there.
func TestDamage(t *testing.T) {
	dir := disk.NewDying()
	l := newLog(t, dir, 5)
	safe := l.End()
	if err := l.Sync(safe); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append([]byte(entry(5))), l.Close()); err != nil {
		t.Fatal(err)
	}
	whole := dir.Bytes("log")
	for at := headLen; at < len(whole); at++ {
		bad := disk.NewDying()
		data := bytes.Clone(whole)
		data[at] ^= 4
		bad.Put("log", data)
		_, r, all, err := load(bad, "log")
		if at >= len(whole)-frameHead { // the last frame, which nobody speaks for
			if err != nil || r.Torn != frameHead {
				t.Errorf("byte %d of the last frame: %+v, %v", at, r, err)
			}
			continue
		}
		var damage *DamageError
		if !errors.As(err, &damage) {
			t.Fatalf("byte %d of %d flipped: %d entries, %+v, %v", at, len(whole), len(all), r, err)
		}
		if len(bad.Bytes("log")) != len(whole) {
			t.Errorf("byte %d: the file was changed", at)
		}
		if err := Cut(bad, "log", "aside", damage.At); err != nil {
			t.Fatal(err)
		}
		_, _, again, err := load(bad, "log")
		if err != nil || len(again) != len(all) || !bytes.Equal(bad.Bytes("aside"), data) {
			t.Fatalf("cut off at %d: %d entries of %d, %v", damage.At, len(again), len(all), err)
		}
	}
}

// A file within somebody's data is not taken for the file itself.
func TestFramesInData(t *testing.T) {
	other := disk.NewDying()
	newLog(t, other, 3)
	dir := disk.NewDying()
	l := newLog(t, dir, 0)
	within := bytes.Repeat(other.Bytes("log"), 3)
	if err := errors.Join(l.Append(within), l.Append(l.id[:]), l.Append(within)); err != nil {
		t.Fatal(err)
	}
	b := dir.Bytes("log")
	b[headLen+4] ^= 1
	dir.Put("log", b[:len(b)-1])
	if _, r, all, err := load(dir, "log"); err != nil || len(all) != 0 || r.Bytes != int64(headLen) {
		t.Errorf("%d entries, %+v, %v", len(all), r, err)
	}
}

// A write that fails leaves the file as it was; what apply or accept refuse is damage, and the file stays.
func TestFailures(t *testing.T) {
	dir := disk.NewDying()
	l := newLog(t, dir, 2)
	dir.FailWith(func(what, _ string) error {
		if what == "write" {
			return errDisk
		}
		return nil
	})
	if err := l.Append([]byte("lost")); !errors.Is(err, errDisk) || errors.Is(err, ErrBroken) {
		t.Error("a disk that is full:", err)
	}
	dir.FailWith(func(string, string) error { return errDisk })
	if err := l.Append([]byte("lost")); !errors.Is(err, ErrBroken) {
		t.Error("a disk that is full, and a file that can't be cut off:", err)
	}
	dir.FailWith(nil)
	if err := l.Append([]byte(entry(2))); err != nil {
		t.Fatal(err)
	}
	_, _, all, err := load(dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, all, 3, 3)
	var damage *DamageError
	if _, _, err := OpenLog(dir, "log", func([]byte) error { return errDisk }, whatever); !errors.As(err, &damage) || damage.At != int64(headLen) {
		t.Error("what can't be applied:", err)
	}
	b := dir.Bytes("log")
	n := len(b) - 1
	dir.Put("log", b[:n])
	if _, _, err := OpenLog(dir, "log", func([]byte) error { return nil }, func(torn int64) error { return errDisk }); !errors.As(err, &damage) || len(dir.Bytes("log")) != n {
		t.Error("a torn end that is not accepted:", err)
	}
}

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	dir, err := disk.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.OpenFolder(path); !errors.Is(err, disk.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Error("a folder that is in use:", err)
	}
	l := newLog(t, dir, 3)
	if err := errors.Join(l.Close(), dir.Rename("log", "new"), dir.Sync(), dir.Remove("log")); err != nil {
		t.Fatal(err)
	}
	l, _, all, err := load(dir, "new")
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, all, 3, 3)
	if err := errors.Join(l.Abandon(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	if dir, err = disk.OpenFolder(path); err != nil {
		t.Fatal("a folder that is free again:", err)
	}
	dir.Close()
}

// Any bytes are a file that is read, or refused.
func FuzzLoad(f *testing.F) {
	dir := disk.NewDying()
	l, err := CreateLog(dir, "log")
	if err != nil {
		f.Fatal(err)
	}
	for i := range 4 {
		if err := errors.Join(l.Append([]byte(entry(i))), l.Sync(l.End())); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(dir.Bytes("log")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := disk.NewDying()
		dir.Put("log", bytes.Clone(b))
		_, r, _, err := load(dir, "log")
		var damage *DamageError
		if err != nil && !errors.As(err, &damage) {
			t.Fatal(err)
		}
		if err == nil && int64(len(dir.Bytes("log"))) != r.Bytes {
			t.Fatalf("%d bytes are left, and %d were good", len(dir.Bytes("log")), r.Bytes)
		}
	})
}
