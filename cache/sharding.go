package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/cache/cluster"
	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/slot"
)

// Cluster says which node of a cluster a server is. See cluster.Config.
type Cluster struct {
	Node      uint64
	Peers     map[uint64]string // how the nodes reach each other
	Secret    []byte
	Dir       string // for what the nodes agree on
	Bootstrap bool
	Replicas  int
	Announce  string // the address that clients are sent to; default: the one that is listened at
	// HotReads has nodes answer reads of hot keys that are others', on connections that are READONLY, and bounds how old such an answer
	// may be. 0: they do not.
	HotReads time.Duration

	// Listener for the other nodes. Default: one is opened at the node's address.
	Listener net.Listener
}

func (c *Config) validateCluster() error {
	switch {
	case c.Cluster == nil:
		return nil
	case slices.ContainsFunc(c.Origins, func(o Origin) bool { return o.Write == writeBehind }):
		return errors.New("origins that are written behind are not supported in a cluster: what waits to be written would not go along with slots")
	case c.Cluster.HotReads < 0 || c.Cluster.HotReads > maxHotReads:
		return fmt.Errorf("hot reads: want 0 to %s", maxHotReads)
	}
	c.Databases = 1
	return nil
}

// maxHotReads bounds how old an answer for a hot key may be.
const maxHotReads = time.Minute

// sharding is a server's part in a cluster. The server's lock guards what is not marked.
type sharding struct {
	s    *Server
	node *cluster.Node // for everybody

	m         *cluster.Map
	id        uint64
	self      cluster.Member
	active    bool               // the map knows this process
	confirmed [slot.Count]bool   // slots that go away, and whose taker is ready for clients
	given     [slot.Count]bool   // slots that come here, and of which nothing is left where they were
	inherited bool               // slots were going away already when this node became the primary
	kept      streamPlace        // in which stream this node was when it ended, until the map knows this process; its keys are those
	hasKept   bool               // it has kept its keys
	noted     keyspace.Followed  // what was last written down
	flight    map[string]*flight // keys that are being moved
	askers    map[uint64]asker
	keys      [][]byte // of the command that is being routed

	far atomic.Int64 // what standing tells

	copies  // as a primary
	follow  // as a replica
	hot     hotReads
	work    chan struct{} // tells the mover that slots may have to go
	flow    chan struct{} // tells the sender that there is something to send
	pending questions     // what other nodes owe an answer to
}

// questions are questions to other nodes that have none yet.
type questions struct {
	mu   sync.Mutex
	next uint64
	wait map[uint64]chan byte
}

func (a *questions) ask() (id uint64, answer chan byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	answer = make(chan byte, 1)
	a.wait[a.next] = answer
	return a.next, answer
}

func (a *questions) forget(id uint64) {
	a.mu.Lock()
	delete(a.wait, id)
	a.mu.Unlock()
}

func (a *questions) tell(id uint64, answer byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.wait[id]; ch != nil {
		delete(a.wait, id)
		ch <- answer // it holds one
	}
}

// openCluster joins what the configuration says; the server's address is bound.
func (s *Server) openCluster() error {
	c := s.cfg.Cluster
	if c == nil {
		return nil
	}
	announce := c.Announce
	if announce == "" {
		announce = s.Addr().String()
		if at, err := netip.ParseAddrPort(announce); err == nil && at.Addr().IsUnspecified() {
			return fmt.Errorf("clients can't be sent to %s: say which address they are sent to", announce)
		}
	}
	h := &sharding{s: s, id: c.Node, flight: map[string]*flight{}, askers: map[uint64]asker{}, work: make(chan struct{}, 1), flow: make(chan struct{}, 1)}
	h.pending.wait = map[uint64]chan byte{}
	h.links = map[uint64]*link{}
	var err error
	if h.hot, err = newHotReads(c.HotReads, len(c.Peers)-1); err != nil {
		return err
	}
	life, err := h.takeKept()
	if err != nil {
		return errors.Join(err, h.hot.close())
	}
	node, err := cluster.Open(cluster.Config{
		Node: c.Node, Peers: c.Peers, Secret: c.Secret, Dir: c.Dir, Bootstrap: c.Bootstrap, Replicas: c.Replicas, Announce: announce,
		Listener: c.Listener, Log: s.cfg.Log, Kept: h.hasKept && s.keep.appends(), Followed: life, Changed: h.changed, Received: h.received, Standing: h.standing,
	})
	if err != nil {
		return errors.Join(err, h.hot.close())
	}
	if err := node.Listen(); err != nil {
		return errors.Join(err, node.Close(), h.hot.close())
	}
	h.node, h.m = node, node.Map()
	s.mu.Lock()
	s.sharding = h
	h.shareNotes()
	s.mu.Unlock()
	return nil
}

// run takes part in the cluster until ctx ends.
func (h *sharding) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.node.Run(ctx) })
	group.Go(func() error { h.moveSlots(ctx); return nil })
	group.Go(func() error { h.sendCopies(ctx); return nil })
	return group.Wait()
}

// changed takes over a new map.
func (h *sharding) changed(m *cluster.Map) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	was, wasActive := h.self, h.active
	h.m, h.self = m, m.Members[h.id]
	h.active = h.self.Life == h.node.Life()
	promoted := wasActive && h.active && was.Of != 0 && h.self.Of == 0
	returned := !wasActive && h.active && h.self.Of == 0 && h.s.keep != nil
	if returned {
		h.dropForeign()
	}
	if promoted || returned {
		for s := range m.Moving { // whoever takes them knows of it
			if uint64(m.Owners[s]) == h.id {
				h.confirmed[s], h.inherited = true, true
			}
		}
	}
	for s := range h.confirmed {
		if h.confirmed[s] && (m.Moving[uint16(s)] == 0 || uint64(m.Owners[s]) != h.id) {
			h.confirmed[s] = false
		}
	}
	for s := range h.given {
		h.given[s] = h.given[s] && m.Moving[uint16(s)] == h.id
	}
	h.inherited = h.inherited && len(m.Moving) > 0
	h.takeRole()
	h.sendAway()
	wake(h.work)
	wake(h.flow)
}

// sendAway tells clients that wait for keys that are elsewhere now.
func (h *sharding) sendAway() {
	var gone []*waiting
	for at, all := range h.s.waiting {
		if at.db >= 0 && (uint64(h.m.Owners[slot.Of([]byte(at.key))]) != h.id || !h.active) {
			gone = append(gone, all...)
		}
	}
	for _, w := range gone {
		if w.c.blocked == w {
			k := call{s: h.s, c: w.c, cmd: w.cmd, v3: w.c.v3}
			k.fail(h.moved(slot.Of([]byte(w.keys[0].key))))
			h.s.wake(w, k.out)
		}
	}
}

// Frames between nodes begin with what they are.
const (
	frameReady   = 'r' // number, version of the map: are you ready to take slots
	frameGiven   = 'e' // number, slots: nothing of them is left here, they are yours
	frameKeys    = 'k' // number, life, keep, count, keys with their values
	frameAnswer  = 'a' // number, answer
	frameHello   = 'h' // stream, offset: I want to follow you
	frameBegin   = 'b' // stream, offset, full: do
	frameStream  = 's' // stream, offset, bytes
	frameGot     = 'g' // stream, offset: I have all that comes before
	frameLost    = 'l' // I do not know you
	framePublish = 'p' // channel, message
	frameOffer   = 'o' // count, keys of mine that are hot
	frameWant    = 'w' // number, reads, key: I want a copy of it
	frameCopy    = 'c' // number, key, whether it is given, the key with its value
	frameChanged = 'x' // key: your copy is out of date
)

// Answers to other nodes.
const (
	answerYes = 1 + iota
	answerNo
	answerFull // there is no memory
)

// received takes a frame of another node.
func (h *sharding) received(from uint64, frame []byte) {
	h.s.mu.Lock()
	answer := h.take(from, frame)
	h.s.mu.Unlock()
	if answer != nil {
		h.keepNow()
		h.node.Send(from, answer)
	}
}

// take takes a frame, and returns an answer that may be sent when what came is kept; nil: there is none. The lock is held.
func (h *sharding) take(from uint64, frame []byte) (kept []byte) {
	d := keyspace.Pieces{B: frame}
	kind := d.Byte()
	h.s.store.SetNow(time.Now().UnixMilli())
	switch kind {
	case frameReady:
		id, version := d.Number(), d.Number()
		h.answer(from, id, map[bool]byte{true: answerYes, false: answerNo}[!d.Bad && h.active && h.m.Version >= version])
	case frameGiven:
		id := d.Number()
		h.answer(from, id, h.takeGiven(&d))
	case frameKeys:
		id := d.Number()
		kept = answering(id, h.takeKeys(from, id, &d))
	case frameAnswer:
		id, answer := d.Number(), d.Byte()
		h.pending.tell(id, answer)
	case frameHello, frameGot, frameBegin, frameStream:
		stream, offset := d.Number(), int64(d.Number())
		if d.Bad || offset < 0 {
			return nil
		}
		switch kind {
		case frameHello:
			h.greet(from, stream, offset)
		case frameGot:
			h.got(from, stream, offset)
		case frameBegin:
			h.begin(from, stream, offset, d.Byte())
		default:
			h.feed(from, stream, offset, d.B)
		}
	case frameLost:
		h.lost(from)
	case framePublish:
		if channel := d.Bytes(); !d.Bad {
			h.s.publish(channels, string(channel), d.B)
		}
	case frameOffer:
		h.takeOffer(from, &d)
	case frameWant:
		if id, reads := d.Number(), d.Number(); !d.Bad {
			h.giveCopy(from, id, reads, d.B)
		}
	case frameCopy:
		if id, key, yes := d.Number(), d.Bytes(), d.Byte() == 1; !d.Bad {
			h.takeCopy(from, id, key, yes, d.B)
		}
	case frameChanged:
		if h.hot.owner != nil {
			h.hot.holder.Changed(d.B)
		}
	}
	if len(h.s.ready) > 0 {
		h.s.serveWaiting()
	}
	h.collect()
	return kept
}

func answering(id uint64, answer byte) []byte {
	return append(appendNumber([]byte{frameAnswer}, id), answer)
}

func (h *sharding) answer(to, id uint64, answer byte) { h.node.Send(to, answering(id, answer)) }

// broadcast publishes a message on the other nodes.
func (h *sharding) broadcast(channel, message []byte) {
	b := appendBytes([]byte{framePublish}, channel)
	h.sendOthers(append(b, message...))
}

// sendOthers sends a frame to all other nodes.
func (h *sharding) sendOthers(b []byte) {
	for id := range h.node.Peers() {
		if id != h.id {
			h.node.Send(id, b)
		}
	}
}

// primaries in order, as clients are told of them.
func (h *sharding) primaries() []cluster.Member {
	var all []cluster.Member
	for _, id := range h.m.Primaries() {
		all = append(all, h.m.Members[id])
	}
	slices.SortFunc(all, func(a, b cluster.Member) int { return int(a.ID) - int(b.ID) })
	return all
}
