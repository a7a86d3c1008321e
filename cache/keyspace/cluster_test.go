package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/banyanhq/banyan/cache/slot"
)

func TestTakeWhatAppendKeyMade(t *testing.T) {
	fresh := func() *Store {
		s, err := New(Config{CountSlots: true})
		if err != nil {
			t.Fatal(err)
		}
		s.SetNow(1000)
		t.Cleanup(func() { s.Close() })
		return s
	}
	from, to := fresh(), fresh()
	to.WriteDown(true)
	db := from.DB(0)
	db.SetString([]byte("s"), []byte("value"), 5000)
	db.SetString([]byte("late"), []byte("x"), 900) // has expired
	if _, err := db.Tag([]byte("s"), []byte("t")); err != nil {
		t.Fatal(err)
	}
	all := func([]byte) bool { return true }
	if _, err := to.Take([][]byte{db.AppendKey(nil, []byte("s")), db.AppendKey(nil, []byte("late"))}, false, all); err != nil {
		t.Fatal(err)
	}
	e, there := to.DB(0).Find([]byte("s"))
	if !there || string(e.Bytes()) != "value" || e.Expiry() != 5000 || fmt.Sprint(to.DB(0).Tags([]byte("s"))) != "[t]" {
		t.Error("the key is not as it was")
	}
	if _, there := to.DB(0).Find([]byte("late")); there {
		t.Error("a key that has expired is there")
	}
	// What was taken is written down.
	third := fresh()
	if err := third.NewReplay().Apply(to.TakeNotes(nil)); err != nil {
		t.Fatal(err)
	}
	if e, there := third.DB(0).Find([]byte("s")); !there || string(e.Bytes()) != "value" {
		t.Error("what was taken was not written down")
	}
	if at := slot.Of([]byte("s")); to.SlotLen(at) != 1 || from.SlotLen(at) != 1 {
		t.Errorf("keys of the slot: %d and %d", from.SlotLen(at), to.SlotLen(at))
	}
	db.SetString([]byte("s"), []byte("other"), 0)
	change := db.AppendKey(nil, []byte("s"))
	if taken, err := to.Take([][]byte{change}, true, all); err != nil || len(taken) != 0 {
		t.Error("a key that was to be kept was replaced:", err)
	}
	if _, err := to.Take([][]byte{change}, false, func([]byte) bool { return false }); !errors.Is(err, ErrChanges) {
		t.Error("a key was taken that is not wanted:", err)
	}
	if taken, err := to.Take([][]byte{change}, false, all); err != nil || !bytes.Equal(taken[0], []byte("s")) {
		t.Error(err)
	}
	if len(to.DB(0).Tags([]byte("s"))) != 1 {
		t.Error("tags")
	}
	db.Drop([]byte("s"))
	if _, err := to.Take([][]byte{db.AppendKey(nil, []byte("s"))}, false, all); err != nil {
		t.Fatal(err)
	}
	if at := slot.Of([]byte("s")); to.DB(0).Len() != 0 || to.SlotLen(at) != 0 || from.SlotLen(at) != 0 {
		t.Error("a key that is gone is still there")
	}
	for _, bad := range [][]byte{nil, {1}, {1, 0, 200}, {byte(changeSet | sameKey), 0, 1, 'k'}, {1, 99, 1, 'k'}} {
		if _, err := to.Take([][]byte{bad}, false, all); !errors.Is(err, ErrChanges) {
			t.Errorf("%v was taken: %v", bad, err)
		}
	}
}

func TestPassiveStoreHidesWhatHasExpired(t *testing.T) {
	s, err := New(Config{CountSlots: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetNow(1000)
	s.DB(0).SetString([]byte("k"), []byte("v"), 2000)
	s.SetPassive(true)
	s.SetNow(3000)
	if _, there := s.DB(0).Find([]byte("k")); there {
		t.Error("it is seen")
	}
	s.Sweep(100)
	if s.DB(0).Len() != 1 {
		t.Error("it went")
	}
	if _, there := s.DB(0).RandomKey(); there {
		t.Error("it is found by chance")
	}
	s.SetPassive(false)
	if _, there := s.DB(0).Find([]byte("k")); there || s.DB(0).Len() != 0 {
		t.Error("it stays")
	}
}

// What is written down is taken apart so that each part can be read alone, and is never much larger than one change.
func TestPartsCanBeReadAlone(t *testing.T) {
	a, b := newStore(t, Config{Databases: 1}), newStore(t, Config{Databases: 1})
	value := bytes.Repeat([]byte("v"), partSize/3)
	fill := func() {
		l, err := a.DB(0).MakeItems([]byte("list"))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			l.PushBack(value)
		}
		a.DB(0).SetString([]byte("small"), []byte("x"), 0)
		a.DB(0).SetString([]byte("large"), bytes.Repeat(value, 9), 0)
	}
	apply := func(replay *Replay, parts *int) func(part []byte) {
		return func(part []byte) {
			if *parts++; len(part) > 3*partSize+partSize/2 {
				t.Errorf("a part of %d bytes", len(part))
			}
			if err := replay.Apply(part); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.WriteDown(true)
	fill()
	parts := 0
	a.NotedParts(0, apply(b.NewReplay(), &parts))
	if parts < 4 {
		t.Errorf("all came in %d parts", parts)
	}
	if sameContents(t, contents(b), contents(a)); t.Failed() {
		return
	}
	// So it is with a dump of one list.
	c := newStore(t, Config{Databases: 1})
	dump, replay, n := a.NewBareDump(), c.NewPart(), 0
	for last := false; !last; {
		var piece []byte
		piece, last = dump.Next(nil, 100)
		dump.Parts(piece, apply(replay, &n))
	}
	a.EndDump()
	if replay.Whole() {
		t.Error("whole, before anybody has said so")
	}
	if replay.Complete(); !replay.Whole() || n < 4 {
		t.Errorf("not whole, in %d parts", n)
	}
	sameContents(t, contents(c), contents(a))
}

// How far a store has come is known of what was made of its notes, and what was applied is written down again.
func TestFollowedIsKept(t *testing.T) {
	a, b, c := newStore(t, Config{Databases: 1}), newStore(t, Config{Databases: 1}), newStore(t, Config{Databases: 1})
	a.WriteDown(true)
	b.WriteDown(true)
	a.DB(0).SetString([]byte("k"), []byte("v"), 0)
	if err := b.NewPart().ApplyNoted(a.TakeNotes(nil)); err != nil {
		t.Fatal(err)
	}
	want := Followed{Stream: 1<<61 + 1, Offset: 1 << 40, Whole: true, Life: 7}
	b.NoteFollowed(Followed{Stream: 3})
	b.NoteFollowed(want)
	replay := c.NewReplay()
	if _, ok := replay.Followed(); ok {
		t.Error("it is known before anything was applied")
	}
	if err := replay.Apply(b.TakeNotes(nil)); err != nil {
		t.Fatal(err)
	}
	if got, ok := replay.Followed(); !ok || got != want {
		t.Errorf("followed %+v, %v", got, ok)
	}
	sameContents(t, contents(c), contents(a))
}
