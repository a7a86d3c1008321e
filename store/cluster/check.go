package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/store/replica"
)

// CheckStatus is how far a check is, and what it found.
type CheckStatus struct {
	Running bool         `json:"running"`
	Groups  []GroupCheck `json:"groups"`
	Nodes   []NodeCheck  `json:"nodes"`
}

// NodeCheck is what came of reading the tables on a node's disk, in which there is more than what replicas have in common.
type NodeCheck struct {
	Node    uint64 `json:"node"`
	Bytes   int64  `json:"bytes"`
	Problem string `json:"problem,omitempty"`
}

// GroupCheck is what the replicas of a group came to.
type GroupCheck struct {
	Group     uint64   `json:"group"`
	Index     uint64   `json:"index"` // the command after which they were added up
	Bytes     int64    `json:"bytes"` // of one replica
	Equal     []uint64 `json:"equal"` // numbers of the nodes whose replicas are the same
	Different []uint64 `json:"different,omitempty"`
	Unchecked []uint64 `json:"unchecked,omitempty"` // nodes that did not say
	Problem   string   `json:"problem,omitempty"`
}

// Damaged says whether a check found a replica that is not like most of the others, or a node with data that can't be read.
func (c *CheckStatus) Damaged() bool {
	return slices.ContainsFunc(c.Nodes, func(n NodeCheck) bool { return n.Problem != "" }) ||
		slices.ContainsFunc(c.Groups, func(g GroupCheck) bool { return len(g.Different) > 0 || g.Problem != "" })
}

// checking is the check that runs on a node, or the last that did.
type checking struct {
	mu     sync.Mutex
	status CheckStatus
	begin  chan struct{} // holds one
}

// Check begins to compare all replicas of all groups, if none is under way. Checked says how far it is.
func (n *Node) Check() {
	n.checking.mu.Lock()
	defer n.checking.mu.Unlock()
	if !n.checking.status.Running {
		n.checking.status = CheckStatus{Running: true}
		n.checking.begin <- struct{}{}
	}
}

// Checked returns how far the last check is.
func (n *Node) Checked() CheckStatus {
	n.checking.mu.Lock()
	defer n.checking.mu.Unlock()
	s := n.checking.status
	s.Groups, s.Nodes = slices.Clone(s.Groups), slices.Clone(s.Nodes)
	return s
}

// runChecks carries checks out until ctx ends.
func (n *Node) runChecks(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.checking.begin:
		}
		_, reports := n.survey(ctx)
		peers, seen := leaders(reports)
		for _, group := range slices.Sorted(maps.Keys(seen)) {
			found := n.checkGroup(ctx, group, peers[group], reports)
			n.checking.mu.Lock()
			n.checking.status.Groups = append(n.checking.status.Groups, found)
			n.checking.mu.Unlock()
		}
		nodes := n.checkNodes(ctx, reports)
		n.checking.mu.Lock()
		n.checking.status.Nodes, n.checking.status.Running = nodes, false
		n.checking.mu.Unlock()
	}
}

// checkNodes has all nodes that answer read what is on their disks, at once.
func (n *Node) checkNodes(ctx context.Context, reports map[uint64]*report) []NodeCheck {
	ids := slices.SortedFunc(maps.Keys(reports), func(a, b uint64) int { return cmp.Compare(Number(a), Number(b)) })
	nodes := make([]NodeCheck, len(ids))
	check := rand.Uint64()
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			nodes[i] = NodeCheck{Node: Number(id)}
			r, err := n.askUntil(ctx, id, question{Op: "read", Index: check}, func(r *reply) bool { return !r.Adding })
			if err != nil {
				nodes[i].Problem = err.Error()
				return
			}
			nodes[i].Bytes, nodes[i].Problem = r.Read, r.Unreadable
		})
	}
	all.Wait()
	return nodes
}

// askUntil asks a node the same again until its answer is the last.
func (n *Node) askUntil(ctx context.Context, id uint64, q question, last func(*reply) bool) (*reply, error) {
	tick := time.NewTicker(n.known.every / 10)
	defer tick.Stop()
	for {
		r, err := n.askNode(ctx, id, q)
		if err != nil || last(r) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// summed is what one node's replica came to.
type summed struct {
	replica.Checksum
	err error
}

func (n *Node) checkGroup(ctx context.Context, group uint64, peers []replica.Progress, reports map[uint64]*report) GroupCheck {
	found := GroupCheck{Group: group}
	leader := uint64(0)
	for id, r := range reports {
		if slices.ContainsFunc(r.Groups, func(g groupReport) bool { return g.Group == group && g.Leads }) {
			leader = id
		}
	}
	began, err := n.askNode(ctx, leader, question{Op: "checksums", Group: group})
	if err != nil {
		found.Problem = err.Error()
		return found
	}
	found.Index = began.Index
	sums := map[uint64]summed{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			s := n.await(ctx, p.Node, group, began.Index)
			mu.Lock()
			defer mu.Unlock()
			sums[p.Node] = s
		})
	}
	all.Wait()
	n.judge(ctx, &found, sums)
	return found
}

// checkPatience is for how long a replica may not have applied the entry at which the others were added up.
const checkPatience = 20 * time.Second

// await asks a node until it has added its replica up.
func (n *Node) await(ctx context.Context, id, group, index uint64) summed {
	heard := n.cfg.Now()
	r, err := n.askUntil(ctx, id, question{Op: "checksum", Group: group, Index: index}, func(r *reply) bool {
		if r.Adding {
			heard = n.cfg.Now()
		}
		return r.Sum != nil || n.cfg.Now().Sub(heard) > checkPatience
	})
	switch {
	case err != nil:
		return summed{err: err}
	case r.Sum == nil:
		return summed{err: errors.New("it has not come to that command")}
	case r.Unreadable != "":
		return summed{Checksum: *r.Sum, err: errors.Join(ErrDamaged, errors.New(r.Unreadable))}
	}
	return summed{Checksum: *r.Sum}
}

// judge holds what replicas came to against each other. What most have is right; a node that has something else is told so, and takes
// itself out.
func (n *Node) judge(ctx context.Context, found *GroupCheck, sums map[uint64]summed) {
	votes := map[[32]byte]int{}
	for _, s := range sums {
		if s.err == nil {
			votes[s.Sum]++
		}
	}
	var right [32]byte
	for sum, n := range votes {
		if 2*n > len(sums) {
			right = sum
		}
	}
	byNumber := slices.SortedFunc(maps.Keys(sums), func(a, b uint64) int { return cmp.Compare(Number(a), Number(b)) })
	for _, id := range byNumber {
		s := sums[id]
		switch {
		case errors.Is(s.err, ErrDamaged):
			found.Different = append(found.Different, Number(id))
		case s.err != nil:
			found.Unchecked = append(found.Unchecked, Number(id))
			continue
		case votes[right] == 0:
			found.Problem = "no majority of the replicas is the same"
			found.Different = append(found.Different, Number(id))
			continue
		case s.Sum == right:
			found.Equal, found.Bytes = append(found.Equal, Number(id)), s.Bytes
			continue
		default:
			found.Different = append(found.Different, Number(id))
		}
		if votes[right] > 0 {
			why := fmt.Sprintf("its replica of group %d is not like those of the others, after command %d", found.Group, found.Index)
			if _, err := n.askNode(ctx, id, question{Op: "damaged", Why: why}); err != nil {
				n.cfg.Log.Error("tables: telling a node that it is damaged", "node", Number(id), "err", err)
			}
		}
	}
}

// askNode asks one node, which may be this one.
func (n *Node) askNode(ctx context.Context, id uint64, q question) (*reply, error) {
	if id == n.known.id {
		return n.reply(ctx, q)
	}
	m, ok := n.known.directory.get(id)
	if !ok {
		return nil, fmt.Errorf("node %d is not known", Number(id))
	}
	return ask(ctx, n.known.caller, m.Address, q)
}

// Check has the cluster compare all replicas; Checked, of the same Client, says how far it is.
func (c Client) Check(ctx context.Context) (CheckStatus, error) { return c.check(ctx, "check") }

// Checked returns how far the check is that Check began.
func (c Client) Checked(ctx context.Context) (CheckStatus, error) { return c.check(ctx, "checked") }

func (c Client) check(ctx context.Context, op string) (CheckStatus, error) {
	r, err := c.ask(ctx, question{Op: op})
	if err != nil {
		return CheckStatus{}, err
	}
	if r.Check == nil {
		return CheckStatus{}, errors.New("the node says nothing of a check")
	}
	return *r.Check, nil
}
