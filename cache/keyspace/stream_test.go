package keyspace

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// streamModel is what a stream must be.
type streamModel struct {
	ids    []StreamID
	fields [][][]byte
}

func (m *streamModel) between(from, to StreamID, backwards bool) (all []string) {
	for i, id := range m.ids {
		if id.Compare(from) >= 0 && id.Compare(to) <= 0 {
			all = append(all, fmt.Sprintf("%v %q", id, m.fields[i]))
		}
	}
	if backwards {
		slices.Reverse(all)
	}
	return all
}

func (m *streamModel) drop(i, n int) {
	m.ids, m.fields = slices.Delete(m.ids, i, i+n), slices.Delete(m.fields, i, i+n)
}

func ranged(st Stream, from, to StreamID, backwards bool) (all []string) {
	st.Range(from, to, backwards, func(e StreamEntry) bool {
		var fields [][]byte
		e.Each(func(name, value []byte) { fields = append(fields, name, value) })
		if len(fields) != 2*e.Len() {
			panic("the number of fields is wrong")
		}
		all = append(all, fmt.Sprintf("%v %q", e.ID, fields))
		return true
	})
	return all
}

// A stream holds what was put into it and not taken out, in order, however its entries lie; its size is what its blocks take; and in
// the end nothing is left of it.
func TestStreamAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		s := newStore(t, Config{})
		rng := rand.New(rand.NewPCG(seed, 9))
		st, err := s.DB(0).MakeStream([]byte("key"))
		if err != nil {
			t.Fatal(err)
		}
		m := &streamModel{}
		some := func() StreamID {
			if len(m.ids) == 0 || rng.IntN(5) == 0 {
				return StreamID{rng.Uint64N(st.Last().MS + 2), rng.Uint64N(4)}
			}
			return m.ids[rng.IntN(len(m.ids))]
		}
		for step := range 3000 {
			switch rng.IntN(10) {
			default:
				id := StreamID{st.Last().MS, st.Last().Seq + 1}
				if rng.IntN(2) == 0 {
					id = StreamID{st.Last().MS + rng.Uint64N(1000) + 1, rng.Uint64N(5)}
				}
				fields := [][]byte{[]byte("temperature"), fmt.Append(nil, rng.IntN(50)), []byte("place"), bytes.Repeat([]byte("p"), rng.IntN(200))}
				switch rng.IntN(40) {
				case 0:
					fields[3] = bytes.Repeat([]byte("y"), rng.IntN(20_000))
				case 1:
					fields = fields[:2]
				}
				st.Append(id, fields)
				m.ids, m.fields = append(m.ids, id), append(m.fields, fields)
			case 0, 1, 2:
				id := some()
				i := slices.Index(m.ids, id)
				if st.Delete(id) != (i >= 0) {
					t.Fatalf("seed %d, step %d: deleting %v: it was %d", seed, step, id, i)
				}
				if i >= 0 {
					m.drop(i, 1)
				}
			case 3:
				if rng.IntN(20) > 0 {
					continue
				}
				if n := int(st.Trim(Trimming{Most: int64(max(0, len(m.ids)-rng.IntN(150))), Whole: rng.IntN(2) == 0})); n > 0 {
					m.drop(0, n)
				}
			case 4:
				from, to := some(), some()
				for _, backwards := range []bool{false, true} {
					if got, want := ranged(st, from, to, backwards), m.between(from, to, backwards); !slices.Equal(got, want) {
						t.Fatalf("seed %d, step %d: %v to %v: %.300q, want %.300q", seed, step, from, to, got, want)
					}
				}
			}
			if st.Len() != len(m.ids) {
				t.Fatalf("seed %d, step %d: %d entries, want %d", seed, step, st.Len(), len(m.ids))
			}
		}
		if len(m.ids) > 0 && (st.Edge(false) != m.ids[0] || st.Edge(true) != m.ids[len(m.ids)-1]) {
			t.Errorf("seed %d: from %v to %v, want %v to %v", seed, st.Edge(false), st.Edge(true), m.ids[0], m.ids[len(m.ids)-1])
		}
		e, _ := s.DB(0).Find([]byte("key"))
		if got, whole := e.Memory(), s.Arena.Used(); got < whole/2 || got > whole {
			t.Errorf("seed %d: the key takes %d of %d bytes", seed, got, whole)
		}
		s.DB(0).Delete([]byte("key"))
		empty(t, s)
	}
}

// What is pending is found by id, for the group and for each consumer, and belongs to one consumer at a time.
func TestPendingAgainstModel(t *testing.T) {
	s := newStore(t, Config{})
	rng := rand.New(rand.NewPCG(3, 3))
	st, err := s.DB(0).MakeStream([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	st.MakeGroup([]byte("g"), StreamID{}, -1)
	g, _ := st.Group([]byte("g"))
	var consumers []Consumer
	for i := range 3 {
		c, _ := g.MakeConsumer(fmt.Append(nil, i), 0)
		consumers = append(consumers, c)
	}
	type entry struct {
		by    int
		count uint32
	}
	want := map[StreamID]entry{}
	last := uint64(0)
	for range 20_000 {
		id := StreamID{last, 0}
		if last += 2; rng.IntN(3) > 0 {
			id = StreamID{rng.Uint64N(last), rng.Uint64N(2)}
		}
		if _, there := want[id]; rng.IntN(2) == 0 {
			if g.Acknowledge(id) != there {
				t.Fatalf("%v was pending: %v", id, there)
			}
			delete(want, id)
			continue
		}
		e := entry{rng.IntN(3), rng.Uint32N(5)}
		g.Deliver(consumers[e.by], id, int64(id.MS), e.count)
		want[id] = e
	}
	seen := 0
	for by, c := range consumers {
		n := 0
		for p, ok := c.NextPending(StreamID{}); ok; n++ {
			if e := want[p.ID]; e.by != by || e.count != p.Count || p.Time != int64(p.ID.MS) || !p.Consumer.Is(c) {
				t.Fatalf("%+v is pending for %d, want %+v", p, by, e)
			}
			next, _ := p.ID.Next()
			p, ok = c.NextPending(next)
		}
		if n != c.Pending() {
			t.Errorf("%d are pending, and %d are told", n, c.Pending())
		}
		seen += n
	}
	if seen != len(want) || g.Pending() != len(want) {
		t.Errorf("%d are pending, %d for the group, want %d", seen, g.Pending(), len(want))
	}
	if n := g.DeleteConsumer([]byte("1")); n == 0 || g.Pending() != len(want)-n {
		t.Errorf("%d were pending for a consumer that is deleted, %d still are", n, g.Pending())
	}
	s.DB(0).Delete([]byte("key"))
	empty(t, s)
}

// A million entries take little more than their bytes, and reading the last one does not read the others.
func TestStreamIsPacked(t *testing.T) {
	s := newStore(t, Config{})
	st, _ := s.DB(0).MakeStream([]byte("key"))
	const n = 100_000
	for i := range uint64(n) {
		st.Append(StreamID{1_700_000_000_000 + i, 0}, [][]byte{[]byte("temperature"), []byte("21.5"), []byte("sensor"), []byte("kitchen")})
	}
	if per := float64(s.Arena.Used()) / n; per > 22 {
		t.Errorf("an entry of 11 bytes, whose names are those of the others, takes %.1f", per)
	}
	if st.Blocks() != n/streamEntries {
		t.Errorf("%d blocks", st.Blocks())
	}
}
