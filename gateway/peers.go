package gateway

import (
	"fmt"
	"sync"

	"github.com/banyanhq/banyan/policy"
)

// maxPeers bounds how many other gateways are remembered.
const maxPeers = 1024

// peers is what other gateways of the system have told.
type peers struct {
	mu   sync.Mutex
	last map[string]map[string]policy.Spend // by gateway, then by service
}

// Spent returns what this gateway has spent on retries and hedges since it began, by service, for others to count.
func (g *Gateway) Spent() map[string]policy.Spend {
	t := g.table.Load()
	out := make(map[string]policy.Spend, len(t.services))
	for name, s := range t.services {
		out[name] = s.ledger.Spent()
	}
	return out
}

// PeerSpent counts what another gateway of the system says that it has spent (its Spent) against this one's budgets, so
// that all keep within them together. It should be told about once a second; what is told late counts when it is told.
// The first report of a peer only says where it starts from. Figures that fell, as those of a gateway that was restarted
// do, begin anew.
func (g *Gateway) PeerSpent(peer string, spent map[string]policy.Spend) error {
	g.peers.mu.Lock()
	defer g.peers.mu.Unlock()
	if g.peers.last == nil {
		g.peers.last = map[string]map[string]policy.Spend{}
	}
	before, known := g.peers.last[peer]
	if !known && len(g.peers.last) >= maxPeers {
		return fmt.Errorf("gateway: what %s spent: %d other gateways are known already", peer, maxPeers)
	}
	g.peers.last[peer] = spent
	t, now := g.table.Load(), g.now()
	for name, s := range t.services {
		if from, ok := before[name]; ok {
			s.ledger.Peer(now, from, spent[name])
		}
	}
	return nil
}

// ForgetPeer forgets another gateway, which is gone. What it spent counts until the budgets' window has passed.
func (g *Gateway) ForgetPeer(peer string) {
	g.peers.mu.Lock()
	defer g.peers.mu.Unlock()
	delete(g.peers.last, peer)
}
