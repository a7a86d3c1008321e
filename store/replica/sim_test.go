package replica

import (
	"errors"
	"fmt"
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

	witness *witness
	batch   time.Duration                 // for at most as long a node lets what happens wait, to be let happen in one step
	rare    func(n *simNode, rarest bool) // is told that something rare has just happened on a node
	events  uint64                        // ids
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
	inbox   []event
	told    map[uint64][]*testimony // by group: one for each replica
	before  Stats
	frozen  int    // groups, as last looked
	lost    bool   // it never comes back
	onGone  func() // when it let a replica go
	walAt   uint64 // bytes of the write-ahead log at the last flush
}

func newSim(seed uint64, nodes int, cfg Config, planted bugs, groups []Descriptor) *sim {
	w := env.NewWorld(seed)
	s := &sim{w: w, net: env.NewNetwork(w, env.NetworkFaults{Delay: time.Millisecond, Jitter: 2 * time.Millisecond}), cfg: cfg,
		planted: planted, groups: groups, counts: map[string]int{}, flipped: map[uint64]bool{}}
	s.witness = newWitness(s)
	for id := range uint64(nodes) {
		n := &simNode{s: s, id: id + 1, rate: 1, waiting: map[uint64]func(result){}, told: map[uint64][]*testimony{},
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
	c, err := newCore(cfg, log, &kv{w: n.s.witness, node: n.id}, n.life, n.s.planted)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	n.db, n.log, n.core, n.up, n.walAt, n.before = db, log, c, true, 0, Stats{}
	n.s.witness.sent[n.id] = 0
	n.s.witness.started(n)
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
			n.checkRows()
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

// step lets events happen, at once or together with others that come soon.
func (n *simNode) step(events ...event) {
	if !n.up {
		return
	}
	n.inbox = append(n.inbox, events...)
	wait := n.s.w.Between(0, n.s.batch)
	if wait == 0 {
		n.take()
		return
	}
	if len(n.inbox) > len(events) {
		return // they are waited for already
	}
	life := n.life
	n.s.w.After(wait, func() {
		if n.up && n.life == life {
			n.do(func() {
				if n.up && n.life == life {
					n.take()
				}
			})
		}
	})
}

// local is what the node's clock shows.
func (n *simNode) local() time.Duration { return time.Duration(float64(n.s.w.Now()) * n.rate) }

// take steps the core with all that has happened.
func (n *simNode) take() {
	s, life := n.s, n.life
	events := n.inbox
	n.inbox = nil
	eff := n.core.step(n.local(), events)
	s.witness.stepped(n, &eff)
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
		return
	}
	n.lookForRare()
}

// lookForRare tells of what happens seldom, and is worth a fault just then.
func (n *simNode) lookForRare() {
	now, was, frozen, melted := n.core.stats, n.before, 0, n.frozen
	for _, g := range n.core.spans {
		if g.state.frozen {
			frozen++
		}
	}
	n.before, n.frozen = now, frozen
	rarest := frozen > melted || now.Merges != was.Merges
	if n.s.rare != nil && n.up && (rarest || now.Splits != was.Splits || now.ConfChanges != was.ConfChanges || now.Removed != was.Removed ||
		now.SnapshotsApplied != was.SnapshotsApplied || now.SnapshotsSent != was.SnapshotsSent || now.Elections != was.Elections || now.Transfers != was.Transfers) {
		n.s.rare(n, rarest)
	}
}

// checkRows holds the rows of all replicas of the node against what they should be.
func (n *simNode) checkRows() {
	if !n.up {
		return
	}
	for _, g := range n.core.spans {
		n.s.witness.rows(n, g)
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
	n.up, n.paused, n.backlog, n.inbox = false, false, nil, nil
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
	if n.up || n.lost {
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
	n.s.witness.summed(n, p, sum)
	n.s.counts["checksums"]++
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

func sortedKeys[V any](m map[uint64]V) []uint64 {
	keys := make([]uint64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
