package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/shard"
)

// checked compares all replicas of all groups, and returns the nodes that are right in each and those that are not in one.
func (r *rig) checked(by uint64) (g GroupCheck) {
	r.t.Helper()
	r.nodes[by].Check()
	until(r.t, "the check has ended", func() bool { return !r.nodes[by].Checked().Running })
	for i, group := range r.nodes[by].Checked().Groups {
		if group.Problem != "" && len(g.Different) > 0 {
			continue // it was led by the node that has taken itself out since
		}
		g.Different = append(g.Different, group.Different...)
		if i == 0 {
			g.Equal = group.Equal
			continue
		}
		g.Equal = slices.DeleteFunc(slices.Clone(g.Equal), func(id uint64) bool { return !slices.Contains(group.Equal, id) })
	}
	return g
}

// mended waits until a node takes itself out, and has it come back as the command does.
func (r *rig) mended(id uint64) {
	r.t.Helper()
	if err := <-r.ended[id]; !errors.Is(err, ErrDamaged) {
		r.t.Fatalf("the damaged node ends with %v", err)
	}
	r.ended[id] <- nil
	r.stop(id)
	if _, err := SetAside(r.disks[id], "data"); err != nil {
		r.t.Fatal(err)
	}
	r.start(id, func(c *Config) { c.Bootstrap = false })
	until(r.t, "it has all data anew", func() bool { return r.nodes[id].ready.Load() })
	until(r.t, "all replicas are the same", func() bool { return slices.Equal(r.checked(1).Equal, []uint64{1, 2, 3}) })
}

func TestCheckFindsADifferentReplica(t *testing.T) {
	r := newRig(t, 3, nil)
	r.define(1, "before")
	until(t, "all replicas are the same", func() bool { return slices.Equal(r.checked(1).Equal, []uint64{1, 2, 3}) })
	row, _ := shard.Rows()
	if err := r.nodes[3].db.Set(append(row, "nobody wrote this"...), []byte("x"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	var g GroupCheck
	until(t, "a check finds a difference", func() bool { g = r.checked(2); return len(g.Different) > 0 }) // one while there is no leader does not
	if !slices.Equal(g.Different, []uint64{3}) || !slices.Equal(g.Equal, []uint64{1, 2}) {
		t.Errorf("one replica of three has a row that the others lack: %+v", g)
	}
	r.mended(3)
}

func TestFlippedBit(t *testing.T) {
	r := newRig(t, 3, nil)
	for i := range 20 {
		r.define(1, fmt.Sprintf("table-%d", i))
	}
	n := r.nodes[2]
	until(t, "node 2 has the tables", func() bool { return n.Table("table-19") != nil && n.ready.Load() })
	if err := n.db.Flush(); err != nil {
		t.Fatal(err)
	}
	r.checked(1)
	for _, c := range r.nodes[1].Checked().Nodes {
		if c.Problem != "" || c.Node == 2 && c.Bytes == 0 {
			t.Fatalf("before the bit is flipped: %+v", c)
		}
	}
	flip(t, r.disks[2])
	if _, err := n.readTables(t.Context(), 1<<30); err == nil {
		t.Fatal("reading what is on the disk does not find the bit")
	}
	r.checked(1)
	if s := r.nodes[1].Checked(); !s.Damaged() || len(s.Nodes) != 3 || s.Nodes[1].Problem == "" {
		t.Errorf("a check finds %+v", s)
	}
	r.mended(2)
	if r.nodes[2].Table("table-7") == nil {
		t.Error("it lacks a table")
	}
}

// TestDamagedWhileStopped damages files of a node that is stopped: one that pebble calls damaged, one that it refuses otherwise, and the
// end of a log, of which it says nothing.
func TestDamagedWhileStopped(t *testing.T) {
	for _, c := range []struct {
		what, suffix string
		change       func([]byte) []byte
	}{
		{"a table is shorter", ".sst", func(data []byte) []byte { return data[:len(data)/2] }},
		{"a log lacks its end", ".log", func(data []byte) []byte { data = bytes.TrimRight(data, "\x00"); return data[:len(data)-60] }},
		{"the options are not what they were", "OPTIONS-", func(data []byte) []byte { return append([]byte("x"), data...) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t, 3, nil)
			for i := range 5 {
				r.define(1, fmt.Sprintf("table-%d", i))
			}
			until(t, "node 2 has the tables", func() bool { return r.nodes[2].Table("table-4") != nil && r.nodes[2].ready.Load() })
			if err := r.nodes[2].db.Flush(); err != nil {
				t.Fatal(err)
			}
			r.define(1, "last")
			until(t, "node 2 has the last one", func() bool { return r.nodes[2].Table("last") != nil })
			r.stop(2)
			damage(t, r.disks[2], c.suffix, c.change)
			n, err := Open(Config{Node: 2, Peers: r.peers, Secret: []byte("a secret of the tests"), Dir: "data", FS: r.disks[2], Tick: 20 * time.Millisecond})
			if err == nil {
				err = n.Close()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("opening it returns %v", err)
			}
			if _, err := SetAside(r.disks[2], "data"); err != nil {
				t.Fatal(err)
			}
			r.start(2, func(c *Config) { c.Bootstrap = false })
			until(t, "it has all data anew", func() bool { return r.nodes[2].ready.Load() })
			until(t, "all replicas are the same", func() bool { return slices.Equal(r.checked(1).Equal, []uint64{1, 2, 3}) })
		})
	}
}

// flip changes a bit of a table on a disk.
func flip(t *testing.T, fs vfs.FS) {
	t.Helper()
	damage(t, fs, ".sst", func(data []byte) []byte { data[len(data)/3] ^= 4; return data })
}

// damage changes the last file of those whose names begin or end so.
func damage(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	names, err := fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	slices.Reverse(names)
	at := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, name) || strings.HasPrefix(n, name) })
	if at < 0 {
		t.Fatalf("there is no %s among %v", name, names)
	}
	path := fs.PathJoin("data", names[at])
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(change(data)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// A node whose data are damaged goes on where the others can't do without it: what it has may be the last there is.
func TestNobodyIsSparedWithoutAMajority(t *testing.T) {
	r := newRig(t, 3, nil)
	r.define(1, "before")
	until(t, "all are ready", func() bool { return r.nodes[1].ready.Load() && r.nodes[2].ready.Load() })
	until(t, "the others can do without node 1", func() bool { return r.nodes[2].spare(t.Context(), 1) == nil || r.nodes[3].spare(t.Context(), 1) == nil })
	r.stop(3)
	until(t, "they can't any more", func() bool { return r.nodes[2].spare(t.Context(), 1) != nil })
	r.nodes[1].damaged(errors.New("as a test says"))
	if err := r.nodes[1].giveUp(t.Context()); err != nil {
		t.Errorf("it gives up: %v", err)
	}
}
