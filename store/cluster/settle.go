package cluster

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/banyanhq/banyan/store/shard"
)

// Whoever meets a lock drives the transaction of another node to its end, and what nobody meets is looked after.

const (
	// abandoned is after how long without a decision a transaction is given up by whoever meets it, in milliseconds. That one that
	// only takes long is given up costs its client another try.
	abandoned = 2000
	// leftBehind is after how long what nobody meets is looked after, in milliseconds.
	leftBehind = 10_000
)

// settle brings a transaction to its end as far as one lock goes, if it is decided or abandoned.
func (n *Node) settle(ctx context.Context, l *shard.Lock) (decided bool, err error) {
	v, err := n.host.Read(ctx, l.Coordinator.Key(), true)
	if err != nil {
		return false, err
	}
	fate, err := shard.FateOf(v, l.Coordinator, l.Transaction)
	if err := errors.Join(err, v.Close()); err != nil {
		return false, err
	}
	if fate == shard.Undecided {
		now := n.Now()
		if now-l.Began < abandoned && !n.orphaned(ctx, l.Transaction) {
			return false, nil
		}
		res, err := n.propose(ctx, l.Coordinator, shard.At(l.Coordinator, shard.DecideCommand(l.Transaction, shard.Aborted, l.Began, now, "", 0, nil)))
		if err != nil {
			return false, err
		}
		fate = shard.Fate(res.Count)
	}
	return true, n.resolve(ctx, l.Transaction, fate, [][]byte{l.Key})
}

// transactionID is that of a new transaction, which says who drives it: the node, which of its starts, and a number.
func (n *Node) transactionID() string {
	id := binary.BigEndian.AppendUint64(nil, n.known.id)
	id = binary.BigEndian.AppendUint64(id, n.known.start)
	return string(binary.BigEndian.AppendUint64(id, n.transactions.Add(1)))
}

// orphaned says whether nobody drives a transaction any more, because its node is silent, has left, or has started anew since. If
// that is a mistake, the transaction's client has to try again.
func (n *Node) orphaned(ctx context.Context, transaction string) bool {
	if len(transaction) != 3*8 {
		return false // of an earlier version
	}
	node, start := binary.BigEndian.Uint64([]byte(transaction)), binary.BigEndian.Uint64([]byte(transaction[8:]))
	if m, known := n.known.directory.get(node); known && (m.State == Gone || m.Start > start) {
		return true
	}
	silent, err := n.host.Silent(ctx, node)
	return silent && err == nil
}

// resolve frees what a transaction holds.
func (n *Node) resolve(ctx context.Context, transaction string, fate shard.Fate, keys [][]byte) error {
	by := map[shard.Home][][]byte{}
	var homes []shard.Home
	for _, key := range keys {
		h := shard.HomeOf(key)
		if by[h] == nil {
			homes = append(homes, h)
		}
		by[h] = append(by[h], key)
	}
	return n.eachGroup(ctx, homes, func(ctx context.Context, homes []shard.Home) (*shard.Result, error) {
		var part [][]byte
		for _, h := range homes {
			part = append(part, by[h]...)
		}
		return n.propose(ctx, homes[0], shard.ResolveCommand(transaction, fate, n.Now(), part))
	})
}

// forget drops what is known of transactions that are carried out everywhere, until ctx ends.
func (n *Node) forget(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-n.done:
			if _, err := n.propose(ctx, t.coordinator, shard.At(t.coordinator, shard.ForgetCommand(t.id))); err != nil && ctx.Err() == nil {
				n.cfg.Log.Debug("a transaction that is over will be forgotten later", "error", err)
			}
		}
	}
}

// tidy finishes what nodes left behind that died: transactions, and tables that were dropped.
func (n *Node) tidy(ctx context.Context) error {
	for id, homes := range n.machine.Copies() {
		if n.machine.ByID(id) != nil {
			continue // so that an idle cluster sleeps, nobody is asked
		}
		if err := n.catchUp(ctx); err != nil {
			return err
		}
		if n.machine.ByID(id) == nil { // its copies were there before all that was acknowledged was known here: it was dropped
			if err := n.abandon(ctx, id, homes); err != nil {
				return err
			}
		}
	}
	for h := shard.Home(1); h <= shard.Buckets; h++ {
		if err := n.tidyHome(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) tidyHome(ctx context.Context, h shard.Home) error {
	decisions, err := shard.Decisions(n.db, h, mostLocks)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		if d.Fate != shard.Committed || n.Now()-d.Decided < leftBehind {
			continue
		}
		if err := n.resolve(ctx, d.Transaction, shard.Committed, d.Keys); err != nil {
			return err
		}
		if _, err := n.propose(ctx, h, shard.At(h, shard.ForgetCommand(d.Transaction))); err != nil {
			return err
		}
	}
	locks, err := shard.Locks(n.db, h.Key(), (h + 1).Key(), mostLocks)
	if err != nil {
		return err
	}
	for _, l := range locks {
		if n.Now()-l.Began < leftBehind {
			continue
		}
		if _, err := n.settle(ctx, l); err != nil {
			return err
		}
	}
	return nil
}
