package bus

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errNoLeader says that no node serves the queues just now.
var errNoLeader = errors.New("no node leads the queues now; ask again in a few seconds")

// hopHeader marks a request that another node has passed on.
const hopHeader = "Banyan-Bus-Hop"

// leading reports whether this node serves the queues.
func (b *Bus) leading() bool { return b.cfg.Cluster == nil || !b.Broker().Closed() }

// atLeader has a request answered by the node that leads.
func (b *Bus) atLeader(h http.HandlerFunc) http.HandlerFunc {
	if b.cfg.Cluster == nil {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if b.leading() {
			h(w, r)
			return
		}
		to, err := b.leader(r.Context())
		if err != nil || r.Header.Get(hopHeader) != "" {
			refuse(w, errNoLeader)
			return
		}
		b.passOn(w, r, to)
	}
}

// leader asks where the node that leads is.
func (b *Bus) leader(ctx context.Context) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m, err := b.conn.RequestWithContext(ctx, leaderSubject, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLeader, err)
	}
	address, _, _ := strings.Cut(string(m.Data), " ")
	if !hmac.Equal(m.Data, b.cfg.Cluster.signed(address)) {
		return nil, errNoLeader // whoever said that is no node
	}
	to, err := url.Parse(address)
	if err != nil || to.Scheme != b.cfg.Cluster.scheme() {
		return nil, errNoLeader
	}
	return to, nil
}

func (b *Bus) passOn(w http.ResponseWriter, r *http.Request, to *url.URL) {
	proxy := httputil.ReverseProxy{
		Transport: b.toLeader, FlushInterval: -1, ErrorLog: nil,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Header.Set(hopHeader, "1")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			refuse(w, fmt.Errorf("%w: %w", errNoLeader, err))
		},
	}
	proxy.ServeHTTP(w, r)
}

// Node of a cluster, as another one sees it.
type Node struct {
	Node    uint64 `json:"node"`
	Address string `json:"address"`
	// Leads the queues.
	Leads bool `json:"leads"`
	// Up is whether it was heard of lately, and Current whether it has all that the others have.
	Up      bool `json:"up"`
	Current bool `json:"current"`
	// Lag is how many writes to the journal of the queues it is behind.
	Lag uint64 `json:"lag"`
}

// Nodes says how the nodes are doing that have the queues; none of a Bus that stands alone.
func (b *Bus) Nodes(ctx context.Context) ([]Node, error) {
	nodes := []Node{}
	if b.cfg.Cluster == nil {
		return nodes, nil
	}
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	stream, err := b.js.Stream(ctx, queuesStream)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLeader, err)
	}
	info := stream.CachedInfo().Cluster
	if info == nil {
		return nil, errNoLeader
	}
	peers := append(slices.Clone(info.Replicas), &jetstream.PeerInfo{Name: info.Leader, Current: true})
	for _, p := range peers {
		n, err := strconv.ParseUint(strings.TrimPrefix(p.Name, "node-"), 10, 64)
		if err != nil {
			continue // none of ours
		}
		nodes = append(nodes, Node{Node: n, Address: b.cfg.Cluster.Peers[n], Leads: p.Name == info.Leader, Up: !p.Offline && p.Active < heardOf, Current: p.Current, Lag: p.Lag})
	}
	slices.SortFunc(nodes, func(x, y Node) int { return int(x.Node) - int(y.Node) })
	return nodes, nil
}

// heardOf is how long ago a node that is up may have been heard of; they say so each second.
const heardOf = 5 * time.Second

// haveTopics reports whether all topics were made.
func (b *Bus) haveTopics(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, name := range b.embeddedTopics() {
		if _, err := b.js.Stream(ctx, name); err != nil {
			return false
		}
	}
	return true
}

func (b *Bus) getNodes(w http.ResponseWriter, r *http.Request) error {
	nodes, err := b.Nodes(r.Context())
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, nodes)
	return nil
}

// Ready returns when queues and topics are served: at once by a Bus that stands alone, when a node leads by one of several.
func (b *Bus) Ready(ctx context.Context) error {
	if b.cfg.Cluster == nil {
		return nil
	}
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	for {
		if _, err := b.leader(ctx); err == nil && b.haveTopics(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a node that leads the queues: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
