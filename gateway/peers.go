package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

const (
	// maxPeers bounds how many other gateways are remembered.
	maxPeers = 1024
	// maxTold bounds the services of which others are told, the first by name.
	maxTold = 1000
	// SocketPeers is the name of the socket at which other gateways report.
	SocketPeers = "peers"
	minSecret   = 16
	maxSecret   = 4096
)

// peers is what other gateways of the system have told, and the exchange with them.
type peers struct {
	mu   sync.Mutex
	last map[string]map[string]policy.Spend // by gateway, then by service

	listener net.Listener
	link     *peerlink.Link // nil: there are none, or Run has not begun
}

// peerSecret reads what the gateways of a system share; nil where this is the only one.
func peerSecret(sys *topology.System) ([]byte, error) {
	if sys.Gateways == nil {
		return nil, nil
	}
	path := resolve(sys.Dir, sys.Gateways.SecretFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("gateway: the secret of the gateways: %w", err)
	}
	if n := info.Size(); n < minSecret || n > maxSecret {
		return nil, fmt.Errorf("gateway: the secret of the gateways, %s, has %d bytes: want %d to %d", path, n, minSecret, maxSecret)
	}
	return os.ReadFile(path)
}

// listenPeers binds the address at which other gateways report.
func (g *Gateway) listenPeers(sys *topology.System) error {
	if sys.Gateways == nil {
		return nil
	}
	l, err := g.bind(SocketPeers, sys.Gateways.Listen)
	if err != nil {
		return fmt.Errorf("gateway: listening for other gateways: %w", err)
	}
	g.peers.listener = l
	g.peers.link, err = peerlink.New(peerlink.Config{
		Listener: l, Name: sys.Gateways.Listen, Peers: sys.Gateways.Peers, Secret: g.secret, Every: sys.Gateways.Every.Std(),
		Report: g.report, Heard: g.heard, Gone: g.ForgetPeer, Log: g.cfg.Log,
	})
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// closePeers closes what listenPeers has bound and nobody serves.
func (g *Gateway) closePeers() {
	if g.peers.listener != nil {
		_ = g.peers.listener.Close()
	}
}

// PeerAddr returns the address at which other gateways report, nil where there are none or before Listen.
func (g *Gateway) PeerAddr() net.Addr {
	if g.peers.listener == nil {
		return nil
	}
	return g.peers.listener.Addr()
}

// exchange tells other gateways what this one spends, and hears what they do, until ctx ends.
func (g *Gateway) exchange(ctx context.Context) {
	if g.peers.link != nil {
		g.peers.link.Run(ctx)
	}
}

// Peers says how it stands with the other gateways of the system; nil where there are none.
func (g *Gateway) Peers() []peerlink.Peer {
	if g.peers.link == nil {
		return nil
	}
	return g.peers.link.Peers()
}

// report is what there is to tell now.
func (g *Gateway) report() peerlink.Report {
	t := g.table.Load()
	r := peerlink.Report{Spent: map[string]policy.Spend{}, Limits: map[uint64][]policy.KeySpend{}}
	names := sortedKeys(t.services)
	for _, name := range names[:min(len(names), maxTold)] {
		r.Spent[name] = t.services[name].ledger.Spent()
	}
	left := peerlink.MaxKeys
	for id, l := range t.shared {
		if keys := l.shared.Take(left); len(keys) > 0 {
			r.Limits[id] = keys
			left -= len(keys)
		}
	}
	return r
}

// heard counts what another gateway tells.
func (g *Gateway) heard(peer string, r peerlink.Report) {
	if err := g.PeerSpent(peer, r.Spent); err != nil {
		g.cfg.Log.Warn(err.Error())
	}
	t, now := g.table.Load(), g.now()
	for id, keys := range r.Limits {
		if l := t.shared[id]; l != nil {
			l.shared.Charge(now, keys)
		}
	}
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
// that all keep within them together. It should be told about once a second, at least; what is told late counts when it
// is told. The first report of a peer only says where it starts from. Figures that fell, as those of a gateway that was
// restarted do, begin anew. Gateways that have each other in their file ('gateways') do this by themselves.
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

// limitID is what gateways with the same file call the limit of a route or an edge.
func limitID(name string, cfg topology.Limit) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %v %d %s %q", name, float64(cfg.Rate), cfg.Burst, cfg.By, cfg.Header))
	return binary.BigEndian.Uint64(sum[:])
}

// sharedLimits returns the limits that all gateways keep together.
func (t *table) sharedLimits() map[uint64]*limit {
	all := map[uint64]*limit{}
	for _, to := range slices.Concat(t.routes, t.inward) {
		if l := to.limit; l != nil && l.shared != nil {
			all[l.id] = l
		}
	}
	return all
}
