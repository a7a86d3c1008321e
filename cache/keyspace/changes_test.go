package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// contents writes a store down in a way in which two that hold the same are equal.
func contents(s *Store) map[string]string {
	all := map[string]string{}
	for i := range s.Databases() {
		for cursor := uint64(0); ; {
			cursor = s.DB(i).Scan(cursor, func(e Entry) {
				var parts []string
				switch e.Kind() {
				case String:
					parts = []string{string(e.Bytes())}
				case List:
					e.Items().Range(0, e.Items().Len(), func(_ int, v []byte) bool { parts = append(parts, string(v)); return true })
				case StreamKind:
					parts = []string{string(s.DB(i).AppendKey(nil, e.Key()))}
				case SortedSet:
					e.Ranking().Range(0, e.Ranking().Len(), false, func(m []byte, score float64) bool {
						parts = append(parts, fmt.Sprint(string(m), "=", score))
						return true
					})
				default:
					e.Fields().Each(func(f, v []byte) bool { parts = append(parts, fmt.Sprint(string(f), "=", string(v))); return true })
					slices.Sort(parts)
				}
				tags := slices.Sorted(slices.Values(s.DB(i).Tags(e.Key())))
				all[fmt.Sprint(i, " ", string(e.Key()))] = fmt.Sprint(e.Kind(), " ", e.Expiry(), " ", tags, " ", strings.Join(parts, "|"))
			})
			if cursor == 0 {
				break
			}
		}
	}
	return all
}

func sameContents(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %.200q, want %.200q", k, got[k], v)
			return
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s is %.200q, and should not be there", k, v)
			return
		}
	}
}

// changer makes random changes.
type changer struct {
	s    *Store
	rng  *rand.Rand
	keys int
	size int // of elements
}

func (c *changer) key() []byte   { return fmt.Append(nil, "key", c.rng.IntN(c.keys)) }
func (c *changer) value() []byte { return fmt.Append(nil, "v", c.rng.IntN(c.size)) }

// step makes one change, of the kinds that commands make.
func (c *changer) step(t *testing.T) {
	db := c.s.DB(c.rng.IntN(2))
	key := c.key()
	expiry := int64(0)
	if c.rng.IntN(3) == 0 {
		expiry = c.s.Now() + int64(c.rng.IntN(3000))
	}
	switch n := c.rng.IntN(100); {
	case n < 15:
		db.SetString(key, c.value(), expiry)
	case n < 17:
		db.SetString(key, c.value(), KeepExpiry)
	case n < 22:
		if b, err := db.Extend(key, c.rng.IntN(50)+1); err == nil {
			at := c.rng.IntN(len(b))
			b[at] = byte(n)
			db.Rewrote(key, at, 1)
		}
	case n < 25:
		_, _ = db.Tag(key, fmt.Append(nil, "tag", c.rng.IntN(5))) // or it is not there
	case n < 28:
		db.Delete(key)
	case n < 32:
		db.SetExpiry(key, expiry)
	case n < 35:
		to, name := c.s.DB(c.rng.IntN(2)), c.key()
		if _, there := db.Find(key); there && (to != db || string(name) != string(key)) {
			to.Delete(name)
			db.Rename(key, to, name)
		}
	case n < 37:
		to, name := c.s.DB(c.rng.IntN(2)), c.key()
		if _, there := to.Find(name); !there {
			db.Copy(key, to, name)
		}
	case n < 60:
		c.fields(db, key)
	case n < 69:
		c.items(db, key)
	case n < 78:
		c.stream(db, key)
	case n < 98:
		if z, err := db.MakeRanking(key); err == nil {
			z.Set(c.value(), float64(c.rng.IntN(10)))
			z.Set(c.value(), float64(c.rng.IntN(10)))
			if z.Delete(c.value()); z.Len() == 0 {
				db.Delete(key)
			}
		}
	default:
		if c.rng.IntN(100) > 0 {
			c.s.SetNow(c.s.Now() + int64(c.rng.IntN(200)))
			c.s.Sweep(10)
			return
		}
		switch c.rng.IntN(3) {
		case 0:
			c.s.Swap(0, 1)
		case 1:
			db.Clear()
		default:
			free, err := c.s.Flush()
			if err == nil {
				err = free()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (c *changer) fields(db *DB, key []byte) {
	kind := Hash
	if c.rng.IntN(2) == 0 {
		kind = Set
	}
	f, err := db.MakeFields(key, kind)
	if err != nil {
		return
	}
	for range c.rng.IntN(5) {
		if kind == Set {
			f.Set(c.value(), nil)
		} else {
			f.Set(c.value(), c.value())
		}
	}
	if f.Delete(c.value()); f.Len() > 0 && c.rng.IntN(4) == 0 {
		field, _ := f.Random()
		f.Delete(field)
	}
	if f.Len() == 0 {
		db.Delete(key)
	}
}

func (c *changer) items(db *DB, key []byte) {
	l, err := db.MakeItems(key)
	if err != nil {
		return
	}
	for range c.rng.IntN(4) {
		l.PushBack(c.value())
		l.PushFront(c.value())
	}
	if n := l.Len(); n > 0 {
		switch c.rng.IntN(3) {
		case 0:
			l.Set(c.rng.IntN(n), c.value())
		case 1:
			l.Insert(c.rng.IntN(n+1), c.value())
		default:
			l.Remove(c.rng.IntN(n))
		}
	}
	if l.Len() == 0 {
		db.Delete(key)
	}
}

func (c *changer) id(st Stream) StreamID {
	return StreamID{1 + c.rng.Uint64N(st.Last().MS+1), c.rng.Uint64N(3)}
}

func (c *changer) stream(db *DB, key []byte) {
	st, err := db.MakeStream(key)
	if err != nil {
		return
	}
	for range c.rng.IntN(4) {
		fields := [][]byte{[]byte("name"), c.value(), []byte("other"), c.value()}
		if c.rng.IntN(5) == 0 {
			fields = [][]byte{c.value(), bytes.Repeat([]byte("x"), c.rng.IntN(6000))}
		}
		st.Append(StreamID{st.Last().MS + 1 + c.rng.Uint64N(3), c.rng.Uint64N(3)}, fields)
	}
	name, by := fmt.Append(nil, "group", c.rng.IntN(2)), fmt.Append(nil, "consumer", c.rng.IntN(3))
	switch c.rng.IntN(12) {
	case 0, 1:
		st.Delete(c.id(st))
	case 2:
		st.Trim(Trimming{Most: int64(c.rng.IntN(300)), Whole: c.rng.IntN(2) == 0})
	case 3:
		st.Trim(Trimming{ByID: true, From: c.id(st)})
	case 4:
		st.MakeGroup(name, c.id(st), int64(c.rng.IntN(5)-1))
	case 5:
		if c.rng.IntN(4) == 0 {
			st.DestroyGroup(name)
		}
	default:
		g, there := st.Group(name)
		if !there {
			return
		}
		if c.rng.IntN(20) == 0 {
			g.DeleteConsumer(by)
			return
		}
		consumer, _ := g.MakeConsumer(by, c.s.Now())
		for range c.rng.IntN(30) {
			g.Deliver(consumer, c.id(st), c.s.Now(), c.rng.Uint32N(4))
			g.Acknowledge(c.id(st))
		}
		g.SetLast(c.id(st), 7)
	}
}

// Whatever is done to a store: what it wrote down makes the same of another one, at any time and with any configuration.
func TestChangesMakeTheSameAgain(t *testing.T) {
	for seed := range uint64(30) {
		evict := []Eviction{EvictNone, EvictAll, EvictVolatile}[seed%3]
		a, b := newStore(t, Config{Databases: 2}), newStore(t, Config{Databases: 2})
		if evict != EvictNone {
			a.SetLimit(60_000, evict)
		}
		if seed%2 == 0 {
			a.SetTTL(5000)
		}
		b.SetTTL(1)
		a.WriteDown(true)
		replay := b.NewReplay()
		c := &changer{s: a, rng: rand.New(rand.NewPCG(seed, 1)), keys: 60, size: 500}
		for i := range 3000 {
			c.step(t)
			for evict != EvictNone && a.Over(0) && a.CanEvict() {
				a.Evict(0)
			}
			if i%50 == 0 || i == 2999 {
				if err := replay.Apply(a.TakeNotes(nil)); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
		}
		b.SetNow(a.Now())
		if sameContents(t, contents(b), contents(a)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		empty(t, b)
	}
}

// A dump that is written while the store changes is right when it is done, and so are changes that follow.
func TestDumpWhileTheStoreChanges(t *testing.T) {
	for seed := range uint64(40) {
		a, b := newStore(t, Config{Databases: 2}), newStore(t, Config{Databases: 2})
		c := &changer{s: a, rng: rand.New(rand.NewPCG(seed, 2)), keys: 300, size: 200}
		if seed%2 == 0 { // a few large values instead of many small ones
			c.keys, c.size = 8, 5000
		}
		for range 4000 {
			c.step(t)
		}
		var file []byte
		a.WriteDown(true)
		for dump, last := a.NewDump(), false; !last; {
			for range c.rng.IntN(20) {
				c.step(t)
			}
			if dump.Spoiled() {
				a.EndDump()
				file, dump = nil, a.NewDump()
				a.TakeNotes(nil)
			}
			if len(file) > 0 { // what was changed before the first piece is in the pieces
				file = append(file, a.Noted(0)...)
			}
			a.TakeNotes(nil)
			file, last = dump.Next(file, 200)
		}
		a.EndDump()
		replay := b.NewReplay()
		if err := replay.Apply(file); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !replay.Whole() {
			t.Error("a whole dump is not whole")
		}
		b.SetNow(a.Now())
		sameContents(t, contents(b), contents(a))
		for range 500 {
			c.step(t)
		}
		if err := replay.Apply(a.TakeNotes(nil)); err != nil {
			t.Fatalf("seed %d: changes behind the dump: %v", seed, err)
		}
		b.SetNow(a.Now())
		if sameContents(t, contents(b), contents(a)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Changes that are no changes are refused, and break nothing.
func FuzzApply(f *testing.F) {
	s := newStore(f, Config{Databases: 2})
	s.WriteDown(true)
	c := &changer{s: s, rng: rand.New(rand.NewPCG(1, 1)), keys: 10, size: 20}
	for range 300 {
		c.step(nil)
		f.Add(s.TakeNotes(nil))
	}
	f.Add([]byte{byte(changeMake), 0, 1, 'k', byte(element), 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStore(t, Config{Databases: 2, Reserve: 64 << 20})
		if len(b) > 1<<16 {
			return
		}
		if err := s.NewReplay().Apply(b); err != nil && !errors.Is(err, ErrChanges) {
			t.Fatal(err)
		}
		empty(t, s)
	})
}
