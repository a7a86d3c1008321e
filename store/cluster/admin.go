package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/transport"
)

// NodeStatus is how one node stands.
type NodeStatus struct {
	Node     uint64 `json:"node"`
	Address  string `json:"address"`
	Zone     string `json:"zone,omitempty"`
	State    string `json:"state"` // up, joining, leaving, down
	Groups   int    `json:"groups"`
	Leads    int    `json:"leads"`
	Learners int    `json:"learners"` // replicas that don't vote yet
	Lag      uint64 `json:"lag"`      // commands that it has yet to carry out, in all groups
	Bytes    uint64 `json:"bytes"`    // on its disk
	Problem  string `json:"problem,omitempty"`
}

// report is what a node says of itself.
type report struct {
	ID     uint64        `json:"id"`
	Bytes  uint64        `json:"bytes"`
	Ready  bool          `json:"ready"`
	Groups []groupReport `json:"groups"`
}

type groupReport struct {
	Group   uint64             `json:"group"`
	Applied uint64             `json:"applied"`
	Leads   bool               `json:"leads,omitempty"`
	Votes   bool               `json:"votes,omitempty"`
	Problem string             `json:"problem,omitempty"`
	Peers   []replica.Progress `json:"peers,omitempty"` // where it leads
}

func (n *Node) report(ctx context.Context) (*report, error) {
	groups, _, err := n.host.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := &report{ID: n.known.id, Bytes: n.db.Metrics().DiskSpaceUsage(), Ready: n.ready.Load()}
	for _, g := range groups {
		one := groupReport{Group: g.Group, Applied: g.Applied, Leads: g.Leads, Votes: votes(g), Peers: g.Peers}
		if err := cmp.Or(g.Err, g.Hurt); err != nil {
			one.Problem = err.Error()
		}
		r.Groups = append(r.Groups, one)
	}
	return r, nil
}

// surveyWithin is how long nodes have to say how they stand.
const surveyWithin = 3 * time.Second

// survey asks all nodes how they stand. Those that don't answer in time are not among the reports.
func (n *Node) survey(ctx context.Context) (members []Member, reports map[uint64]*report) {
	ctx, cancel := context.WithTimeout(ctx, surveyWithin)
	defer cancel()
	reports = map[uint64]*report{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, m := range n.known.directory.members() {
		if m.State == Gone {
			continue
		}
		members = append(members, m)
		all.Go(func() {
			var r *report
			if m.ID == n.known.id {
				r, _ = n.report(ctx) // without one it is shown as down, which it is about to be
			} else if answer, err := ask(ctx, n.known.caller, m.Address, question{Op: "status"}); err == nil {
				r = answer.Report
			}
			if r != nil && r.ID == m.ID { // another node may listen there now
				mu.Lock()
				defer mu.Unlock()
				reports[m.ID] = r
			}
		})
	}
	all.Wait()
	return members, reports
}

// leaders returns what the leaders among the reports say of the replicas of their groups.
func leaders(reports map[uint64]*report) (peers map[uint64][]replica.Progress, applied map[uint64]uint64) {
	peers, applied = map[uint64][]replica.Progress{}, map[uint64]uint64{}
	for _, r := range reports {
		for _, g := range r.Groups {
			if g.Leads {
				peers[g.Group] = g.Peers
			}
			applied[g.Group] = max(applied[g.Group], g.Applied)
		}
	}
	return peers, applied
}

// Nodes returns how all nodes of the cluster stand, by number.
func (n *Node) Nodes(ctx context.Context) ([]NodeStatus, error) {
	members, reports := n.survey(ctx)
	_, applied := leaders(reports)
	there := map[uint64]bool{} // numbers of nodes that answer
	for id := range reports {
		there[Number(id)] = true
	}
	var nodes []NodeStatus
	for _, m := range members {
		if reports[m.ID] == nil && there[Number(m.ID)] {
			continue // another has taken its place
		}
		s := NodeStatus{Node: Number(m.ID), Address: m.Address, Zone: m.Zone, State: "down"}
		if r := reports[m.ID]; r != nil {
			s.State, s.Bytes, s.Groups = "up", r.Bytes, len(r.Groups)
			if !r.Ready {
				s.State = "joining"
			}
			for _, g := range r.Groups {
				s.Lag += applied[g.Group] - g.Applied
				if g.Leads {
					s.Leads++
				}
				if !g.Votes {
					s.Learners++
				}
				if g.Problem != "" {
					s.Problem = g.Problem
				}
			}
		}
		if m.State == Leaving {
			s.State = "leaving"
		}
		nodes = append(nodes, s)
	}
	return nodes, nil
}

// Drain has a node that is up hand over what it leads, give up its replicas and leave the cluster. It returns once all know; Nodes
// shows how far it is. An error says why it can't be done now.
func (n *Node) Drain(ctx context.Context, number uint64) error { return n.leave(ctx, number, Leaving) }

// Remove takes a node that is down out of the cluster for good.
func (n *Node) Remove(ctx context.Context, number uint64) error { return n.leave(ctx, number, Gone) }

func (n *Node) leave(ctx context.Context, number uint64, to State) error {
	members, reports := n.survey(ctx)
	var leaving []Member // more than one, where the node has lost its disk: its former selves
	up := false
	for _, m := range members {
		if Number(m.ID) != number {
			continue
		}
		if m.State = to; reports[m.ID] != nil {
			up = true
		} else {
			m.State = Gone // a former self never says that it has left
		}
		leaving = append(leaving, m)
	}
	switch {
	case len(leaving) == 0:
		return fmt.Errorf("there is no node %d", number)
	case to == Leaving && !up:
		return fmt.Errorf("node %d does not answer: if it will not come back, remove it", number)
	case to == Gone && up:
		return fmt.Errorf("node %d is up: drain it", number)
	}
	peers, seen := leaders(reports)
	for group := range seen {
		v := view{peers: peers[group]}
		if len(v.peers) == 0 {
			return fmt.Errorf("group %d has no leader: without a majority of its nodes nothing can be changed", group)
		}
		for _, m := range leaving {
			if p := v.peer(m.ID); p != nil && !p.Learner {
				if err := v.refuse(m.ID); err != nil {
					return err
				}
			}
		}
	}
	return n.known.learn(leaving)
}

// Client asks a running cluster.
type Client struct {
	transport.Caller
	// Addresses of nodes, as these reach each other. The first that answers is asked.
	Addresses []string
}

// Nodes returns how all nodes stand; see Node.Nodes.
func (c Client) Nodes(ctx context.Context) ([]NodeStatus, error) {
	r, err := c.ask(ctx, question{Op: "nodes"})
	if err != nil {
		return nil, err
	}
	return r.Nodes, nil
}

// Drain has a node leave; see Node.Drain.
func (c Client) Drain(ctx context.Context, number uint64) error {
	_, err := c.ask(ctx, question{Op: "drain", Node: number})
	return err
}

// Remove takes out a node that is down; see Node.Remove.
func (c Client) Remove(ctx context.Context, number uint64) error {
	_, err := c.ask(ctx, question{Op: "remove", Node: number})
	return err
}

// ask asks one address after the other until a node answers.
func (c Client) ask(ctx context.Context, q question) (*reply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, address := range c.Addresses {
		answer, err := c.Call(ctx, address, body)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		return decodeReply(address, answer)
	}
	return nil, fmt.Errorf("no node answers: %w", errors.Join(failures...))
}
