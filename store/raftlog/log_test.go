package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

type mute struct{}

func (mute) Infof(string, ...any)           {}
func (mute) Errorf(string, ...any)          {}
func (mute) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func open(t testing.TB, fs vfs.FS) *Log {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: mute{}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(db, Config{FS: fs, Dir: "incoming", CacheBytes: 64})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: new(index), Term: new(term), Data: []byte(data)}
}

func commit(t testing.TB, l *Log, stage ...func(*Write) error) {
	t.Helper()
	w := l.NewWrite()
	for _, f := range stage {
		if err := f(w); err != nil {
			t.Fatal(err)
		}
	}
	w.Sync()
	if err := errors.Join(l.Commit(w), l.Done(w)); err != nil {
		t.Fatal(err)
	}
}

func describe(g *Group) string {
	first, err := g.FirstIndex()
	if err != nil {
		return err.Error()
	}
	last, _ := g.LastIndex()
	s := fmt.Sprintf("%+v", g.State())
	if first > last {
		return fmt.Sprintf("%s empty after %d", s, last)
	}
	entries, err := g.Entries(first, last+1, ^uint64(0))
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		s += fmt.Sprintf(" %d:%d:%s", e.GetIndex(), e.GetTerm(), e.Data)
	}
	return s
}

// TestLogLikeModel makes random changes of several logs and crashes, and compares with slices in memory.
func TestLogLikeModel(t *testing.T) {
	type model struct {
		start, startTerm uint64
		entries          []*raftpb.Entry
		state            State
	}
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewCrashableMem()
		l := open(t, fs)
		defer func() { _ = l.DB().Close() }()
		models := map[uint64]*model{1: {}, 2: {}, 256: {}}
		check := func() {
			for id, m := range models {
				g := l.Group(id)
				last, err := g.LastIndex()
				if want := m.start + uint64(len(m.entries)); err != nil || last != want {
					rt.Fatalf("group %d: last index %d, want %d, error %v", id, last, want, err)
				}
				if g.State() != m.state {
					rt.Fatalf("group %d: state %v, want %v", id, g.State(), m.state)
				}
				if term, err := g.Term(m.start); err != nil || term != m.startTerm {
					rt.Fatalf("group %d: term of %d is %d, want %d, error %v", id, m.start, term, m.startTerm, err)
				}
				for i, e := range m.entries {
					got, err := g.Entries(e.GetIndex(), e.GetIndex()+1, 1)
					if err != nil || got[0].GetTerm() != e.GetTerm() || !bytes.Equal(got[0].Data, e.Data) {
						rt.Fatalf("group %d: entry %d is %v, want %v, error %v", id, i, got, e, err)
					}
				}
				if _, err := g.Term(last + 1); !errors.Is(err, raft.ErrUnavailable) {
					rt.Fatalf("group %d: the term of an entry after the last: %v", id, err)
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			id := rapid.SampledFrom([]uint64{1, 2, 256}).Draw(rt, "group")
			m, g := models[id], l.Group(id)
			last := m.start + uint64(len(m.entries))
			switch rapid.SampledFrom([]string{"append", "append", "overwrite", "cut", "state", "crash"}).Draw(rt, "op") {
			case "append", "overwrite":
				first := rapid.Uint64Range(m.start+1, last+1).Draw(rt, "first")
				m.entries = m.entries[:first-m.start-1]
				var entries []*raftpb.Entry
				for i := range rapid.Uint64Range(1, 6).Draw(rt, "count") {
					entries = append(entries, entry(first+i, rapid.Uint64Range(1, 9).Draw(rt, "term"), rapid.StringN(0, 40, 60).Draw(rt, "data")))
				}
				m.entries = append(m.entries, entries...)
				commit(t, l, func(w *Write) error { return w.Append(g, entries) })
			case "cut":
				if len(m.entries) == 0 {
					continue
				}
				n := rapid.IntRange(1, len(m.entries)).Draw(rt, "cut")
				e := m.entries[n-1]
				m.start, m.startTerm, m.entries = e.GetIndex(), e.GetTerm(), m.entries[n:]
				commit(t, l, func(w *Write) error { return w.Cut(g, e.GetIndex(), e.GetTerm()) })
			case "state":
				m.state = State{7, rapid.Uint64().Draw(rt, "term"), rapid.Uint64().Draw(rt, "vote"), last}
				commit(t, l, func(w *Write) error { return w.SetState(g, m.state) })
			case "crash":
				lost := l.NewWrite() // never committed
				if err := lost.SetState(g, State{Replica: 9}); err != nil {
					t.Fatal(err)
				}
				left := fs.CrashClone(vfs.CrashCloneCfg{})
				_, _ = lost.Close(), l.DB().Close()
				fs = left
				l = open(t, fs)
			}
			check()
		}
	})
}

func TestRestoreReplacesEverything(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := open(t, fs)
	g := l.Group(5)
	meta := func(s string) []byte { start, _ := MetaSpan(5); return append(start, s...) }
	for _, k := range []string{"da", "db", "dc", "dd", "de"} {
		if err := l.DB().Set([]byte(k), []byte("old"), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DB().Set(meta("old"), []byte("old"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	commit(t, l, func(w *Write) error { return w.Append(g, []*raftpb.Entry{entry(1, 1, "a"), entry(2, 1, "b")}) })
	r := l.NewRestore(5, []byte("db"), []byte("dd"))
	if err := errors.Join(r.Add([]KV{{[]byte("dba"), []byte("new")}}), r.Add([]KV{{meta("x"), []byte("new")}})); err != nil {
		t.Fatal(err)
	}
	before := l.DB().NewSnapshot()
	commit(t, l, func(w *Write) error {
		w.Restore(r, State{3, 4, 0, 20}, 20, 4, []byte("de"), nil, nil)
		return w.Append(g, []*raftpb.Entry{entry(21, 4, "after")})
	})
	check := func() {
		t.Helper()
		if got, want := describe(l.Group(5)), "{Replica:3 Term:4 Vote:0 Commit:20} 21:4:after"; got != want {
			t.Errorf("log is %s, want %s", got, want)
		}
		it, err := l.DB().NewIter(&pebble.IterOptions{UpperBound: []byte("n")})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for it.First(); it.Valid(); it.Next() {
			got += fmt.Sprintf("%q=%s ", it.Key(), it.Value())
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%q=old %q=new %q=old %q=new ", "da", "dba", "de", meta("x")); got != want {
			t.Errorf("database holds\n%s, want\n%s", got, want)
		}
	}
	check()
	value, closer, err := before.Get([]byte("db"))
	if err != nil || string(value) != "old" {
		t.Errorf("a reader who was there before sees %q, error %v", value, err)
	} else if err := errors.Join(closer.Close(), before.Close()); err != nil {
		t.Fatal(err)
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := l.DB().Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, left)
	check()
	if err := l.DB().Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreRefusesForeignRows(t *testing.T) {
	l := open(t, vfs.NewCrashableMem())
	defer l.DB().Close()
	for _, pairs := range [][]KV{
		{{[]byte("da"), nil}},                            // before the span
		{{[]byte("dd"), nil}},                            // at its end
		{{[]byte("dc"), nil}, {[]byte("db"), nil}},       // out of order
		{{[]byte("dc"), nil}, {[]byte("dc"), nil}},       // twice
		{{append([]byte{'m'}, make([]byte, 9)...), nil}}, // metadata of another group
	} {
		r := l.NewRestore(5, []byte("db"), []byte("dd"))
		if err := r.Add(pairs); err == nil {
			t.Errorf("a snapshot brought %q", pairs[len(pairs)-1].Key)
		}
		r.Discard()
	}
	if names, err := l.cfg.FS.List("incoming"); err != nil || len(names) != 0 {
		t.Errorf("discarded snapshots left %v, error %v", names, err)
	}
}

func TestDamageIsFoundAndConfined(t *testing.T) {
	for name, damage := range map[string]func(db *pebble.DB) error{
		"entry changed": func(db *pebble.DB) error {
			key := entryKey(1, 2)
			v := encodeEntry(key, entry(2, 1, "b"))
			v[len(v)-1] ^= 1
			return db.Set(key, v, pebble.Sync)
		},
		"entry of another place": func(db *pebble.DB) error {
			return db.Set(entryKey(1, 2), encodeEntry(entryKey(1, 3), entry(3, 1, "c")), pebble.Sync)
		},
		"entry missing": func(db *pebble.DB) error { return db.Delete(entryKey(1, 2), pebble.Sync) },
		"first missing": func(db *pebble.DB) error { return db.Delete(entryKey(1, 1), pebble.Sync) },
		"state changed": func(db *pebble.DB) error { return db.Set(logKey(1, stateKind), []byte("123456"), pebble.Sync) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := open(t, fs)
			for _, id := range []uint64{1, 2} {
				g := l.Group(id)
				commit(t, l, func(w *Write) error { return w.SetState(g, State{1, 1, 1, 3}) }, func(w *Write) error {
					return w.Append(g, []*raftpb.Entry{entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")})
				})
			}
			if err := errors.Join(damage(l.DB()), l.DB().Close()); err != nil {
				t.Fatal(err)
			}
			l = open(t, fs)
			defer l.DB().Close()
			if err := l.Group(1).Err(); !errors.Is(err, ErrCorrupt) {
				t.Errorf("damage gave %v", err)
			}
			if _, err := l.Group(1).Entries(1, 4, ^uint64(0)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("reading what is damaged gave %v", err)
			}
			if err := l.Group(2).Err(); err != nil {
				t.Errorf("the other group: %v", err)
			}
		})
	}
}

func TestDestroyLeavesATombstone(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs)
	commit(t, l, func(w *Write) error { return w.Append(l.Group(1), []*raftpb.Entry{entry(1, 1, "a")}) })
	if err := l.DB().Set([]byte("dx"), []byte("row"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	commit(t, l, func(w *Write) error { return w.Destroy(1, 8, []byte("da"), []byte("dz"), []byte("ask there")) })
	commit(t, l, func(w *Write) error { return w.Destroy(1, 3, nil, nil, nil) })
	if err := l.DB().Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, fs)
	defer l.DB().Close()
	if got := l.Group(1).Tombstone(); got != 8 {
		t.Errorf("tombstone %d, want the highest, 8", got)
	}
	if got := string(l.Group(1).Forward()); got != "ask there" {
		t.Errorf("what was left for those who ask: %q", got)
	}
	if last, err := l.Group(1).LastIndex(); last != 0 || err != nil {
		t.Errorf("destroyed log goes to %d, error %v", last, err)
	}
	if _, _, err := l.DB().Get([]byte("dx")); !errors.Is(err, pebble.ErrNotFound) {
		t.Errorf("row of a destroyed replica: %v", err)
	}
}

func TestAppendMustFollow(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.DB().Close()
	w := l.NewWrite()
	defer w.Close()
	if err := w.Append(l.Group(1), []*raftpb.Entry{entry(2, 1, "b")}); err == nil {
		t.Error("an entry was appended after a gap")
	}
	if err := w.Append(l.Group(1), []*raftpb.Entry{entry(1, 1, "a"), entry(3, 1, "c")}); err == nil {
		t.Error("entries with a gap were appended")
	}
}

func FuzzEntry(f *testing.F) {
	key := entryKey(1, 2)
	f.Add(encodeEntry(key, entry(2, 3, "data")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, Seal(key, value)} {
			if e, err := decodeEntry(key, v, 2); err == nil {
				if again, err := decodeEntry(key, encodeEntry(key, e), 2); err != nil || again.GetTerm() != e.GetTerm() || !bytes.Equal(again.Data, e.Data) {
					t.Fatalf("%v became %v, error %v", e, again, err)
				}
			}
		}
	})
}

func encodeEntry(key []byte, e *raftpb.Entry) []byte {
	out := make([]byte, entryRecordSize(e))
	fillEntryRecord(out, key, e)
	return out
}

// A database that can't be written any more says so to its logger, and returns no error: nothing may be acknowledged all the same.
func TestCommitFailsWithTheDatabase(t *testing.T) {
	var full atomic.Bool
	var said atomic.Pointer[error]
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	db, err := pebble.Open("db", &pebble.Options{FS: fs, Logger: fatal{&said}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(db, Config{FS: fs, Dir: "db/incoming", Failure: func() error {
		if err := said.Load(); err != nil {
			return *err
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	commit := func() error {
		w := l.NewWrite()
		if err := w.SetState(l.Group(1), State{Replica: 1, Term: 2}); err != nil {
			t.Fatal(err)
		}
		w.Sync()
		return errors.Join(l.Commit(w), w.Close())
	}
	if err := commit(); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := commit(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a commit that did not get to the disk returns %v", err)
	}
}

// fatal notes why a database can't go on.
type fatal struct{ why *atomic.Pointer[error] }

func (fatal) Infof(string, ...any)  {}
func (fatal) Errorf(string, ...any) {}
func (f fatal) Fatalf(format string, a ...any) {
	err := fmt.Errorf("%w: %s", syscall.ENOSPC, fmt.Sprintf(format, a...))
	f.why.CompareAndSwap(nil, &err)
}
