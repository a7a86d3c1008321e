package cache

import (
	"net"
	"testing"
	"time"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/slot"
)

// lonelyNode is node 1 of 1 and 2 with the replicas 3 and 4, or node 3, whose peers say nothing by themselves. Slots 0 to 99 are on their
// way from node 2 to node 1, and 8192 - 100 to 8191 the other way.
func lonelyNode(t testing.TB, id uint64) *sharding {
	t.Helper()
	peers := map[uint64]string{1: "127.0.0.1:1", 2: "127.0.0.1:1", 3: "127.0.0.1:1", 4: "127.0.0.1:1"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peers[id] = l.Addr().String()
	s, err := New(Config{Listen: "127.0.0.1:0", Loops: 1, Cluster: &Cluster{Node: id, Peers: peers, Secret: []byte("a secret of the tests"), Dir: t.TempDir(),
		Bootstrap: true, Replicas: 1, Listener: l, HotReads: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	h := s.sharding
	t.Cleanup(func() {
		s.listener.Close()
		s.freeing.Wait()
		if err := h.node.Close(); err != nil {
			t.Error(err)
		}
		s.store.Close()
		h.hot.close()
	})
	m := &cluster.Map{}
	apply := func(c cluster.Command) {
		if m, err = m.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	for node := range uint64(4) {
		life := 100 + node
		if node+1 == id {
			life = h.node.Life()
		}
		apply(cluster.Command{Op: cluster.Join, Node: node + 1, Life: life, Addr: "127.0.0.1:1"})
	}
	apply(cluster.Command{Op: cluster.Form, Nodes: 4, Replicas: 1})
	half := uint16(slot.Count / 2)
	apply(cluster.Command{Op: cluster.Move, From: 2, To: 1, Slots: []cluster.Range{{First: half, Last: half + 99}}})
	apply(cluster.Command{Op: cluster.Move, From: 1, To: 2, Slots: []cluster.Range{{First: half - 100, Last: half - 1}}})
	h.changed(m)
	return h
}

// keyIn is a key of the slots that are on their way to node 1.
func keyIn(h *sharding, name string) []byte {
	for i := 0; ; i++ {
		key := append([]byte(name), byte('a'+i%26), byte('a'+i/26%26), byte('a'+i/676%26))
		if h.m.Moving[slot.Of(key)] == 1 {
			return key
		}
	}
}

// movedKeys is a frame by which a node gives away keys of each kind.
func movedKeys(t testing.TB, h *sharding) []byte {
	from, err := keyspace.New(keyspace.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	db := from.DB(0)
	db.SetString(keyIn(h, "s"), []byte("value"), 5_000_000_000_000)
	if f, err := db.MakeFields(keyIn(h, "h"), keyspace.Hash); err == nil {
		f.Set([]byte("f"), []byte("v"))
	}
	if l, err := db.MakeItems(keyIn(h, "l")); err == nil {
		l.PushBack([]byte("v"))
	}
	if z, err := db.MakeRanking(keyIn(h, "z")); err == nil {
		z.Set([]byte("m"), 1)
	}
	if st, err := db.MakeStream(keyIn(h, "x")); err == nil {
		st.Append(keyspace.StreamID{MS: 1}, [][]byte{[]byte("f"), []byte("v")})
		st.MakeGroup([]byte("g"), keyspace.StreamID{}, 1)
		g, _ := st.Group([]byte("g"))
		c, _ := g.MakeConsumer([]byte("c"), 1)
		g.Deliver(c, st.Last(), 1, 1)
	}
	var body []byte
	n := uint64(0)
	for _, name := range []string{"s", "h", "l", "z", "x"} {
		body = appendBytes(body, db.AppendKey(nil, keyIn(h, name)))
		n++
	}
	b := appendNumber(appendNumber([]byte{frameKeys}, 1<<40), 101)
	return append(appendNumber(append(b, 0), n), body...)
}

// frames are of each kind, as nodes send them.
func frames(t testing.TB, h *sharding) [][]byte {
	number := func(kind byte, all ...uint64) []byte {
		b := []byte{kind}
		for _, n := range all {
			b = appendNumber(b, n)
		}
		return b
	}
	return [][]byte{
		movedKeys(t, h), number(frameReady, 1, 2), number(frameGiven, 1, 8192, 8199, 8210, 8210), number(frameAnswer, 1, answerYes), number(frameHello, 0, 0),
		number(frameHello, h.stream, 0), number(frameGot, h.stream, 1), number(frameBegin, 9, 0, beginFull), number(frameBegin, 9, 0, beginResumed),
		number(frameBegin, 9, 0, beginRenamed), {frameLost},
		append(appendBytes([]byte{framePublish}, []byte("news")), "fresh"...),
		append(appendBytes(number(frameOffer, 2), []byte("k")), appendBytes(nil, []byte("l"))...), append(number(frameWant, 1, 2), 'k'),
		append(append(appendBytes(number(frameCopy, 1), []byte("k")), 1), "\x01\x00\x01k\x00\x01v"...), {frameChanged, 'k'},
		append(number(frameStream, 9, 0, recordLast), 0),                                                        // keys are complete
		append(number(frameStream, 9, 2, recordChanges), appendBytes(nil, []byte("\x01\x00\x01k\x00\x01v"))...), // SET k v
	}
}

// FuzzFrames: whatever another node sends, this one goes on, and takes no key of a slot that is not on its way here.
func FuzzFrames(f *testing.F) {
	primary, replica := lonelyNode(f, 1), lonelyNode(f, 3)
	for _, h := range []*sharding{primary, replica} {
		for _, b := range frames(f, primary) {
			for from := range uint64(4) {
				f.Add(h == replica, byte(from+1), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, toReplica bool, from byte, b []byte) {
		h := primary
		if toReplica {
			h = replica
		}
		if len(b) > 1<<16 || uint64(from) == h.id || from == 0 || from > 4 {
			return
		}
		h.received(uint64(from), b)
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		if h == replica {
			return
		}
		for at := range uint16(slot.Count) {
			if n := h.s.store.SlotLen(at); n != 0 && h.m.Moving[at] != 1 {
				t.Fatalf("slot %d, which is none of this node's, has %d keys", at, n)
			}
		}
	})
}

// TestFramesOfOthers: what nodes send each other does what it should at a node of that part, and nothing at others.
func TestFramesOfOthers(t *testing.T) {
	h := lonelyNode(t, 1)
	b := movedKeys(t, h)
	h.received(2, b[:len(b)-1])
	if n := h.s.store.DB(0).Len(); n != 0 {
		t.Errorf("%d keys of a frame that breaks off were taken", n)
	}
	h.received(2, b)
	if n := h.s.store.DB(0).Len(); n != 5 {
		t.Errorf("%d keys were taken, want 5", n)
	}
	st, there, err := h.s.store.DB(0).Stream(keyIn(h, "x"))
	if g, known := st.Group([]byte("g")); !there || err != nil || !known || st.Len() != 1 || g.Pending() != 1 {
		t.Error("the stream did not come whole")
	}
	// A key that brings changes of another one along, or of all, is not taken.
	for _, more := range []string{"\x01\x00\x01k\x00\x01v", "\x12\x00\x00", "\x0f\x00\x01y"} {
		change := append(h.s.store.DB(0).AppendKey(nil, keyIn(h, "s")), more...)
		head := append(appendNumber(appendNumber([]byte{frameKeys}, 1<<41), 101), 0, 1)
		h.received(2, appendBytes(head, change))
		if _, there := h.s.store.DB(0).Find([]byte("k")); there || h.s.store.DB(0).Len() < 4 {
			t.Errorf("%q was taken along", more)
		}
	}
}
