package replica

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/reactor"
	"github.com/banyanhq/banyan/store/raftlog"
)

// Transport takes frames to other nodes.
type Transport interface {
	// Send must not wait. The frame may be lost; if it arrives, then unchanged, once, and in order with those before it.
	Send(node uint64, frame []byte)
}

// Host runs the replicas of a node. All its methods may be called by any goroutine.
type Host struct {
	cfg       Config
	core      *core
	log       *raftlog.Log
	transport Transport
	start     time.Time

	mu      sync.Mutex
	inbox   []event
	bytes   int // of frames in inbox
	wakeup  chan struct{}
	waiting map[uint64]chan result
	lastID  uint64
	stopped error // set once nothing is taken any more
	checks  checks

	channels sync.Pool // each holds a result

	now func() time.Duration // since start
}

// maxInbox bounds what waits for the loop: frames beyond it are lost, requests refused.
const (
	maxInboxBytes  = 128 << 20
	maxInboxEvents = 1 << 16
)

// New loads the replicas that the database holds. Dir must be on the database's file system and is emptied.
//
// By default pebble ends the process when it finds damage. For a replica to stop alone, the database must have been
// opened with an EventListener whose DataCorruption does not.
func New(cfg Config, db *pebble.DB, files raftlog.Config, machine Machine, transport Transport) (*Host, error) {
	log, err := raftlog.Open(db, files)
	if err != nil {
		return nil, err
	}
	var life [8]byte
	if _, err := rand.Read(life[:]); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	c, err := newCore(cfg, log, machine, binary.BigEndian.Uint64(life[:])|1, 0)
	if err != nil {
		return nil, err
	}
	h := &Host{cfg: c.cfg, core: c, log: log, transport: transport, start: time.Now(), wakeup: make(chan struct{}, 1),
		waiting: map[uint64]chan result{},
		checks:  checks{queue: make(chan checkpoint, maxCheckpoints), sums: map[uint64]Checksum{}, errs: map[uint64]error{}}}
	h.channels.New = func() any { return make(chan result, 1) }
	h.now = func() time.Duration { return time.Since(h.start) }
	return h, nil
}

// Run takes part in the groups until the context ends or the disk fails. It returns once all it started is over; what
// was asked for and has no outcome by then gets ErrStopped or ErrUnknownOutcome.
func (h *Host) Run(ctx context.Context) error {
	defer reactor.Spare(1)() // for the writer
	writes, done := make(chan *raftlog.Write, 1), make(chan error, 1)
	var writer, checker sync.WaitGroup
	checking, stopChecks := context.WithCancel(ctx)
	checker.Go(func() { h.runChecks(checking) })
	writer.Go(func() {
		for w := range writes {
			done <- h.log.Commit(w)
		}
	})
	ticker := time.NewTicker(h.cfg.Tick)
	defer ticker.Stop()
	h.signal()
	var err error
	var events []event
	for err == nil {
		events = events[:0]
		select {
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ErrStopped, ctx.Err())
			continue
		case <-h.wakeup:
		case <-ticker.C:
			events = append(events, ticked{})
		case e := <-done:
			events = append(events, written{e})
		}
		events = h.take(events)
		eff := h.core.step(h.now(), events)
		clear(events)
		for _, f := range eff.send {
			h.transport.Send(f.node, f.data)
		}
		if eff.write != nil {
			writes <- eff.write
		}
		h.takeChecks(eff.checks)
		h.tell(eff.results)
		err = h.core.err
	}
	close(writes)
	stopChecks()
	checker.Wait()
	h.dropChecks()
	writer.Wait()
	h.mu.Lock()
	h.stopped = err
	h.mu.Unlock()
	h.core.effects = effects{}
	h.core.abandon(err)
	h.tell(h.core.effects.results)
	h.tellRest(err)
	closed := h.core.close()
	if ctx.Err() != nil && h.core.err == nil {
		return closed
	}
	return errors.Join(err, closed)
}

func (h *Host) signal() {
	select {
	case h.wakeup <- struct{}{}:
	default:
	}
}

// take appends to the events those that have come.
func (h *Host) take(events []event) []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events = append(events, h.inbox...)
	h.inbox, h.bytes = emptied(h.inbox), 0
	return events
}

// tell passes results on to those who wait for them.
func (h *Host) tell(results []result) {
	if len(results) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range results {
		h.tellOne(r)
	}
}

func (h *Host) tellOne(r result) {
	if ch := h.waiting[r.id]; ch != nil {
		delete(h.waiting, r.id)
		ch <- r // it holds one
		return
	}
	if r.view != nil {
		_ = r.view.Close() // whoever asked has gone
	}
}

// tellRest answers what never reached the core.
func (h *Host) tellRest(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.waiting {
		h.tellOne(result{id: id, err: err})
	}
}

// emptyFrame is the size of a frame without messages.
var emptyFrame = len(encodeFrame(nil))

// Receive takes a frame that another node's transport was given by Send. It does not wait.
func (h *Host) Receive(from uint64, frame []byte) {
	h.mu.Lock()
	full := h.bytes+len(frame) > maxInboxBytes || h.stopped != nil
	if !full {
		h.inbox, h.bytes = append(h.inbox, received{from, frame}), h.bytes+len(frame)
	}
	h.mu.Unlock()
	if len(frame) > emptyFrame {
		h.signal() // a mere sign of life can wait for the next tick
	}
}

// ask gives the core an event and waits for its result.
func (h *Host) ask(ctx context.Context, event func(id uint64) event) (result, error) {
	ch := h.channels.Get().(chan result)
	defer h.channels.Put(ch) // it is empty and not among those that wait
	h.mu.Lock()
	switch {
	case h.stopped != nil:
		h.mu.Unlock()
		return result{}, h.stopped
	case len(h.inbox) >= maxInboxEvents:
		h.mu.Unlock()
		return result{}, ErrOverloaded
	}
	h.lastID++
	id := h.lastID
	h.waiting[id] = ch
	h.inbox = append(h.inbox, event(id))
	h.mu.Unlock()
	h.signal()
	select {
	case r := <-ch:
		return r, r.err
	case <-ctx.Done():
	}
	h.mu.Lock()
	delete(h.waiting, id)
	h.mu.Unlock()
	select {
	case r := <-ch: // it came meanwhile
		return r, r.err
	default:
		return result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// Propose lets the group that owns the key carry out the command, and returns what the Machine said. Of its errors
// only ErrUnknownOutcome leaves open whether the command was or will be carried out.
func (h *Host) Propose(ctx context.Context, key, command []byte) ([]byte, error) {
	return h.ProposeOnce(ctx, nil, key, command)
}

// ProposeOnce is Propose for a command that may have been proposed before, with the same token, by whichever node: it
// is carried out once as long as its token is remembered (Config.TokenWindow), and has the same result each time. The
// host proposes it again by itself where a leader was lost.
func (h *Host) ProposeOnce(ctx context.Context, token, key, command []byte) ([]byte, error) {
	r, err := h.ask(ctx, func(id uint64) event { return propose{event: id, token: token, key: key, body: command} })
	return r.value, err
}

// Read returns a view of the group that owns the key. If consistent, it shows everything that was acknowledged before
// Read was called; otherwise what this node has.
func (h *Host) Read(ctx context.Context, key []byte, consistent bool) (*View, error) {
	r, err := h.ask(ctx, func(id uint64) event { return readKey{event: id, key: key, consistent: consistent} })
	return r.view, err
}

// ChangeReplicas changes where a group's replicas are; several changes take effect together. Only the group's leader
// can; others answer a NotLeaderError.
func (h *Host) ChangeReplicas(ctx context.Context, group uint64, changes ...Change) error {
	return h.change(ctx, group, changeReplicas(changes))
}

// TransferLeader asks the group's leader, which must be here, to hand over to the voter on a node. It returns before
// that is leader; it may never be.
func (h *Host) TransferLeader(ctx context.Context, group, node uint64) error {
	return h.change(ctx, group, transferLeader(node))
}

// Split gives the keys of a group from key on to a new group, with replicas on the same nodes. The new id must never
// have been used in the cluster. Only the group's leader can.
func (h *Host) Split(ctx context.Context, group uint64, key []byte, newGroup uint64) error {
	return h.change(ctx, group, splitAt(key, newGroup))
}

// SplitAt is Split of the group that has the key, on any node that has a replica of it.
func (h *Host) SplitAt(ctx context.Context, key []byte, newGroup uint64) error {
	_, err := h.ask(ctx, func(id uint64) event { return splitHere{event: id, key: key, group: newGroup} })
	return err
}

// HandOver is TransferLeader to a node that can lead at once; to another it is refused.
func (h *Host) HandOver(ctx context.Context, group, node uint64) error {
	return h.change(ctx, group, handOver(node))
}

// Merge lets a group take over the keys of its right neighbour, which must have voters on the same nodes. This node must
// lead both: the leadership of the group moves towards that of its neighbour by itself, so a NotLeaderError means to
// try again on the node that it names. While it goes on the neighbour's keys
// are not available, and whichever node leads the group goes on with it.
func (h *Host) Merge(ctx context.Context, group uint64) error {
	return h.change(ctx, group, mergeRight)
}

func (h *Host) change(ctx context.Context, group uint64, do func(*core, *group, uint64) error) error {
	_, err := h.ask(ctx, func(id uint64) event { return changeGroup{event: id, group: group, do: do} })
	return err
}

// GroupStatus is what this node knows of a group that it has a replica of.
type GroupStatus struct {
	Descriptor
	Replica uint64 // this node's
	Leader  uint64 // node, 0 if unknown
	Leads   bool   // this node does
	Term    uint64
	Applied uint64
	Asleep  bool
	Merging bool // frozen, to be merged into its left neighbour
	HasData bool
	Joint   bool       // between two sets of voters
	Peers   []Progress // of all replicas, as their leader knows it; on other nodes empty
	Err     error      // it has failed
	Hurt    error      // it can't read all of its rows, and goes on voting
}

// Status describes the node's replicas, in ascending order of their groups, and what they have done.
func (h *Host) Status(ctx context.Context) ([]GroupStatus, Stats, error) {
	seen := &struct {
		groups []GroupStatus
		stats  Stats
	}{}
	_, err := h.ask(ctx, func(id uint64) event {
		return inspect{id, func(c *core) { seen.groups, seen.stats = c.status(), c.stats }}
	})
	if err != nil {
		return nil, Stats{}, err // seen may yet be written
	}
	return seen.groups, seen.stats, nil
}

func (c *core) status() (groups []GroupStatus) {
	for _, id := range c.ids {
		g := c.groups[id]
		s := GroupStatus{Descriptor: g.state.desc.clone(), Replica: g.self, Leads: g.leads(), Term: g.term, Applied: g.applied,
			Asleep: g.asleep, Merging: g.state.frozen, HasData: g.hasData, Joint: g.state.joint(), Peers: c.progress(g), Err: g.err, Hurt: g.hurt}
		s.Group = g.id
		if g.raft != nil {
			s.Leader = g.node(g.leader)
		}
		groups = append(groups, s)
	}
	return groups
}

// Silent says whether nothing has come from a node for so long that its groups elect other leaders. Only nodes with replicas of this
// one's groups are heard of.
func (h *Host) Silent(ctx context.Context, node uint64) (bool, error) {
	var silent bool
	_, err := h.ask(ctx, func(id uint64) event { return inspect{id, func(c *core) { silent = c.silent(node) }} })
	if err != nil {
		return false, err // it may yet be written
	}
	return silent, nil
}

// inspect looks at the core between events.
type inspect struct {
	event uint64
	look  func(*core)
}

func (e inspect) happen(c *core) {
	e.look(c)
	c.finish(e.event, nil, nil)
}
