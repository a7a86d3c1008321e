package engine_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/engine"
	"github.com/banyanhq/banyan/store/shard"
)

// filled is a disk with a table of so many items, which a process left that was killed.
func filled(t *testing.T, items int) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewCrashableMem()
	e, stop := run(t, engine.Config{FS: disk})
	defer stop()
	table := define(t, e, counted())
	for n := range items {
		res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: attr.Item{{Name: "n", Value: number(int64(n))}, {Name: "w", Value: text(strings.Repeat("w", 500))}}})
		if err != nil || res.Code != shard.OK {
			t.Fatalf("writing: %+v, %v", res, err)
		}
	}
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
}

// rewrite changes what is in a file.
func rewrite(t *testing.T, disk vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	f, err := disk.Open(path.Join("data", name))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := disk.Create(path.Join("data", name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(change(slices.Clone(data))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// used is how much of a file is not zeros at its end.
func used(data []byte) int {
	n := len(data)
	for n > 0 && data[n-1] == 0 {
		n--
	}
	return n
}

// TestDamagedLogIsNotOpened damages the logs that a killed process left: in their middle, which pebble finds out by itself for the
// write-ahead log, and at their ends, which look like what a crash tore.
func TestDamagedLogIsNotOpened(t *testing.T) {
	const items = 60 // which fit into one log: of an older one, the mark of its end may be damaged without harm
	for _, kind := range []string{".log", "MANIFEST-", "SYNCED"} {
		for _, place := range []string{"begin", "middle", "end"} {
			for how, change := range map[string]func([]byte, int) []byte{
				"flipped":   func(data []byte, at int) []byte { data[at] ^= 16; return data },
				"truncated": func(data []byte, at int) []byte { return data[:at] },
			} {
				if kind == "SYNCED" && how == "flipped" && place != "begin" {
					continue // there is not so much in it
				}
				t.Run(fmt.Sprint(kind, " ", how, " ", place), func(t *testing.T) {
					disk := filled(t, items)
					names, err := disk.List("data")
					if err != nil {
						t.Fatal(err)
					}
					at := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, kind) || strings.HasSuffix(name, kind) })
					rewrite(t, disk, names[at], func(data []byte) []byte {
						n := used(data)
						return change(data, map[string]int{"begin": 5, "middle": n / 2, "end": n - 5}[place])
					})
					e, err := engine.Open(engine.Config{Dir: "data", FS: disk})
					if err == nil {
						_ = e.Close()
					}
					if !pebble.IsCorruptionError(err) {
						t.Errorf("%s: %v", names[at], err)
					}
				})
			}
		}
	}
}

// TestWithoutNotesWhatCanBeReadIsOpened is the way out for people who have nothing better than the damaged data, and that of data which
// an older version left.
func TestWithoutNotesWhatCanBeReadIsOpened(t *testing.T) {
	disk := filled(t, 20)
	names, _ := disk.List("data")
	at := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") })
	rewrite(t, disk, names[at], func(data []byte) []byte { return data[:used(data)-5] })
	if err := disk.Remove("data/SYNCED"); err != nil {
		t.Fatal(err)
	}
	e, stop := run(t, engine.Config{FS: disk})
	defer stop()
	if e.Table("counted") == nil {
		t.Error("the table is gone")
	}
}

// TestNotesFollowTheLogs opens data again and again, with logs that are taken into use anew, and removed: in memory, and on a disk, where
// zeros are written ahead of them.
func TestNotesFollowTheLogs(t *testing.T) {
	for name, cfg := range map[string]engine.Config{"memory": {FS: vfs.NewMem()}, "disk": {FS: vfs.Default, Dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) { notesFollow(t, cfg) })
	}
}

func notesFollow(t *testing.T, cfg engine.Config) {
	for n := range 5 {
		e, stop := run(t, cfg)
		if n == 0 {
			define(t, e, counted())
		}
		table := e.Table("counted")
		for i := range 40 {
			big := strings.Repeat(fmt.Sprint(i%10), 300<<10)
			res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: attr.Item{{Name: "n", Value: number(int64(i))}, {Name: "v", Value: text(big)}, {Name: "w", Value: text("w")}}})
			if err != nil || res.Code != shard.OK {
				t.Fatalf("writing: %+v, %v", res, err)
			}
		}
		stop()
	}
}
