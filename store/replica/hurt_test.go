package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestWhatCannotBeReadIsSentByAnother: rows of a leader are damaged, and a new replica needs them. The leader's log is sound: it keeps its
// vote, without which two of three would have no majority while the third has no data, and lets the other one lead.
func TestWhatCannotBeReadIsSentByAnother(t *testing.T) {
	l := newLab(t, Config{})
	l.elect(1)
	l.step(1, put(7, strings.Repeat("x", 1000)))
	l.settle()
	l.step(1, changeGroup{event: 8, group: 1, do: changeReplicas([]Change{{Kind: Remove, Node: 3}})})
	for range 60 {
		l.tick(1, 2, 3)
	}
	if err := l.got[8].err; err != nil || l.cores[3].groups[1] != nil {
		t.Fatalf("the replica of node 3 was not removed: %v", err)
	}
	if err := l.cores[1].db.Flush(); err != nil {
		t.Fatal(err)
	}
	damage(t, l.stores[1])
	l.step(1, changeGroup{event: 9, group: 1, do: changeReplicas([]Change{{Kind: AddLearner, Node: 3}})})
	for range 100 {
		l.tick(1, 2, 3)
	}
	one, two, three := l.cores[1].groups[1], l.cores[2].groups[1], l.cores[3].groups[1]
	if one.err != nil || one.hurt == nil {
		t.Errorf("the replica with the damage: failed %v, hurt %v", one.err, one.hurt)
	}
	if !two.leads() || three == nil || !three.hasData {
		t.Fatalf("node 2 leads: %v; node 3 has the rows: %v", two.leads(), three != nil && three.hasData)
	}
	l.step(2, put(10, "y"))
	for range 10 {
		l.tick(1, 2, 3)
	}
	if r, done := l.got[10]; !done || r.err != nil {
		t.Errorf("a write, which takes the vote of the replica with the damage: %v %v", done, r.err)
	}
}

// damage flips a bit in the first block of each table of a database.
func damage(t *testing.T, fs *vfs.MemFS) {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin("db", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err = f.ReadAt(b, 20); err == nil {
			b[0] ^= 1
			_, err = f.WriteAt(b, 20)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged == 0 {
		t.Fatal("there is no table")
	}
}
