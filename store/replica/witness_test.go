package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
)

// witness sees each step of each node, and holds it against what was seen before. Histories of requests show a mistake when a client
// comes upon what it did, if ever; most mistakes break one of these promises long before:
//
//   - a term has one leader (election safety), and that has all that was committed in earlier terms (leader completeness);
//   - entries with the same index and term are the same (log matching), and so is what is committed at an index;
//   - what is committed is carried out on the same rows everywhere, for keys of the group alone, and each command once
//     (state machine safety); replicas of a group at the same entry agree on its span, its generation and its replicas;
//   - a group that is frozen carries out nothing;
//   - what is applied is on the replica's own disk, never goes back while the node runs, and is never cut off before;
//   - a replica acknowledges and promises nothing that it could forget in a crash, and votes once in a term;
//   - the rows of a replica are those that the commands up to its applied index make, and those of the groups that its rows come from;
//   - a replica that was destroyed does not come back, and no two replicas of a node own the same rows;
//   - while a leader has a lease, no other is elected;
//   - a consistent read shows all that was acknowledged, or read, before it began.
type witness struct {
	s         *sim
	leaders   map[[2]uint64]uint64 // group, term -> node that led
	entries   map[[3]uint64]uint64 // group, index, term -> hash
	terms     map[uint64][]position
	committed map[[2]uint64]position // group, index
	newest    map[uint64]position    // that is committed, and the term in which it was at most, by group
	carried   map[[2]uint64]deed     // group, index
	once      map[string]carriedOut  // by the command's own id
	sums      map[[2]uint64]Checksum // group, index
	states    map[[2]uint64]uint64   // group, index -> hash
	heirs     map[uint64][]heir      // by the group that gave its rows away
	keys      []*keyHistory
	sent      map[uint64]int // snapshots, by node
}

// tokenLife is for how long a command is surely remembered, whichever groups have its key meanwhile.
const tokenLife = 3 * time.Second

var hashSeed = maphash.MakeSeed()

// position is where an entry is.
type position struct{ index, term uint64 }

// deed is what a command did.
type deed struct{ command, old uint64 }

type carriedOut struct {
	group, index uint64
	version      int
	old          string
	at           time.Duration
}

// heir is a group that got rows of another one at its entry at, as commands up to the other's entry last had left them.
type heir struct{ group, at, last uint64 }

// keyHistory is what became of a key, in the order in which commands were carried out.
type keyHistory struct {
	versions []carriedOut   // version 1 first
	values   map[uint64]int // hash of the value -> version
	floor    int            // the version that every read which begins now must show
}

// testimony is what a replica told others, which it may not forget.
type testimony struct {
	replica  uint64
	term     uint64 // it answered in
	voteTerm uint64
	vote     uint64
	ackTerm  uint64
	ackIndex uint64
	gone     []uint64 // replicas that it let go

	life    uint64 // of the node; what follows is of this life
	applied uint64
	last    position
}

func newWitness(s *sim) *witness {
	return &witness{s: s, leaders: map[[2]uint64]uint64{}, entries: map[[3]uint64]uint64{}, terms: map[uint64][]position{},
		committed: map[[2]uint64]position{}, newest: map[uint64]position{}, carried: map[[2]uint64]deed{},
		once: map[string]carriedOut{}, sums: map[[2]uint64]Checksum{}, states: map[[2]uint64]uint64{}, heirs: map[uint64][]heir{}, sent: map[uint64]int{}}
}

func (w *witness) failf(format string, args ...any) { w.s.failf(format, args...) }

func (w *witness) key(i int) *keyHistory {
	for len(w.keys) <= i {
		w.keys = append(w.keys, &keyHistory{values: map[uint64]int{}})
	}
	return w.keys[i]
}

// of returns what a replica told so far. A crash may bring back one that another had taken the place of, if that one has answered nothing
// yet, and then the former is held to its own words.
func (w *witness) of(n *simNode, g *group) (p *testimony) {
	for _, t := range n.told[g.id] {
		switch {
		case t.replica == g.self:
			p = t
		case t.replica > g.self && t.term > 0:
			w.failf("group %d: node %d has replica %d again, after replica %d answered in term %d", g.id, n.id, g.self, t.replica, t.term)
		}
	}
	if p == nil {
		p = &testimony{replica: g.self}
		n.told[g.id] = append(n.told[g.id], p)
	}
	if p.life != n.life {
		p.life, p.applied, p.last = n.life, 0, position{}
	}
	return p
}

// started looks at what a node found on its disk.
func (w *witness) started(n *simNode) {
	if w.s.flipped[n.id] {
		return
	}
	for _, id := range sortedKeys(n.told) {
		for _, p := range n.told[id] {
			if n.core.groups[id] == nil && p.term > 0 && (!slices.Contains(n.log.Groups(), id) || n.log.Group(id).Tombstone() <= p.replica) {
				w.failf("group %d: node %d has forgotten its replica %d, which answered in term %d", id, n.id, p.replica, p.term)
			}
		}
	}
	w.replicas(n)
	for _, g := range n.core.spans {
		w.rows(n, g)
		if g.err != nil {
			continue
		}
		for _, p := range n.told[g.id] {
			for _, id := range p.gone {
				if g.state.desc.replica(id) != nil {
					w.failf("group %d: node %d forgot that replica %d was removed, after it had let it go", g.id, n.id, id)
				}
			}
		}
	}
}

// stepped looks at a node after each step.
func (w *witness) stepped(n *simNode, eff *effects) {
	if w.s.flipped[n.id] {
		return
	}
	w.replicas(n)
	for _, f := range eff.send {
		messages, err := decodeFrame(f.data)
		w.s.fail(err)
		for i := range messages {
			w.said(n, &messages[i])
		}
	}
	w.snapshots(n)
}

func (w *witness) replicas(n *simNode) {
	c := n.core
	for i, g := range c.spans {
		if i > 0 && bytes.Compare(c.spans[i-1].state.desc.End, g.state.desc.Start) > 0 {
			w.failf("node %d: groups %d and %d own the same rows", n.id, c.spans[i-1].id, g.id)
		}
	}
	for _, id := range c.ids {
		g := c.groups[id]
		if g.err != nil {
			w.failf("node %d: %w", n.id, g.err)
		}
		if g.raft == nil {
			continue
		}
		p := w.of(n, g)
		w.disk(n, g, p)
		w.log(n, g, p)
		if g.leads() {
			w.leader(n, g)
		}
	}
}

// disk holds what a replica has, or will have before anybody hears of it, against what it said.
func (w *witness) disk(n *simNode, g *group, p *testimony) {
	st := g.log.State()
	last, err := g.log.LastIndex()
	start, _ := g.log.Start()
	switch {
	case err != nil:
		w.failf("node %d: %w", n.id, err)
	case st.Term < p.term:
		w.failf("group %d: node %d answered in term %d and stands in term %d", g.id, n.id, p.term, st.Term)
	case st.Term == p.voteTerm && st.Vote != p.vote:
		w.failf("group %d: node %d gave its vote of term %d to %d and has written down %d", g.id, n.id, p.voteTerm, p.vote, st.Vote)
	case st.Term == p.ackTerm && last < p.ackIndex:
		w.failf("group %d: node %d acknowledged entry %d in term %d and has entries up to %d", g.id, n.id, p.ackIndex, p.ackTerm, last)
	case g.self < g.log.Tombstone():
		w.failf("group %d: node %d has replica %d, and destroyed those below %d", g.id, n.id, g.self, g.log.Tombstone())
	case g.hasData && start > g.applied:
		w.failf("group %d: node %d cut its log off at %d and has applied %d", g.id, n.id, start, g.applied)
	case g.hasData && last < g.applied:
		w.failf("group %d: node %d applied %d and has entries up to %d", g.id, n.id, g.applied, last)
	case g.applied < p.applied:
		w.failf("group %d: node %d went back from entry %d to %d", g.id, n.id, p.applied, g.applied)
	}
}

// log looks at entries that are new in a replica's log, and at those that it applied.
func (w *witness) log(n *simNode, g *group, p *testimony) {
	last, _ := g.log.LastIndex()
	if term, err := g.log.Term(last); err == nil && (position{last, term}) != p.last {
		start, _ := g.log.Start()
		from := max(start, min(p.last.index, last-min(last, 8))) + 1
		if p.last.index == 0 {
			from = last + 1 // all of it was seen when it was written
		}
		p.last = position{last, term}
		if entries, err := g.log.Entries(from, last+1, ^uint64(0)); from <= last && err == nil {
			for _, e := range entries {
				w.entry(n, g.id, e)
			}
		}
	}
	if p.applied != 0 && p.applied < g.applied {
		if entries, err := g.log.Entries(p.applied+1, g.applied+1, ^uint64(0)); err == nil { // else it got a snapshot
			for _, e := range entries {
				w.commit(n, g, e)
			}
		}
	}
	if p.applied != g.applied {
		w.state(n, g)
	}
	p.applied = g.applied
}

// state holds what a replica knows of its group against what others knew at the same entry.
func (w *witness) state(n *simNode, g *group) {
	if !g.hasData || g.restore {
		return
	}
	at, sum := [2]uint64{g.id, g.applied}, maphash.Bytes(hashSeed, encodeState(&g.state))
	if known, ok := w.states[at]; ok && known != sum {
		w.failf("group %d: node %d believes at entry %d that the group is another one than others did: %+v frozen %v", g.id, n.id, g.applied, g.state.desc, g.state.frozen)
	}
	w.states[at] = sum
}

// entry is in somebody's log, or on the way to it.
func (w *witness) entry(n *simNode, group uint64, e *raftpb.Entry) {
	at := [3]uint64{group, e.GetIndex(), e.GetTerm()}
	sum := maphash.Bytes(hashSeed, e.Data) + uint64(e.GetType())
	known, ok := w.entries[at]
	if ok && known != sum {
		w.failf("group %d: entry %d of term %d is another one on node %d than it was", group, e.GetIndex(), e.GetTerm(), n.id)
	}
	if ok {
		return
	}
	w.entries[at] = sum
	terms := w.terms[group]
	if i := slices.IndexFunc(terms, func(p position) bool { return p.term == e.GetTerm() }); i >= 0 {
		terms[i].index = min(terms[i].index, e.GetIndex())
	} else {
		w.terms[group] = append(terms, position{e.GetIndex(), e.GetTerm()})
	}
	if c := w.newest[group]; c.term < e.GetTerm() && c.index >= e.GetIndex() {
		w.failf("group %d: term %d begins at entry %d, without entry %d that was committed in term %d at most", group, e.GetTerm(), e.GetIndex(), c.index, c.term)
	}
}

// commit is of an entry that somebody applied. The term in which it was committed may be a later one than its own: then there may have
// been a leader between the two that lacked it, rightly. It is at most the one that whoever applied it is in.
func (w *witness) commit(n *simNode, g *group, e *raftpb.Entry) {
	group, term := g.id, max(g.term, g.hard.Term)
	w.entry(n, group, e)
	at, p := [2]uint64{group, e.GetIndex()}, position{e.GetIndex(), e.GetTerm()}
	if known, ok := w.committed[at]; ok {
		if known != p {
			w.failf("group %d: node %d applied entry %d of term %d, others one of term %d", group, n.id, p.index, p.term, known.term)
		}
		return
	}
	w.committed[at] = p
	w.inherit(group, e)
	if p.index > w.newest[group].index {
		w.newest[group] = position{p.index, term}
	}
	for _, t := range w.terms[group] {
		if t.term > term && t.index <= p.index {
			w.failf("group %d: entry %d was committed in term %d at most, and the leader of term %d lacked it", group, p.index, term, t.term)
		}
	}
}

// inherit takes note of where rows go. A split or a merge that is refused does no harm: the new group never comes to be, or the left one has
// no rows of the right one's until another merge is carried out.
func (w *witness) inherit(group uint64, e *raftpb.Entry) {
	cmd, err := decodeCommand(e.Data)
	if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 || err != nil {
		return
	}
	switch cmd.kind {
	case commandSplit:
		w.heirs[group] = append(w.heirs[group], heir{cmd.group, firstIndex, e.GetIndex()})
	case commandMerge:
		w.heirs[cmd.group] = append(w.heirs[cmd.group], heir{group, e.GetIndex(), ^uint64(0)})
	}
}

// has says whether a group at an entry has what was carried out at another one, or has come by it.
func (w *witness) has(group, applied, did, index uint64) bool {
	if group == did {
		return index <= applied
	}
	for _, h := range w.heirs[did] {
		if index <= h.last && w.has(group, applied, h.group, h.at) {
			return true
		}
	}
	return false
}

// leader holds a leader against the others that led, and against leases.
func (w *witness) leader(n *simNode, g *group) {
	key := [2]uint64{g.id, g.term}
	switch other := w.leaders[key]; {
	case other == n.id:
		return
	case other != 0:
		w.failf("group %d: nodes %d and %d both lead term %d", g.id, other, n.id, g.term)
		return
	}
	w.leaders[key] = n.id
	for _, other := range w.s.nodes {
		if other == n || !other.up {
			continue
		}
		if old := other.core.groups[g.id]; old != nil && old.leads() && old.term < g.term && other.leased(old) {
			w.failf("group %d: node %d was elected in term %d while node %d had a lease of term %d", g.id, n.id, g.term, other.id, old.term)
		}
	}
}

// leased says whether a leader would answer reads alone at this moment.
func (n *simNode) leased(g *group) bool {
	before := n.core.now
	defer func() { n.core.now = before }()
	n.core.now = max(before, n.local())
	return n.core.leased(g)
}

// said is a message that left a node.
func (w *witness) said(n *simNode, m *message) {
	g := n.core.groups[m.group]
	if g == nil || g.self != m.from || g.raft == nil {
		return
	}
	p := w.of(n, g)
	if m.kind == kindGone {
		p.gone = append(p.gone, m.to)
		if n.onGone != nil {
			n.onGone()
		}
	}
	if m.kind != kindRaft {
		return
	}
	r := m.raft
	switch t := r.GetType(); {
	case t == raftpb.MsgApp:
		for _, e := range r.Entries {
			w.entry(n, g.id, e)
		}
		return
	case t == raftpb.MsgVoteResp && !r.GetReject():
		if p.voteTerm == r.GetTerm() && p.vote != m.to {
			w.failf("group %d: node %d votes for %d in term %d, after it did for %d", g.id, n.id, m.to, r.GetTerm(), p.vote)
		}
		p.term, p.voteTerm, p.vote = max(p.term, r.GetTerm()), r.GetTerm(), m.to
	case t == raftpb.MsgAppResp:
		p.term = max(p.term, r.GetTerm())
		if r.GetReject() {
			break
		}
		if r.GetTerm() > p.ackTerm {
			p.ackTerm, p.ackIndex = r.GetTerm(), 0
		}
		if r.GetTerm() == p.ackTerm {
			p.ackIndex = max(p.ackIndex, r.GetIndex())
		}
	default:
		return
	}
	w.disk(n, g, p)
}

// snapshots compares what a replica that is sent a snapshot has afterwards with what the sender had.
func (w *witness) snapshots(n *simNode) {
	if now := n.core.stats.SnapshotsSent + n.core.stats.SnapshotsApplied; now != w.sent[n.id] {
		w.sent[n.id] = now
		for _, g := range n.core.spans {
			if g.err == nil && !g.restore {
				w.rows(n, g)
				n.compare(&checkpoint{group: g.id, index: g.applied, start: g.state.desc.Start, end: g.state.desc.End, snapshot: n.db.NewSnapshot()})
			}
		}
	}
}

// summed is what a node has at an entry.
func (w *witness) summed(n *simNode, p *checkpoint, sum Checksum) {
	at := [2]uint64{p.group, p.index}
	if known, ok := w.sums[at]; ok && known != sum {
		w.failf("group %d at entry %d: node %d has other rows than others had", p.group, p.index, n.id)
	}
	w.sums[at] = sum
}

// carry takes note that a node carries out a command, which finds the key with the value old and leaves it with another one.
func (w *witness) carry(node, group, index uint64, start, end, key, command []byte, id string, old, value []byte) {
	if bytes.Compare(key, start) < 0 || bytes.Compare(key, end) >= 0 {
		w.failf("group %d: node %d carries out entry %d on a key that the group does not have", group, node, index)
	}
	if g := w.s.nodes[node-1].core.groups[group]; g.state.frozen && !g.thawedBefore(index) {
		w.failf("group %d: node %d carries out entry %d, and the group is frozen since entry %d or before", group, node, index, g.applied)
	}
	at, did := [2]uint64{group, index}, deed{maphash.Bytes(hashSeed, command), maphash.Bytes(hashSeed, old)}
	known, again := w.carried[at]
	switch {
	case again && known.command != did.command:
		w.failf("group %d: node %d carries out another command at entry %d than others did", group, node, index)
	case again && known.old != did.old:
		w.failf("group %d: node %d carries out entry %d on other rows than others had", group, node, index)
	}
	if again {
		return
	}
	w.carried[at] = did
	k, now := w.key(keyNumber(key)), w.s.w.Now()
	if first, ok := w.once[id]; ok && (first.group == group && index-first.index < uint64(w.s.cfg.TokenWindow) || now-first.at < tokenLife) {
		w.failf("command %s is carried out at entry %d of group %d, after entry %d of group %d", id, index, group, first.index, first.group)
	}
	out := carriedOut{group: group, index: index, version: len(k.versions) + 1, old: string(old), at: now}
	w.once[id] = out
	k.versions = append(k.versions, out)
	k.values[maphash.Bytes(hashSeed, value)] = out.version
}

// rows holds the rows of a replica against those that the commands up to its applied index make.
func (w *witness) rows(n *simNode, g *group) {
	if g.err != nil || !g.hasData || g.restore || w.s.flipped[n.id] {
		return
	}
	for i, k := range w.keys {
		key := simKey(i)
		if !g.state.desc.Contains(key) {
			continue
		}
		value, err := getCopy(n.db, key)
		if err != nil {
			w.s.fail(err)
			return
		}
		version, known := k.version(value)
		if least, most := w.between(k, g.id, g.applied); !known || version < least || version > most {
			w.failf("group %d: node %d at entry %d has version %d (known: %v) of key %d, which should be from %d to %d",
				g.id, n.id, g.applied, version, known, i, least, most)
		}
	}
}

// thawedBefore says whether a thaw is among the entries that are applied together with one.
func (g *group) thawedBefore(index uint64) bool {
	entries, err := g.log.Entries(g.applied+1, max(index, g.applied+1), ^uint64(0))
	return err != nil || slices.ContainsFunc(entries, func(e *raftpb.Entry) bool {
		return e.GetType() == raftpb.EntryNormal && len(e.Data) > 0 && commandKind(e.Data[0]) == commandThaw
	})
}

func (k *keyHistory) version(value []byte) (version int, known bool) {
	if len(value) == 0 {
		return 0, true
	}
	version, known = k.values[maphash.Bytes(hashSeed, value)]
	return version, known
}

// between is which versions of the key a replica of a group can have at an entry: several if others had the key meanwhile.
func (w *witness) between(k *keyHistory, group, applied uint64) (least, most int) {
	most = len(k.versions)
	for i := len(k.versions) - 1; i >= 0; i-- {
		switch v := k.versions[i]; {
		case w.has(group, applied, v.group, v.index):
			return v.version, most
		case v.group == group:
			most = v.version - 1
		}
	}
	return 0, most
}

// written is the answer to a write: what the key was before.
func (w *witness) written(key int, id string, old []byte) {
	k := w.key(key)
	did, ok := w.once[id]
	if !ok || did.old != string(old) {
		w.failf("command %s was acknowledged as carried out on %q; carried out: %v, on %q", id, old, ok, did.old)
	}
	k.floor = max(k.floor, did.version)
}

// read is the answer to a consistent read, which began when floor was the key's.
func (w *witness) read(node uint64, key int, floor int, value string) {
	k := w.key(key)
	version, known := k.version([]byte(value))
	if !known || version < floor {
		w.failf("node %d read version %d (known: %v) of key %d, and version %d was acknowledged before", node, version, known, key, floor)
	}
	k.floor = max(k.floor, version)
}

// kv is the state machine of the simulation: registers that can be set, and appended to, which shows whether a command
// was applied twice.
type kv struct {
	w    *witness
	node uint64
}

const (
	opPut    = 'p'
	opAppend = 'a'
)

var _ Ranged = (*kv)(nil)

func kvCommand(op byte, key []byte, value string) []byte {
	return append(appendBytes([]byte{op}, key), value...)
}

// commandID is what makes the value of each write another one.
func commandID(value []byte) string {
	id, _, _ := bytes.Cut(value, []byte{';'})
	return string(id)
}

// Apply returns the value that was there before.
func (m *kv) Apply(b *pebble.Batch, group, index uint64, command []byte) ([]byte, error) {
	return nil, errors.New("a machine that is told which rows the group has is not")
}

// ApplyWithin implements Ranged. It returns the value that was there before.
func (m *kv) ApplyWithin(b *pebble.Batch, group, index uint64, start, end, command []byte) ([]byte, error) {
	r := reader{rest: command}
	op, key := r.byte(), r.bytes()
	if r.err != nil {
		return nil, r.err
	}
	old, err := getCopy(b, key)
	if err != nil {
		return nil, err
	}
	value := bytes.Clone(r.rest)
	id := commandID(value)
	if op == opAppend {
		value = append(bytes.Clone(old), value...)
	}
	if m.w != nil {
		m.w.carry(m.node, group, index, start, end, key, command, id, old, value)
	}
	return old, b.Set(key, value, nil)
}

func getCopy(from pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(v), closer.Close()
}

func simKey(i int) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{'d'}, 1), byte(i*16), 'k')
}

func keyNumber(key []byte) int { return int(key[9]) / 16 }

// TestWitnessHoldsEachReplicaToItsOwnWords: the crash that loses the end of a replica loses the one after it as well, if that has answered
// nothing. The end of the former may follow again in the same life of the node.
func TestWitnessHoldsEachReplicaToItsOwnWords(t *testing.T) {
	for _, answered := range []bool{false, true} {
		d := Descriptor{Group: 1, Start: []byte("d"), End: []byte("e"), NextReplica: 2, Replicas: []Replica{{ID: 1, Node: 1}}}
		s := newSim(1, 1, Config{}, 0, []Descriptor{d})
		w, n := s.witness, s.nodes[0]
		before, after := n.core.groups[1], &group{id: 1, self: 2}
		w.of(n, before).ackIndex = 7
		w.of(n, after).life = n.life - 1
		if answered {
			w.of(n, after).term = 6
		}
		back := w.of(n, before)
		back.applied = 7
		if (s.broken != nil) != answered {
			t.Errorf("the second replica answered: %v; complaint: %v", answered, s.broken)
		}
		if back.replica != 1 || back.ackIndex != 7 {
			t.Errorf("the replica that came back is held to what replica %d told, up to entry %d", back.replica, back.ackIndex)
		}
		if again := w.of(n, after); again.replica != 2 || again.applied != 0 {
			t.Errorf("the one after it is held to what replica %d applied, entry %d", again.replica, again.applied)
		}
		if err := errors.Join(n.core.close(), n.db.Close()); err != nil {
			t.Error(err)
		}
	}
}
