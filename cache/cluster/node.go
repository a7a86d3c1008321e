package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/banyanhq/banyan/cache/disk"
	"github.com/banyanhq/banyan/transport"
)

// Node is one node's part in the cluster. Open makes it, Listen binds it, Run takes part.
type Node struct {
	cfg       Config
	life      uint64
	folder    *disk.Folder
	journal   *journal
	raft      *raft.RawNode
	transport *transport.Transport
	begun     time.Time

	current atomic.Pointer[Map]
	until   atomic.Int64 // nanoseconds since begun, up to which the lease runs
	leader  atomic.Uint64

	inbox chan func()

	// What follows is Run's goroutine's.
	applied  uint64
	ticks    int64
	asked    map[string]time.Duration // renewals that have no answer yet, and when they were sent
	answered []raft.ReadState         // that wait for changes to be applied
	waiting  map[uint64]chan error
	watch    watch
	pace     map[paced]int64 // when this node proposed it last, in ticks
}

// inboxSize bounds what waits for the node; frames beyond it are lost, which Raft expects.
const inboxSize = 4096

// Open reads what the node knows, or begins a cluster.
func Open(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, begun: time.Now(), inbox: make(chan func(), inboxSize), asked: map[string]time.Duration{}, waiting: map[uint64]chan error{},
		watch: newWatch(), pace: map[paced]int64{}}
	var life [8]byte
	_, _ = rand.Read(life[:]) // never fails
	n.life = binary.LittleEndian.Uint64(life[:])>>1 | 1
	n.until.Store(-1)
	var err error
	if n.transport, err = transport.New(transport.Config{Node: cfg.Node, Secret: cfg.Secret, Receive: n.receive, MaxFrame: maxFrame,
		QueueBytes: maxFrame + 64<<20, Log: cfg.Log}); err != nil {
		return nil, err
	}
	for id, address := range cfg.Peers {
		if id != cfg.Node {
			n.transport.SetPeer(id, address)
		}
	}
	dir := cfg.fs
	if dir == nil {
		if n.folder, err = disk.OpenFolder(cfg.Dir); err != nil {
			return nil, fmt.Errorf("opening the folder of the cluster: %w", err)
		}
		dir = n.folder
	}
	if err := n.load(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the cluster in %s: %w", cfg.Dir, err), n.unlock())
	}
	return n, nil
}

func (n *Node) unlock() error {
	if n.folder == nil {
		return nil
	}
	return n.folder.Close()
}

func (n *Node) load(dir disk.FS) (err error) {
	if n.journal, err = openJournal(&n.cfg, dir); err != nil {
		return err
	}
	snapshot, err := n.journal.mem.Snapshot()
	if err != nil {
		return err
	}
	m, err := readMap(snapshot.GetData())
	if err != nil {
		return err
	}
	n.current.Store(m)
	n.applied = snapshot.GetMetadata().GetIndex()
	n.raft, err = raft.NewRawNode(&raft.Config{
		ID: n.cfg.Node, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks, Storage: n.journal.mem, Applied: n.applied,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 64, MaxUncommittedEntriesSize: 16 << 20, CheckQuorum: true, PreVote: true,
		ReadOnlyOption: raft.ReadOnlySafe, Logger: silent{},
	})
	return err
}

// Listen binds the node's address for its peers.
func (n *Node) Listen() (err error) {
	if n.cfg.Listener == nil {
		if n.cfg.Listener, err = net.Listen("tcp", n.cfg.Peers[n.cfg.Node]); err != nil {
			return fmt.Errorf("opening the address for the other nodes: %w", err)
		}
	}
	return nil
}

// Announce says where clients find this node; before Run.
func (n *Node) Announce(address string) { n.cfg.Announce = address }

// Close gives up a node that does not Run.
func (n *Node) Close() error {
	var err error
	if n.cfg.Listener != nil {
		err = n.cfg.Listener.Close()
	}
	return errors.Join(err, n.journal.close(), n.unlock())
}

// ID is the node's number.
func (n *Node) ID() uint64 { return n.cfg.Node }

// Life is the number of this process.
func (n *Node) Life() uint64 { return n.life }

// Peers are the numbers and addresses of all nodes.
func (n *Node) Peers() map[uint64]string { return n.cfg.Peers }

// Map is what this node knows to be agreed on.
func (n *Node) Map() *Map { return n.current.Load() }

// Leader is the node that leads the Raft group, as far as this one knows; 0: none.
func (n *Node) Leader() uint64 { return n.leader.Load() }

// Leased reports whether this node may answer for what the map says is its own.
func (n *Node) Leased() bool { return int64(time.Since(n.begun)) < n.until.Load() }

// Send sends a frame to a node; it may be lost. It does not wait.
func (n *Node) Send(node uint64, frame []byte) {
	n.transport.Send(node, append(frame[:len(frame):len(frame)], fromData))
}

// Frames end with a byte that says whose they are.
const (
	fromRaft = 1
	fromData = 2
)

// Run takes part until ctx ends or the disk fails.
func (n *Node) Run(ctx context.Context) (err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.transport.Run(ctx, n.cfg.Listener) })
	group.Go(func() error { return n.loop(ctx) })
	err = group.Wait()
	return errors.Join(err, n.journal.close(), n.unlock())
}

func (n *Node) loop(ctx context.Context) error {
	ticker := time.NewTicker(n.cfg.Tick)
	defer ticker.Stop()
	n.cfg.Changed(n.Map())
	for {
		select {
		case <-ctx.Done():
			n.until.Store(-1)
			for _, ch := range n.waiting {
				ch <- ctx.Err()
			}
			return nil
		case do := <-n.inbox:
			do()
		case <-ticker.C:
			n.tick()
		}
		for range 256 { // what waits shares a sync
			select {
			case do := <-n.inbox:
				do()
				continue
			default:
			}
			break
		}
		if err := n.ready(); err != nil {
			n.until.Store(-1)
			return err
		}
	}
}

// receive takes a frame of a peer.
func (n *Node) receive(from uint64, frame []byte) {
	if len(frame) == 0 || n.cfg.Peers[from] == "" {
		return
	}
	body := frame[:len(frame)-1]
	switch frame[len(frame)-1] {
	case fromData:
		n.cfg.Received(from, body)
	case fromRaft:
		m := &raftpb.Message{}
		if proto.Unmarshal(body, m) != nil || m.GetFrom() != from || m.GetTo() != n.cfg.Node || !remote(m.GetType()) {
			return
		}
		select {
		case n.inbox <- func() { n.step(m) }:
		default:
		}
	}
}

// remote reports whether a message is one that nodes send each other.
func remote(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgSnap,
		raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgProp:
		return true
	}
	return false
}

func (n *Node) step(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgReadIndex && !n.renewalOf(m) {
		return
	}
	_ = n.raft.Step(m) // what it refuses was of the past
}

// ready carries out what Raft wants done.
func (n *Node) ready() error {
	for n.raft.HasReady() {
		rd := n.raft.Ready()
		if rd.SoftState != nil {
			n.leader.Store(rd.Lead)
			n.watch.lead(rd.RaftState == raft.StateLeader, n.ticks)
		}
		if err := n.journal.save(&rd); err != nil {
			return err
		}
		for _, m := range rd.Messages {
			b, err := proto.Marshal(m)
			if err != nil {
				return err
			}
			n.transport.Send(m.GetTo(), append(b, fromRaft))
			if m.GetType() == raftpb.MsgSnap {
				n.raft.ReportSnapshot(m.GetTo(), raft.SnapshotFinish) // one that is lost is sent again
			}
		}
		if !raft.IsEmptySnap(rd.Snapshot) {
			m, err := readMap(rd.Snapshot.GetData())
			if err != nil {
				return err
			}
			n.applied = rd.Snapshot.GetMetadata().GetIndex()
			n.publish(m)
		}
		for _, e := range rd.CommittedEntries {
			n.apply(e)
		}
		n.answered = append(n.answered, rd.ReadStates...)
		n.raft.Advance(rd)
	}
	n.renewed()
	return n.journal.compact(n.applied, n.Map())
}

func (n *Node) publish(m *Map) {
	n.current.Store(m)
	n.cfg.Changed(m)
}

// apply carries out what was agreed on.
func (n *Node) apply(e *raftpb.Entry) {
	n.applied = e.GetIndex()
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return
	}
	var c Command
	err := json.Unmarshal(e.GetData(), &c)
	if err == nil {
		var m *Map
		if m, err = n.Map().Apply(c); err == nil {
			n.publish(m)
		}
	}
	if c.Op == Promote {
		n.watch.decided(c.From)
	}
	if err == nil {
		n.cfg.Log.Info("the nodes have agreed", "what", c.Op, "node", c.Node, "from", c.From, "to", c.To)
	}
	if ch := n.waiting[c.ID]; ch != nil {
		delete(n.waiting, c.ID)
		ch <- err // it holds one
	}
}

// Propose has the nodes agree on a command. ErrRefused says that they did not; any other error that it is not known yet.
func (n *Node) Propose(ctx context.Context, c Command) error {
	ch := make(chan error, 1)
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	c.ID = binary.LittleEndian.Uint64(id[:])
	select {
	case n.inbox <- func() { n.waiting[c.ID] = ch; n.propose(c) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
	}
	select {
	case n.inbox <- func() { delete(n.waiting, c.ID) }:
	default: // it stays until the outcome is known: its channel holds one
	}
	return fmt.Errorf("the nodes have not agreed yet: %w", ctx.Err())
}

func (n *Node) propose(c Command) {
	b, err := json.Marshal(c)
	if err == nil {
		err = n.raft.Propose(b)
	}
	if err == nil {
		return
	}
	if c.Op == Promote {
		n.watch.decided(c.From) // nobody will be
	}
	if ch := n.waiting[c.ID]; ch != nil {
		delete(n.waiting, c.ID)
		ch <- fmt.Errorf("no leader of the nodes: %w", err)
	}
}

// now is the time since the node was opened.
func (n *Node) now() time.Duration { return time.Since(n.begun) }

// silent is a logger of Raft that says nothing, but ends what must not go on.
type silent struct{}

func (silent) Debug(...any)              {}
func (silent) Debugf(string, ...any)     {}
func (silent) Error(...any)              {}
func (silent) Errorf(string, ...any)     {}
func (silent) Info(...any)               {}
func (silent) Infof(string, ...any)      {}
func (silent) Warning(...any)            {}
func (silent) Warningf(string, ...any)   {}
func (silent) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (silent) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (silent) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (silent) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
