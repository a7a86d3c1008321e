package cache

import (
	"context"
	"strings"
	"time"

	"github.com/banyanhq/banyan/cache/cluster"
)

// rebalance has slots move for each primary to have its share: NODE WEIGHT pairs; those that are not named have 1. It answers how
// many slots are to go where.
func (k *call) rebalance() {
	h := k.s.sharding
	if len(k.args)%2 == 0 {
		k.syntax()
		return
	}
	weights, some := map[uint64]int{}, false
	for i := 1; i < len(k.args); i += 2 {
		node, ok := k.intArg(i)
		if !ok {
			return
		}
		weight, ok := k.intArg(i + 1)
		if !ok {
			return
		}
		if m := h.m.Members[uint64(node)]; node <= 0 || m.ID == 0 || m.Of != 0 || weight < 0 || weight > 1000 {
			k.failf("ERR node %d, weight %d: want the number of a primary, and 0 to 1000", node, weight)
			return
		}
		weights[uint64(node)] = int(weight)
	}
	for _, id := range h.m.Primaries() {
		w, named := weights[id]
		some = some || !named || w > 0
	}
	switch plan := h.m.Plan(weights); {
	case !h.m.Formed:
		k.fail("ERR the slots have not been shared yet")
	case len(h.m.Moving) > 0:
		k.failf("ERR %d slots are moving already", len(h.m.Moving))
	case !some:
		k.fail("ERR no primary is to have slots")
	case len(plan) == 0:
		k.array(0)
	case k.c.tx != nil && k.c.tx.open:
		k.fail("ERR Command not allowed inside a transaction")
	default:
		k.propose(plan)
	}
}

// propose has the nodes agree on a plan; the client waits for it.
func (k *call) propose(plan []cluster.Shift) {
	w := &waiting{c: k.c, cmd: k.cmd}
	k.c.blocked, k.block = w, w
	s, v3 := k.s, k.v3
	s.outside.Go(func() {
		ctx, cancel := context.WithTimeout(s.away, 5*time.Second)
		defer cancel()
		var err error
		for _, shift := range plan {
			if err = s.sharding.node.Propose(ctx, cluster.Command{Op: cluster.Move, From: shift.From, To: shift.To, Slots: shift.Slots}); err != nil {
				break
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.c.blocked != w {
			return // it did not wait for so long
		}
		answer := call{s: s, c: w.c, cmd: w.cmd, v3: v3}
		if err != nil {
			answer.fail("ERR " + strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			answer.shifts(plan)
		}
		s.wake(w, answer.out)
	})
}

func (k *call) shifts(plan []cluster.Shift) {
	k.array(len(plan))
	for _, shift := range plan {
		n := 0
		for _, r := range shift.Slots {
			n += int(r.Last-r.First) + 1
		}
		k.array(3)
		k.int64(int64(shift.From))
		k.int64(int64(shift.To))
		k.int(n)
	}
}

// moving answers how many slots are on their way.
func (k *call) moving() { k.int(len(k.s.sharding.m.Moving)) }
