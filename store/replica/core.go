package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/raftlog"
)

// core is all replicas of a node as a step function: events and an instant in, effects out. It reads the database and
// applies commands to it; what must be on disk before anybody hears of it, and all messages, are effects. It is not
// safe for concurrent use and starts no goroutine.
type core struct {
	cfg     Config
	log     *raftlog.Log
	db      *pebble.DB
	machine Machine
	planted bugs

	now   time.Duration
	tick  uint64
	steps uint64
	life  uint64 // of this run of the node
	seq   uint64 // of proposals, rounds of reads and streams

	groups map[uint64]*group
	ids    []uint64 // of groups, ascending
	spans  []*group // those with data, by the beginning of their spans
	dirty  []*group

	applied   []*application // that are not in the database yet
	rows      *pebble.Batch  // what they change; nil if there are none
	proposals *proposals
	reads     int // that wait
	ready     []*read

	staged   *raftlog.Write // what goes to disk next, and who hears of it then
	answers  []answer
	inflight *raftlog.Write
	waiting  []answer

	out   map[uint64][]message // by node
	room  map[uint64][]message // empty, for what goes out next
	heard map[uint64]uint64    // node -> tick at which something came from it
	err   error                // the disk failed: nothing more is done

	stats   Stats
	effects effects
}

// answer is what may be sent, or told to the replica itself, once what it speaks of is on disk.
type answer struct {
	g        *group
	messages []*raftpb.Message
	restored *raftlog.Restore
	index    uint64
	goes, on uint64 // a replica, and its node, that is told to go
}

// effects are what a step wants done. The order is that of the fields: messages may go out while the Write is still on
// its way to the disk, because those that depend on it are not among them.
type effects struct {
	send    []frame        // by ascending node
	write   *raftlog.Write // at most one is on its way; a written event must follow
	results []result
	checks  []checkpoint
}

type frame struct {
	node uint64
	data []byte
}

// result is the outcome of what an event with the same id asked for.
type result struct {
	id    uint64
	value []byte
	view  *View // of a read; its owner must close it
	err   error
}

// event is something that happens to a node.
type event interface{ happen(c *core) }

type (
	ticked   struct{}
	received struct {
		node uint64
		data []byte
	}
	// written says that the Write of an earlier step is on disk, or that the disk failed.
	written struct{ err error }
)

// newCore loads the replicas that the log's database holds. life must not have been used by this node before.
func newCore(cfg Config, log *raftlog.Log, machine Machine, life uint64, planted bugs) (*core, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &core{cfg: cfg, log: log, db: log.DB(), machine: machine, life: life, planted: planted,
		groups: map[uint64]*group{}, out: map[uint64][]message{}, room: map[uint64][]message{}, heard: map[uint64]uint64{}}
	c.proposals = newProposals()
	c.staged = log.NewWrite()
	if err := checkOwner(c.db, cfg.Node); err != nil {
		return nil, err
	}
	for _, id := range log.Groups() {
		if err := c.load(id); err != nil {
			return nil, fmt.Errorf("load group %d: %w", id, err)
		}
	}
	return c, c.removeOverlaps()
}

// step lets events happen at the instant now, which must not go back.
func (c *core) step(now time.Duration, events []event) effects {
	c.now = max(c.now, now)
	c.steps++
	c.effects = effects{}
	for _, e := range events {
		if c.err != nil {
			c.refuse(e)
			continue
		}
		e.happen(c)
	}
	for (len(c.dirty) > 0 || len(c.applied) > 0) && c.err == nil {
		dirty := c.dirty
		c.dirty = nil
		slices.SortFunc(dirty, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
		for _, g := range dirty {
			g.dirty = false
			c.work(g)
		}
		if c.err == nil {
			c.commitApplied()
		}
	}
	c.answerReads()
	if c.err == nil && c.inflight == nil && (c.staged.MustSync() || len(c.answers) > 0) {
		c.inflight, c.waiting = c.staged, c.answers
		c.staged, c.answers = c.log.NewWrite(), nil
		c.effects.write = c.inflight
		c.stats.Syncs++
	}
	c.flush()
	return c.effects
}

func (c *core) mark(g *group) {
	if !g.dirty {
		g.dirty = true
		c.dirty = append(c.dirty, g)
	}
}

func (c *core) flush() {
	nodes := make([]uint64, 0, len(c.out))
	for node := range c.out {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	for _, node := range nodes {
		messages := c.out[node]
		for first := true; first || len(messages) > 0; first = false { // a frame may be empty
			n := min(len(messages), maxFrameMessages, c.fit(messages))
			c.effects.send = append(c.effects.send, frame{node, encodeFrame(messages[:n])})
			messages = messages[n:]
		}
		c.room[node] = emptied(c.out[node])
	}
	clear(c.out)
}

// emptied is room for more, unless so many were there that it is not worth keeping.
func emptied[T any](all []T) []T {
	if cap(all) > 1024 {
		return nil
	}
	clear(all)
	return all[:0]
}

// MaxFrameBytes bounds a frame, but for one that holds a single large command.
const MaxFrameBytes = 4 << 20

// fit is how many of the messages go into one frame.
func (c *core) fit(messages []message) int {
	size := 0
	for i := range messages {
		m := &messages[i]
		size += m.size()
		if m.chunk != nil {
			size += c.cfg.SnapshotChunk
		}
		if size > MaxFrameBytes && i > 0 {
			return i
		}
	}
	return len(messages)
}

func (c *core) send(node uint64, m message) {
	if node == 0 || node == c.cfg.Node {
		return
	}
	queue, ok := c.out[node]
	if !ok {
		queue = c.room[node]
	}
	c.out[node] = append(queue, m)
}

func (c *core) finish(id uint64, value []byte, err error) {
	if id != 0 {
		c.effects.results = append(c.effects.results, result{id: id, value: value, err: err})
	}
}

func (c *core) next() uint64 { c.seq++; return c.seq }

func (ticked) happen(c *core) {
	c.tick++
	for _, id := range c.ids {
		if g := c.groups[id]; g != nil { // a tick may end a group
			c.tickGroup(g)
		}
	}
	c.tickProposals()
	if c.tick%c.signOfLife() == 0 {
		for _, node := range c.peers() {
			if len(c.out[node]) == 0 {
				c.out[node] = []message{} // a frame without messages says that this node is alive
			}
		}
	}
	if c.tick%20 == 0 && !c.staged.Empty() {
		c.staged.Sync() // so that what nobody waits for gets to disk as well
	}
}

// signOfLife is after how many ticks other nodes are told that this one is alive: seldom, but more than once in the time after which
// they would believe that it is not, if all groups are asleep.
func (c *core) signOfLife() uint64 {
	for _, id := range c.ids {
		if !c.groups[id].asleep {
			return uint64(c.cfg.HeartbeatTicks)
		}
	}
	return uint64(max(c.cfg.HeartbeatTicks, c.cfg.ElectionTicks/3))
}

// peers are the nodes that have replicas of this node's groups.
func (c *core) peers() []uint64 {
	var nodes []uint64
	for _, g := range c.spans {
		for _, r := range g.state.desc.Replicas {
			if r.Node != c.cfg.Node && !slices.Contains(nodes, r.Node) {
				nodes = append(nodes, r.Node)
			}
		}
	}
	slices.Sort(nodes)
	return nodes
}

func (e received) happen(c *core) {
	messages, err := decodeFrame(e.data)
	if err != nil {
		c.stats.BadFrames++
		return
	}
	if c.silent(e.node) {
		c.returned(e.node)
	}
	c.heard[e.node] = c.tick
	for i := range messages {
		c.receive(e.node, &messages[i])
	}
}

func (e written) happen(c *core) {
	if e.err != nil {
		c.failDisk(e.err)
		return
	}
	write, answers := c.inflight, c.waiting
	c.inflight, c.waiting = nil, nil
	if err := c.log.Done(write); err != nil {
		c.failDisk(err)
		return
	}
	for _, a := range answers {
		if a.g.raft == nil || c.groups[a.g.id] != a.g {
			continue // it was destroyed meanwhile
		}
		if a.restored != nil {
			c.restored(a.g, a.restored, a.index)
		}
		if a.goes != 0 {
			c.send(a.on, message{kind: kindGone, group: a.g.id, from: a.g.self, to: a.goes, forward: forward{voters: a.g.votersNow()}})
		}
		c.deliver(a.g, a.messages)
	}
}

// deliver passes on what had to wait for the disk.
func (c *core) deliver(g *group, messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetTo() != g.self {
			c.sendRaft(g, m)
			continue
		}
		if g.raft == nil {
			return
		}
		if !c.tooEarly(m) {
			c.guard(g, func() { _ = g.raft.Step(m) })
		}
	}
	c.mark(g)
}

// failDisk stops everything: what is on disk is unknown from here on, and nothing may be built on it.
func (c *core) failDisk(err error) {
	c.err = fmt.Errorf("%w: %w", ErrStopped, err)
	c.abandon(c.err)
}

// abandon gives up everything that waits.
func (c *core) abandon(err error) {
	c.proposals.all(func(p *proposal) {
		if p.sent {
			c.finish(p.event, nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
		} else {
			c.finish(p.event, nil, err)
		}
	})
	c.proposals = newProposals()
	for _, id := range c.ids {
		c.abandonReads(c.groups[id], err)
	}
	for _, r := range c.ready {
		c.finish(r.event, nil, err)
	}
	c.ready = nil
}

// refuse answers an event after the disk failed.
func (c *core) refuse(e event) {
	switch e := e.(type) {
	case propose:
		c.finish(e.event, nil, c.err)
	case readKey:
		c.finish(e.event, nil, c.err)
	case changeGroup:
		c.finish(e.event, nil, c.err)
	}
}

// close gives back what the core holds of the database.
func (c *core) close() error {
	for _, id := range c.ids {
		g := c.groups[id]
		c.dropIncoming(g)
		for _, to := range g.streamIDs() {
			c.endStream(g, g.streams[to])
		}
	}
	var err error
	if c.rows != nil { // the disk failed before they were written
		err = c.rows.Close()
	}
	c.applied, c.rows = nil, nil
	return errors.Join(err, c.staged.Close(), c.closeInflight())
}

func (c *core) closeInflight() error {
	if c.inflight == nil {
		return nil
	}
	return c.inflight.Close()
}

// guard runs a call of the Raft algorithm, unless the replica has ended. That gives up by a panic if it cannot read its
// log; then the replica has failed. Any other panic goes on.
func (c *core) guard(g *group, call func()) {
	if g.raft == nil {
		return
	}
	defer func() {
		if g.log.Err() == nil {
			return
		}
		if p := recover(); p != nil {
			c.failGroup(g, g.log.Err())
		}
	}()
	call()
}

var _ raft.Storage = (*group)(nil)
