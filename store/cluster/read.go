package cluster

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// mostLocks that are looked at together.
const mostLocks = 256

// Read returns where the data keys from lower up to upper, which lie in one home, are read; with a nil upper the one at lower. If
// consistent, it shows all that was acknowledged before, also of transactions that are not carried out everywhere yet.
func (n *Node) Read(ctx context.Context, lower, upper []byte, consistent bool) (pebble.Reader, error) {
	n.heat.read(lower)
	if !consistent {
		return n.db, nil
	}
	undecided := map[string]bool{}
	for {
		locks, err := n.locks(ctx, lower, upper)
		if err != nil {
			return nil, err
		}
		settled := true
		for _, l := range locks {
			if undecided[l.Transaction] {
				// It was not decided after this read began, and still holds the item: what is there is what holds.
				continue
			}
			settled = false
			decided, err := n.settle(ctx, l)
			if err != nil {
				return nil, err
			}
			undecided[l.Transaction] = !decided
		}
		if settled && len(locks) < mostLocks {
			return n.db, nil // which has no less from here on
		}
		if settled {
			return nil, fmt.Errorf("%w: too many transactions hold what is to be read", replica.ErrOverloaded)
		}
	}
}

// locks waits until this node has all that was acknowledged before, and returns the locks of what is to be read.
func (n *Node) locks(ctx context.Context, lower, upper []byte) ([]*shard.Lock, error) {
	v, err := n.host.Read(ctx, orFirst(lower), true)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if len(lower) == 0 {
		return nil, nil
	}
	return shard.Locks(v, lower, upper, mostLocks)
}

// Together reads several items as of one instant.
func (n *Node) Together(ctx context.Context, checks []shard.Write) (*shard.Result, error) {
	w := &shard.Writes{Instant: n.Now(), Atomic: true, All: checks}
	return n.repeat(ctx, w, func() (*shard.Result, error) {
		if n.together(homesOf(w)) {
			if res, err := n.glance(ctx, checks); res != nil || err != nil {
				return res, err
			}
		}
		return n.transact(ctx, w) // what was seen holds at the moment at which all was locked
	})
}

// glance reads items of one group; nil: they are in several.
func (n *Node) glance(ctx context.Context, checks []shard.Write) (*shard.Result, error) {
	v, err := n.host.Read(ctx, checks[0].Home.Key(), true)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	owner := v.Group()
	res, err := n.machine.Check(v, checks)
	if err != nil || res.Code != shard.OK {
		return res, err
	}
	for i, c := range checks {
		if !owner.Contains(c.Home.Key()) {
			return nil, nil
		}
		t := n.machine.ByID(c.Table)
		if t == nil {
			return &shard.Result{Code: shard.NoTable}, nil
		}
		locks, err := shard.Locks(v, t.DataKey(c.Item), nil, 1)
		if err != nil {
			return nil, err
		}
		if len(locks) > 0 {
			res.Code, res.Outcomes[i] = shard.Conflict, conflict(locks[0])
		}
	}
	return res, nil
}

func conflict(l *shard.Lock) shard.Outcome {
	return shard.Outcome{Code: shard.Conflict, Message: "Transaction is ongoing for the item", New: l.Encode()}
}
