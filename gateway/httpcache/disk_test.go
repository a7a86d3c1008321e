package httpcache

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// onDisk is a rig whose cache has a disk tier in dir.
func onDisk(t *testing.T, dir string, disk int64) *rig {
	g := newRigWith(t, Config{Dir: dir, Disk: disk}, Rules{})
	if err := g.cache.Open(); err != nil {
		t.Fatal(err)
	}
	return g
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockFile {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDiskSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	g := onDisk(t, dir, 1<<20)
	g.origin = g.answer("200 | Cache-Control: max-age=600 | Vary: Foo | X-A: 1")
	g.do("GET /a", "Foo: 1")
	g.do("GET /b")
	g.cache.Close()

	g = onDisk(t, dir, 1<<20)
	g.origin = g.answer("200")
	g.advance(10 * time.Second)
	g.playStep(0, step{ask: "GET /a | Foo: 1", want: "cache", body: "answer 1", fields: "Age: 10 | X-A: 1"})
	g.playStep(1, step{ask: "GET /a | Foo: 2", want: "origin"})
	if n, err := g.cache.Purge(Purge{Path: "/b"}); n != 1 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	g.playStep(2, step{ask: "GET /b", want: "origin"})
}

// Whatever byte of a file is changed, or wherever it is cut off, it counts as not being there.
func TestDiskFindsCorruption(t *testing.T) {
	dir := t.TempDir()
	g := onDisk(t, dir, 1<<20)
	g.origin = g.answer("200 | Cache-Control: max-age=600")
	g.do("GET /a")
	g.cache.Close()
	all := files(t, dir)
	if len(all) != 1 {
		t.Fatalf("files %v", all)
	}
	good, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := decode(good); !ok {
		t.Fatal("what was written cannot be read")
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, ok := decode(bad); ok {
			t.Errorf("byte %d changed: not noticed", i)
		}
		if _, ok := decode(good[:i]); ok {
			t.Errorf("cut off at %d: not noticed", i)
		}
	}
	good[len(good)-40] ^= 1 // in the body
	if err := os.WriteFile(all[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "half.tmp"), good[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	g = onDisk(t, dir, 1<<20)
	g.origin = g.answer("200")
	g.playStep(0, step{ask: "GET /a", want: "origin"})
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Two caches, the second of which takes the folder over from the first: what was stored is there at once, what was purged
// before the folder was open is not, and what was stored meanwhile is written.
func TestDiskIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	first := onDisk(t, dir, 1<<20)
	first.origin = first.answer("200 | Cache-Control: max-age=600")
	first.do("GET /a")
	first.do("GET /b")
	if err := newRigWith(t, Config{Dir: dir}, Rules{}).cache.Open(); !errors.Is(err, errInUse) {
		t.Errorf("a folder that is in use was opened: %v", err)
	}
	second := newRigWith(t, Config{Dir: dir, Disk: 1 << 20}, Rules{})
	second.origin = second.answer("200 | Cache-Control: max-age=600")
	if err := second.cache.OpenLater(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	second.cache.disk.soon = time.Now().Add(time.Minute) // this machine may be busy
	if _, err := second.cache.Purge(Purge{Path: "/b"}); err != nil {
		t.Fatal(err)
	}
	first.cache.Release()
	first.do("GET /late") // is in memory only
	second.playStep(0, step{ask: "GET /a", want: "cache", body: "answer 1"})
	second.playStep(1, step{ask: "GET /b", want: "origin"})
	second.playStep(2, step{ask: "GET /late", want: "origin"})
	if n, err := first.cache.Purge(Purge{Path: "/a"}); n != 1 || err != nil { // it may still take away what is not valid
		t.Errorf("purged %d, %v", n, err)
	}
	first.cache.Close()
	second.cache.Close()
	third := onDisk(t, dir, 1<<20)
	third.origin = third.answer("200")
	third.playStep(0, step{ask: "GET /b", want: "cache", body: "answer 1"})
	third.playStep(1, step{ask: "GET /a", want: "origin"})
}

// Whatever is purged before the folder is open, if it is too much to be remembered nothing of the folder is used.
func TestManyPurgesBeforeTheDiskIsOpen(t *testing.T) {
	dir := t.TempDir()
	first := onDisk(t, dir, 1<<20)
	first.origin = first.answer("200 | Cache-Control: max-age=600")
	first.do("GET /a")
	second := newRigWith(t, Config{Dir: dir, Disk: 1 << 20}, Rules{})
	second.origin = second.answer("200")
	if err := second.cache.OpenLater(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	second.cache.disk.soon = time.Now().Add(time.Minute) // this machine may be busy
	for range maxEarly + 1 {
		if _, err := second.cache.Purge(Purge{Path: "/none"}); err != nil {
			t.Fatal(err)
		}
	}
	first.cache.Close()
	second.playStep(0, step{ask: "GET /a", want: "origin"})
}
