package bus

import (
	"context"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server"
)

// JetStream's nodes wait 4 s to 9 s without a word of their leader before one of them asks for votes, and its server has no setting for that. But the
// connections to a process that was killed end at once: where those to a leader have, this node has its server ask for votes as if the time were
// up. All else is JetStream's: who may lead, and who votes for whom. A leader that is stopped, or cut off without a word, is waited for as before.

// elections says which groups of nodes should elect a leader now.
type elections struct {
	connected map[string]bool
	gone      map[string]time.Time // nodes whose connections have ended lately
	asked     map[string]time.Time // when votes were last asked for, of groups that have had no leader since
}

const (
	// askAgainAfter is how long votes are waited for. Those who ask do so after up to 0.8 s, each a random time.
	askAgainAfter = 1500 * time.Millisecond
	// hurryFor is how long after the end of a connection elections are hurried. Two nodes that are cut off from each other alone, and not from a
	// third one, would else take the lead from one another for as long as that lasts.
	hurryFor = 5 * time.Second
)

// raftGroup is what a node knows of a group that it is in.
type raftGroup struct {
	leader string // its node; empty: none
	peers  []string
	quorum int  // nodes that it takes to elect a leader
	votes  bool // this node follows, or asks for votes
}

func newElections() *elections {
	return &elections{gone: map[string]time.Time{}, asked: map[string]time.Time{}}
}

// look notes which other nodes are connected, and reports whether one was until lately that is not.
func (e *elections) look(now time.Time, connected map[string]bool) bool {
	for node := range e.connected {
		if !connected[node] {
			e.gone[node] = now
		}
	}
	e.connected = connected
	for node, since := range e.gone {
		if connected[node] || now.Sub(since) > hurryFor {
			delete(e.gone, node)
		}
	}
	if len(e.gone) == 0 {
		clear(e.asked)
	}
	return len(e.gone) > 0
}

// due are the groups, of those given, in which this node should ask for votes: their leader is gone, or there is none since, and enough others are
// connected to elect one.
func (e *elections) due(now time.Time, groups map[string]raftGroup) (due []string) {
	for name, g := range groups {
		_, lost := e.gone[g.leader]
		last, waits := e.asked[name]
		there := 1
		for _, p := range g.peers {
			if e.connected[p] {
				there++
			}
		}
		switch {
		case !g.votes, g.leader != "" && !lost:
			delete(e.asked, name)
		case there >= g.quorum && (lost && !waits || waits && now.Sub(last) >= askAgainAfter):
			e.asked[name] = now
			due = append(due, name)
		}
	}
	return due
}

// hurryElections has elections begin that are due, until ctx ends.
func (b *Bus) hurryElections(ctx context.Context) {
	e := newElections()
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.hurry(e, now)
		}
	}
}

func (b *Bus) hurry(e *elections, now time.Time) {
	routes, err := b.nats.Routez(nil)
	if err != nil {
		return // it is asked again
	}
	connected := map[string]bool{}
	for _, r := range routes.Routes {
		connected[r.RemoteName] = true
	}
	if !e.look(now, connected) {
		return
	}
	for _, name := range e.due(now, raftGroups(b.nats)) {
		if node := lookupRaftNode(b.nats, name); node != nil {
			err := node.Campaign() // fails where it leads by now
			b.cfg.Log.Debug("asking for votes, for the leader is gone", "group", name, "error", err)
		}
	}
}

// raftGroups are the groups that a server is in.
func raftGroups(s *server.Server) map[string]raftGroup {
	groups := map[string]raftGroup{}
	for _, account := range []string{s.SystemAccount().GetName(), server.DEFAULT_GLOBAL_ACCOUNT} { // the cluster's own group, and those of streams and consumers
		status := s.Raftz(&server.RaftzOptions{AccountFilter: account})
		if status == nil {
			continue
		}
		for name, info := range (*status)[account] {
			g := raftGroup{quorum: info.QuorumNeeded}
			g.votes = (info.State == server.Follower.String() || info.State == server.Candidate.String()) && !info.Observer && !info.Paused
			for id, p := range info.Peers {
				g.peers = append(g.peers, p.Name)
				if id == info.Leader {
					g.leader = p.Name
				}
			}
			groups[name] = g
		}
	}
	return groups
}

// lookupRaftNode is the server's own, which it does not export; a version without it does not link.
//
//go:linkname lookupRaftNode github.com/nats-io/nats-server/v2/server.(*Server).lookupRaftNode
func lookupRaftNode(s *server.Server, group string) server.RaftNode
