package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/env"
	"github.com/banyanhq/banyan/store/raftlog"
)

// sim is a cluster of nodes in a simulated world. What runs in it is the core, the log and the storage that run on
// machines.
type sim struct {
	w       *env.World
	net     *env.Network
	cfg     Config
	planted bugs
	nodes   []*simNode
	groups  []Descriptor // that the cluster begins with

	leaders map[[2]uint64]uint64 // group, term -> node that led
	applied map[[2]uint64]uint64 // group, index -> hash of the command
	sums    map[[2]uint64]Checksum
	events  uint64 // ids
	total   Stats
	counts  map[string]int
	flipped map[uint64]bool // nodes whose disk has lost bits
	broken  error           // an invariant that did not hold
}

type simNode struct {
	s    *sim
	id   uint64
	disk *env.Disk
	rate float64 // of its clock

	up      bool
	life    uint64
	db      *pebble.DB
	log     *raftlog.Log
	core    *core
	pending *raftlog.Write
	waiting map[uint64]func(result)
	paused  bool
	backlog []func()
	walAt   uint64 // bytes of the write-ahead log at the last flush
}

func newSim(seed uint64, nodes int, cfg Config, planted bugs, groups []Descriptor) *sim {
	w := env.NewWorld(seed)
	s := &sim{w: w, net: env.NewNetwork(w, env.NetworkFaults{Delay: time.Millisecond, Jitter: 2 * time.Millisecond}), cfg: cfg,
		planted: planted, groups: groups, leaders: map[[2]uint64]uint64{}, applied: map[[2]uint64]uint64{}, sums: map[[2]uint64]Checksum{}, counts: map[string]int{}, flipped: map[uint64]bool{}}
	for id := range uint64(nodes) {
		n := &simNode{s: s, id: id + 1, rate: 1, waiting: map[uint64]func(result){},
			disk: env.NewDisk(w, env.DiskFaults{Sync: 2 * time.Millisecond, Jitter: 4 * time.Millisecond})}
		s.nodes = append(s.nodes, n)
		s.fail(n.start(true))
	}
	return s
}

func (s *sim) fail(err error) {
	if err != nil && s.broken == nil {
		s.broken = err
	}
}

func (s *sim) failf(format string, args ...any) { s.fail(fmt.Errorf(format, args...)) }

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (n *simNode) start(fresh bool) error {
	// Nothing is compacted or flushed behind our back: what is on disk at a crash must follow from the seed.
	db, err := pebble.Open("db", &pebble.Options{FS: n.disk.FS(), FormatMajorVersion: pebble.FormatNewest, Logger: quiet{},
		DisableAutomaticCompactions: true, L0StopWritesThreshold: 1 << 20, L0CompactionThreshold: 1 << 20, MemTableSize: 4 << 20,
		DisableTableStats: true, EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}})
	if err != nil {
		return err
	}
	if fresh {
		if err := Bootstrap(db, n.id, n.s.groups); err != nil {
			return err
		}
	}
	log, err := raftlog.Open(db, raftlog.Config{FS: n.disk.FS(), Dir: "incoming", CacheBytes: 4 << 10})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	cfg := n.s.cfg
	cfg.Node = n.id
	n.life = n.s.w.Rand().Uint64()
	c, err := newCore(cfg, log, &kv{s: n.s, node: n.id}, n.life, n.s.planted)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	n.db, n.log, n.core, n.up, n.walAt = db, log, c, true, 0
	n.s.net.Attach(n.id, func(from uint64, frame []byte) { n.do(func() { n.step(received{from, frame}) }) })
	n.scheduleTick(n.life)
	return nil
}

func (n *simNode) scheduleTick(life uint64) {
	every := time.Duration(float64(n.core.cfg.Tick) / n.rate)
	n.s.w.After(every, func() {
		if !n.up || n.life != life {
			return
		}
		n.scheduleTick(life)
		if !n.paused { // like a ticker, which drops the ticks that nobody takes
			n.step(ticked{})
			n.mayFlush()
		}
	})
}

// mayFlush writes memory tables out before the database would do it by itself, in its own time.
func (n *simNode) mayFlush() {
	if !n.up || n.core.tick%16 != 0 {
		return
	}
	if written := n.db.Metrics().WAL.BytesIn; written > n.walAt+96<<10 || n.s.w.Chance(0.02) {
		n.walAt = written
		if err := n.db.Flush(); err != nil && !n.s.flipped[n.id] {
			n.s.fail(err)
		}
	}
}

// do lets f happen on the node, or later if the node stands still.
func (n *simNode) do(f func()) {
	if n.paused {
		n.backlog = append(n.backlog, f)
		return
	}
	f()
}

func (n *simNode) resume() {
	n.paused = false
	backlog := n.backlog
	n.backlog = nil
	for _, f := range backlog {
		f()
	}
}

func (n *simNode) step(events ...event) {
	if !n.up {
		return
	}
	s, life := n.s, n.life
	local := time.Duration(float64(s.w.Now()) * n.rate)
	eff := n.core.step(local, events)
	n.checkLeaders()
	for _, f := range eff.send {
		s.net.Send(n.id, f.node, f.data)
	}
	if eff.write != nil {
		n.pending = eff.write
		s.w.After(n.disk.SyncTime(), func() {
			if n.up && n.life == life {
				n.do(func() { n.commit(life) })
			}
		})
	}
	for i := range eff.checks {
		n.compare(&eff.checks[i])
	}
	for _, r := range eff.results {
		s.w.Note("result", r.value, r.id, n.id)
		done := n.waiting[r.id]
		delete(n.waiting, r.id)
		if done != nil {
			done(r)
		}
		if r.view != nil {
			s.fail(r.view.Close())
		}
	}
	if n.core.err != nil && n.up { // its disk failed: a process would end
		s.counts["died of its disk"]++
		n.crash()
		s.w.After(2*time.Second, func() { n.restart() })
	}
}

func (n *simNode) commit(life uint64) {
	if !n.up || n.life != life || n.pending == nil {
		return
	}
	w := n.pending
	n.pending = nil
	if n.disk.Full {
		if n.s.w.Chance(0.5) { // what is on disk after an error is anybody's guess
			n.s.fail(n.log.Commit(w))
		}
		n.step(written{env.ErrDiskFull})
		return
	}
	n.s.fail(n.log.Commit(w))
	n.step(written{})
}

// crash ends the node as if its machine lost power. What it was writing may have got to disk or not, and so may have
// what it wrote without asking for it to be there.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	s := n.s
	s.net.Detach(n.id)
	n.up, n.paused, n.backlog = false, false, nil
	landed, rest := s.w.Chance(0.5), s.w.Chance(0.3)
	if n.pending != nil && landed {
		s.fail(n.log.Commit(n.pending))
	}
	if rest {
		s.fail(n.db.LogData(nil, pebble.Sync))
	}
	n.pending = nil
	old := n.db
	n.disk.Crash()
	n.addStats()
	s.fail(n.core.close())
	_ = old.Close() // to a file system that nobody will see
	for _, id := range sortedKeys(n.waiting) {
		done := n.waiting[id]
		delete(n.waiting, id)
		done(result{id: id, err: ErrUnknownOutcome})
	}
}

func (n *simNode) restart() {
	if n.up {
		return
	}
	n.disk.Full = false
	if err := n.start(false); err != nil {
		if n.s.flipped[n.id] { // it does not run on a damaged database, which is right
			n.s.counts["nodes stopped by damage"]++
			return
		}
		n.s.failf("node %d does not come back: %w", n.id, err)
	}
}

func (n *simNode) addStats() {
	t, c := &n.s.total, n.core.stats
	t.Applied += c.Applied
	t.Syncs += c.Syncs
	t.Elections += c.Elections
	t.Transfers += c.Transfers
	t.ConfChanges += c.ConfChanges
	t.Splits += c.Splits
	t.Merges += c.Merges
	t.Removed += c.Removed
	t.Quiesced += c.Quiesced
	t.ReadRounds += c.ReadRounds
	t.LeaseReads += c.LeaseReads
	t.SnapshotsSent += c.SnapshotsSent
	t.SnapshotsApplied += c.SnapshotsApplied
	t.SnapshotsRefused += c.SnapshotsRefused
	t.BadFrames += c.BadFrames
	t.FailedGroups += c.FailedGroups
}

// compare holds what the node has at an entry against what the others had there.
func (n *simNode) compare(p *checkpoint) {
	sum, err := p.sum(func(int) error { return nil })
	n.s.fail(p.snapshot.Close())
	if n.s.flipped[n.id] {
		return
	}
	n.s.fail(err)
	at := [2]uint64{p.group, p.index}
	if known, ok := n.s.sums[at]; ok && known != sum {
		n.s.failf("group %d at entry %d: node %d has other rows than others had", p.group, p.index, n.id)
	}
	n.s.sums[at] = sum
	n.s.counts["checksums"]++
}

// checkLeaders holds the node against Raft's first promise: at most one leader in a term.
func (n *simNode) checkLeaders() {
	for _, id := range n.core.ids {
		g := n.core.groups[id]
		if g.err != nil && !n.s.flipped[n.id] {
			n.s.failf("node %d: %w", n.id, g.err)
		}
		if !g.leads() {
			continue
		}
		key := [2]uint64{id, g.term}
		if other := n.s.leaders[key]; other != 0 && other != n.id {
			n.s.failf("group %d: nodes %d and %d both lead term %d", id, other, n.id, g.term)
		}
		n.s.leaders[key] = n.id
	}
}

// ask makes a request of the node, and done be called with its result.
func (n *simNode) ask(make func(id uint64) event, done func(result)) {
	n.s.events++
	id := n.s.events
	n.waiting[id] = done
	life := n.life
	n.do(func() {
		if n.life == life {
			n.step(make(id))
		}
	})
}

// kv is the state machine of the simulation: registers that can be set, and appended to, which shows whether a command
// was applied twice.
type kv struct {
	s    *sim
	node uint64
}

const (
	opPut    = 'p'
	opAppend = 'a'
)

func kvCommand(op byte, key []byte, value string) []byte {
	return append(appendBytes([]byte{op}, key), value...)
}

// Apply returns the value that was there before.
func (m *kv) Apply(b *pebble.Batch, group, index uint64, command []byte) ([]byte, error) {
	h := fnv.New64a()
	h.Write(command)
	where := [2]uint64{group, index}
	if known, ok := m.s.applied[where]; ok && known != h.Sum64() {
		m.s.failf("group %d: node %d applies another command at %d than others did", group, m.node, index)
	}
	m.s.applied[where] = h.Sum64()
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
	if op == opAppend {
		value = append(bytes.Clone(old), value...)
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

func sortedKeys[V any](m map[uint64]V) []uint64 {
	keys := make([]uint64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
