package hot

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const lease = 100 * time.Millisecond

// frame is on its way from one node to another.
type frame struct {
	at       time.Duration // when it arrives
	from, to uint64
	kind     string // offer, want, copy, changed
	id       uint64
	reads    uint64
	yes      bool
	version  int
}

// world is some nodes with one key, which one of them owns at a time. Whoever owns it has the value; the others may have copies.
type world struct {
	rng     *rand.Rand
	now     time.Duration
	owner   uint64
	owners  map[uint64]*Owner
	holders map[uint64]*Holder
	copies  map[uint64]int  // versions, by holder
	dead    map[uint64]bool // they send nothing
	since   []time.Duration // when a version came to be
	flying  []frame
	last    map[[2]uint64]time.Duration // when the last frame of a stream arrives

	loss    float64
	delay   time.Duration // at most
	reorder bool

	served, stale int
	oldest        time.Duration
}

var theKey = []byte("key")

func newWorld(seed uint64, nodes int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), owner: 1, owners: map[uint64]*Owner{}, holders: map[uint64]*Holder{}, copies: map[uint64]int{},
		dead: map[uint64]bool{}, since: []time.Duration{0}, last: map[[2]uint64]time.Duration{}}
	for id := uint64(1); id <= uint64(nodes); id++ {
		w.owners[id], w.holders[id] = NewOwner(lease, nodes-1), NewHolder(lease)
	}
	return w
}

func (w *world) send(f frame) {
	if w.dead[f.from] || w.rng.Float64() < w.loss {
		return
	}
	f.at = w.now + time.Duration(w.rng.Int64N(int64(w.delay)+1))
	stream := [2]uint64{f.from, f.to}
	if !w.reorder {
		f.at = max(f.at, w.last[stream])
	}
	w.last[stream] = max(w.last[stream], f.at)
	w.flying = append(w.flying, f)
}

// arrive delivers what arrives now.
func (w *world) arrive() {
	slices.SortStableFunc(w.flying, func(a, b frame) int { return int(a.at - b.at) })
	for len(w.flying) > 0 && w.flying[0].at <= w.now {
		f := w.flying[0]
		w.flying = w.flying[1:]
		switch h := w.holders[f.to]; f.kind {
		case "offer":
			h.Offered(f.from, [][]byte{theKey}, w.now)
		case "want":
			yes := w.owner == f.to && w.owners[f.to].Wanted(f.from, theKey, f.reads, w.now)
			w.send(frame{from: f.to, to: f.from, kind: "copy", id: f.id, yes: yes, version: len(w.since) - 1})
		case "copy":
			if h.Copied(f.from, f.id, theKey, f.yes, w.now) {
				w.copies[f.to] = f.version
			}
		case "changed":
			h.Changed(theKey)
		}
	}
}

func (w *world) offer() {
	keys := w.owners[w.owner].Offer([]Seen{{theKey, 5000, 0.5}}, w.now)
	if len(keys) == 0 {
		return
	}
	for id := range w.holders {
		if id != w.owner {
			w.send(frame{from: w.owner, to: id, kind: "offer"})
		}
	}
}

func (w *world) write() {
	w.since = append(w.since, w.now)
	for _, id := range w.owners[w.owner].Changed(theKey, w.now) {
		w.send(frame{from: w.owner, to: id, kind: "changed"})
	}
}

// read has a holder answer, and returns for how long its answer has been out of date; negative: it is not answered.
func (w *world) read(id uint64) time.Duration {
	may, q := w.holders[id].Read(theKey, w.now)
	if q.ID != 0 {
		w.send(frame{from: id, to: q.Owner, kind: "want", id: q.ID, reads: q.Reads})
	}
	if !may || id == w.owner {
		return -1
	}
	w.served++
	next := w.copies[id] + 1
	if next == len(w.since) {
		return 0
	}
	w.stale++
	age := w.now - w.since[next]
	w.oldest = max(w.oldest, age)
	return age
}

// TestStalenessIsBounded: whatever becomes of frames and owners, no answer is older than the lease.
func TestStalenessIsBounded(t *testing.T) {
	served, stale, oldest := 0, 0, time.Duration(0)
	for seed := range uint64(400) {
		w := newWorld(seed, 2+int(seed%4))
		w.loss = []float64{0, 0.05, 0.5}[seed%3]
		w.delay = time.Duration(w.rng.Int64N(int64(3 * lease)))
		w.reorder = seed%2 == 0
		writes := 1 + w.rng.IntN(60) // one in so many steps
		for range 3000 {
			w.now += time.Duration(w.rng.Int64N(int64(4 * time.Millisecond)))
			w.arrive()
			switch n := w.rng.IntN(100); {
			case n == 0:
				w.offer()
			case n == 1 && w.rng.IntN(5) == 0: // the slot moves, or another node takes over
				w.owner = uint64(w.rng.IntN(len(w.owners)) + 1)
			case n == 2 && w.rng.IntN(5) == 0:
				id := uint64(w.rng.IntN(len(w.owners)) + 1)
				w.dead[id] = !w.dead[id]
			case w.rng.IntN(writes) == 0:
				w.write()
			default:
				id := uint64(w.rng.IntN(len(w.holders)) + 1)
				if age := w.read(id); age > lease {
					t.Fatalf("seed %d: node %d answered what was out of date for %s", seed, id, age)
				}
			}
			if w.rng.IntN(20) == 0 {
				for _, h := range w.holders {
					h.Expire(w.now, func([]byte) {})
				}
			}
		}
		served, stale, oldest = served+w.served, stale+w.stale, max(oldest, w.oldest)
	}
	t.Logf("%d reads were answered from copies, %d out of date, by %s at most", served, stale, oldest)
	if served < 20_000 || oldest < lease/2 {
		t.Error("the worlds do not try hard enough")
	}
}

// TestChangesAreSeenSoon: where frames arrive in order, an answer is older only by the way of one.
func TestChangesAreSeenSoon(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(seed, 4)
		w.delay = 5 * time.Millisecond
		for step := range 3000 {
			w.now += time.Millisecond
			w.arrive()
			switch {
			case step%250 == 0:
				w.offer()
			case step%40 == 0:
				w.write()
			default:
				if age := w.read(uint64(2 + w.rng.IntN(3))); age > w.delay {
					t.Fatalf("seed %d: out of date for %s", seed, age)
				}
			}
		}
		if w.served < 1500 {
			t.Fatalf("seed %d: only %d of some 3000 reads were answered", seed, w.served)
		}
	}
}

func TestWhatIsOffered(t *testing.T) {
	o := NewOwner(lease, 5)
	offered := func(now time.Duration, seen ...Seen) string {
		var all []string
		for _, key := range o.Offer(seen, now) {
			all = append(all, string(key))
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	}
	hot, rare, lost := Seen{[]byte("hot"), 5000, 0.2}, Seen{[]byte("rare"), 50, 0.2}, Seen{[]byte("lost"), 5000, 0.001}
	if got := offered(time.Second, hot, rare, lost); got != "[hot]" {
		t.Errorf("offered: %s", got)
	}
	if o.Wanted(2, []byte("rare"), 0, time.Second) {
		t.Error("a copy of a key that is not hot")
	}
	// Those that have copies answer for it, so that its owner sees nothing of it any more.
	now := time.Second
	for range 20 {
		now += time.Second
		if !o.Wanted(2, []byte("hot"), 500, now) {
			t.Fatal("no copy of a hot key")
		}
		if got := offered(now); got != "[hot]" {
			t.Fatalf("offered, while others read it: %s", got)
		}
	}
	if n := o.Holders([]byte("hot"), now); n != 1 {
		t.Errorf("%d holders", n)
	}
	for range 1200 { // more than its reads divided by the nodes that are to be told
		o.Changed([]byte("hot"), now)
	}
	if got := offered(now+time.Second, hot); got != "[]" {
		t.Errorf("offered, although it changes too often: %s", got)
	}
	if got := offered(now+2*time.Second, hot); got != "[hot]" {
		t.Errorf("offered, when it changes no longer: %s", got)
	}
	if got := offered(now + 10*time.Second); got != "[]" || o.Len() != 0 {
		t.Errorf("offered, when nobody wants it any more: %s, %d", got, o.Len())
	}
}

func TestReadsAllocateNothing(t *testing.T) {
	h := NewHolder(lease)
	now := time.Second
	h.Offered(1, [][]byte{theKey}, now)
	_, q := h.Read(theKey, now)
	if !h.Copied(1, q.ID, theKey, true, now+time.Millisecond) {
		t.Fatal("no copy")
	}
	if n := testing.AllocsPerRun(100, func() {
		if may, _ := h.Read(theKey, now+2*time.Millisecond); !may {
			t.Fatal("not answered")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOffersAreBounded: whatever others offer, a holder keeps only so much.
func TestOffersAreBounded(t *testing.T) {
	h := NewHolder(lease)
	for node := range uint64(64) {
		var keys [][]byte
		for i := range 2 * MaxOffer {
			keys = append(keys, fmt.Appendf(nil, "%d-%d", node, i))
		}
		h.Offered(node+1, keys, 0)
	}
	if len(h.keys) != maxKeys {
		t.Errorf("%d keys", len(h.keys))
	}
	h.Expire(offerTerm, func([]byte) {})
	if len(h.keys) != 0 {
		t.Errorf("%d keys are left", len(h.keys))
	}
}
