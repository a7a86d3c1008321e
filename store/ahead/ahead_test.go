package ahead_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/ahead"
)

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func open(t *testing.T, disk *vfs.MemFS) *pebble.DB {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{FS: ahead.FS(disk), FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}, MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func closed(t *testing.T, db *pebble.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func key(n int) []byte { return fmt.Appendf(nil, "%08d", n) }

// TestSyncedIsThereAfterCrash crashes a database again and again, while it writes its first log, later ones, and logs in files that it
// reuses, with whatever part of what was not synced that got to the disk.
func TestSyncedIsThereAfterCrash(t *testing.T) {
	disk := vfs.NewCrashableMem()
	db := open(t, disk)
	defer closed(t, db)
	n := 0
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		for range r.IntN(100) {
			if err := db.Set(key(n), make([]byte, r.IntN(8000)), pebble.Sync); err != nil {
				t.Fatal(err)
			}
			n++
		}
		if err := db.Set([]byte("not synced"), make([]byte, 3000), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		after := open(t, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r}))
		for i := range n {
			if _, closer, err := after.Get(key(i)); err != nil {
				t.Fatalf("key %d of %d: %v", i, n, err)
			} else if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
		}
		closed(t, after)
	}
}

func TestLogGrowsAhead(t *testing.T) {
	disk := vfs.NewCrashableMem()
	db := open(t, disk)
	defer closed(t, db)
	content := func() []byte {
		names, err := disk.List("db")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !bytes.HasSuffix([]byte(name), []byte(".log")) {
				continue
			}
			f, err := disk.Open(disk.PathJoin("db", name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, info.Size())
			if _, err := f.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			return b
		}
		t.Fatal("no log")
		return nil
	}
	if err := db.Set(key(0), key(0), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	before := content()
	for n := range 100 {
		if err := db.Set(key(n), key(n), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	after := content()
	if len(before) != len(after) {
		t.Errorf("writes made the log grow from %d to %d bytes", len(before), len(after))
	}
	if rest := after[len(after)-4096:]; !bytes.Equal(rest, make([]byte, 4096)) {
		t.Error("the end of the log is not zeros")
	}
}
