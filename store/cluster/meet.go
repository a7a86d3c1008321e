package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/banyanhq/banyan/transport"
)

// ErrGone is why Run ends on a node that is not part of the cluster any more.
var ErrGone = errors.New("not part of the cluster any more")

// acquaintance is how nodes come to know each other: each tells those that it knows of what it knows, when that is news.
type acquaintance struct {
	id        uint64 // of this node
	start     uint64 // of this node's starts
	directory *directory
	caller    transport.Caller
	every     time.Duration
	wake      chan struct{} // holds one

	mu      sync.Mutex
	asking  map[uint64]time.Time // when nodes last asked for replicas
	refused map[uint64]string    // why they get none
	told    map[uint64]bool      // nodes that know what this one knows
	failed  map[string]int       // addresses that did not answer, and how often in a row
	idle    map[uint64]time.Time // since when nodes have neither had replicas nor asked for any, while another has their number
	round   int
}

func newAcquaintance(id uint64, caller transport.Caller, every time.Duration) *acquaintance {
	return &acquaintance{id: id, caller: caller, every: every, wake: make(chan struct{}, 1), asking: map[uint64]time.Time{}, refused: map[uint64]string{},
		told: map[uint64]bool{}, failed: map[string]int{}, idle: map[uint64]time.Time{}}
}

// rounds of acquaintance: after how many a node that asks for replicas and is not heard of again is believed to be gone, how
// seldom an address that does not answer is tried, and how seldom one node is told without news, in case one was missed.
const (
	askingRounds = 10
	patience     = 16
	anyway       = 30
)

// greeted takes over what another node knows, and tells it what this one does.
func (n *Node) greeted(q question) (*reply, error) {
	k := n.known
	if len(q.Members) > maxMembers {
		return nil, fmt.Errorf("%d nodes: expected %d at most", len(q.Members), maxMembers)
	}
	if err := k.learn(q.Members); err != nil {
		return nil, err
	}
	r := &reply{From: k.id, Members: k.directory.members()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if q.Asking && q.From != 0 {
		k.asking[q.From], r.Refused = n.cfg.Now(), k.refused[q.From]
	}
	return r, nil
}

// learn takes over what is news; if it was some, all others are told.
func (k *acquaintance) learn(members []Member) error {
	news, err := k.directory.merge(members...)
	if news {
		k.mu.Lock()
		clear(k.told)
		k.mu.Unlock()
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	return err
}

// meet tells other nodes what this one knows until ctx ends.
func (n *Node) meet(ctx context.Context) error {
	tick := time.NewTicker(n.known.every)
	defer tick.Stop()
	said := ""
	for {
		asking := !n.ready.Load()
		var all sync.WaitGroup
		var mu sync.Mutex
		refused := ""
		for address := range n.known.targets(n.cfg.Peers, asking) {
			all.Go(func() {
				if why := n.greet(ctx, address, asking); why != "" {
					mu.Lock()
					refused = why
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if refused != said && refused != "" {
			n.cfg.Log.Warn("tables: this node gets no replicas", "node", n.cfg.Node, "because", refused)
		}
		said = refused
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.known.wake:
		}
	}
}

func (n *Node) greet(ctx context.Context, address string, asking bool) (refused string) {
	k := n.known
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := ask(ctx, k.caller, address, question{Op: "hello", From: k.id, Asking: asking, Members: k.directory.members()})
	if err == nil {
		err = k.learn(r.Members)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed[address]++
		n.cfg.Log.Debug("tables: greeting a node", "address", address, "err", err)
		return ""
	}
	delete(k.failed, address)
	k.told[r.From] = true
	return r.Refused
}

// targets are the addresses of those who are to be told: nodes that don't know what this one knows, and addresses of which nobody
// knows yet which node is there; all, if this node asks for replicas.
func (k *acquaintance) targets(peers map[uint64]string, all bool) map[string]bool {
	members := k.directory.members()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.round++
	targets, met, self := map[string]bool{}, map[string]bool{}, ""
	var others []string
	for _, m := range members {
		switch {
		case m.ID == k.id:
			self = m.Address
		case m.State != Gone:
			met[m.Address] = true
			others = append(others, m.Address)
			targets[m.Address] = targets[m.Address] || all || !k.told[m.ID]
		}
	}
	for _, address := range peers {
		targets[address] = targets[address] || !met[address]
	}
	if len(others) > 0 && k.round%anyway == 0 {
		targets[others[rand.N(len(others))]] = true
	}
	for address, wanted := range targets {
		if often := min(1<<min(k.failed[address], 10), patience); !wanted || address == self || k.round%often != 0 {
			delete(targets, address)
		}
	}
	return targets
}
