package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// A write to items of one group is one command there. One to several is a transaction in two phases, of which package shard says how
// it is stored; this is the side that drives it.

// transaction that this node drives.
type transaction struct {
	n           *Node
	id          string
	coordinator shard.Home
	began       int64
	w           *shard.Writes
	keys        [][]byte
	homes       []shard.Home
}

// newTransaction makes a transaction of writes; nil: one of their tables is gone.
func (n *Node) newTransaction(w *shard.Writes) (*transaction, error) {
	t := &transaction{n: n, id: n.transactionID(), began: n.Now(), w: w}
	for _, one := range w.All {
		table := n.machine.ByID(one.Table)
		if table == nil {
			return nil, nil
		}
		t.keys = append(t.keys, table.DataKey(one.Item))
		if !slices.Contains(t.homes, one.Home) {
			t.homes = append(t.homes, one.Home)
		}
		t.coordinator = max(t.coordinator, one.Home)
	}
	if t.coordinator == 0 {
		return nil, fmt.Errorf("%w: tables that are not spread are in several groups", replica.ErrUnsupported)
	}
	if w.Token != "" {
		t.coordinator = shard.TokenHome(w.Token)
	}
	return t, nil
}

// transact carries writes to several groups out, all or none.
func (n *Node) transact(ctx context.Context, w *shard.Writes) (*shard.Result, error) {
	t, err := n.newTransaction(w)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return &shard.Result{Code: shard.NoTable}, nil
	}
	if res, err := t.repeated(ctx); res != nil || err != nil {
		return res, err
	}
	res, err := t.prepare(ctx)
	if err != nil || res.Code != shard.OK {
		t.release(ctx)
		if err != nil {
			return nil, err
		}
		if known, err := t.repeated(ctx); known != nil || err != nil { // it was carried out meanwhile, which is why it can't be now
			return known, err
		}
		return res, nil
	}
	decided, err := n.propose(ctx, t.coordinator, shard.At(t.coordinator, shard.DecideCommand(t.id, shard.Committed, t.began, w.Instant, w.Token, w.Digest, t.keys)))
	if err != nil {
		if !errors.Is(err, replica.ErrUnknownOutcome) {
			t.release(ctx)
		}
		return nil, err // otherwise whoever meets the locks finds out
	}
	if shard.Fate(decided.Count) != shard.Committed {
		t.release(ctx)
		if decided.Repeated || decided.Code == shard.Mismatch {
			return decided, nil
		}
		return t.lost(), nil
	}
	if n.resolve(ctx, t.id, shard.Committed, t.keys) == nil {
		select {
		case n.done <- t:
		default: // it will be found by tidy
		}
	}
	return res, nil
}

// lost is the result of a transaction that another one has given up, because it took long.
func (t *transaction) lost() *shard.Result {
	res := &shard.Result{Code: shard.Conflict, Outcomes: make([]shard.Outcome, len(t.keys))}
	for i, key := range t.keys {
		res.Outcomes[i] = conflict(&shard.Lock{Transaction: t.id, Coordinator: t.coordinator, Began: t.began, Key: key})
	}
	return res
}

// repeated is the result if the token says that the request was carried out before, or is of another one.
func (t *transaction) repeated(ctx context.Context) (*shard.Result, error) {
	if t.w.Token == "" {
		return nil, nil
	}
	v, err := t.n.host.Read(ctx, t.coordinator.Key(), true)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	seen, mismatch, err := shard.Seen(v, t.w.Token, t.w.Digest, t.w.Instant)
	switch {
	case err != nil || !seen:
		return nil, err
	case mismatch:
		return &shard.Result{Code: shard.Mismatch}, nil
	}
	return &shard.Result{Repeated: true}, nil
}

// prepare locks all items, if all conditions hold.
func (t *transaction) prepare(ctx context.Context) (*shard.Result, error) {
	res := &shard.Result{Outcomes: make([]shard.Outcome, len(t.w.All))}
	var mu sync.Mutex
	err := t.n.eachGroup(ctx, t.homes, func(ctx context.Context, homes []shard.Home) (*shard.Result, error) {
		var part []int
		var writes []shard.Write
		for i, w := range t.w.All {
			if slices.Contains(homes, w.Home) {
				part, writes = append(part, i), append(writes, w)
			}
		}
		got, err := t.n.propose(ctx, homes[0], shard.PrepareCommand(t.id, t.coordinator, t.began, writes))
		if err != nil || got.Code == shard.Scattered {
			return got, err
		}
		mu.Lock()
		defer mu.Unlock()
		res.Take(got, part)
		return got, nil
	})
	if err != nil {
		return nil, err
	}
	if res.Code != shard.OK { // the reasons, in the order of the request
		for i := range res.Outcomes {
			if res.Outcomes[i].Code == shard.OK {
				res.Outcomes[i] = shard.Outcome{}
			}
		}
	}
	return res, nil
}

// release frees what was locked, also if the client has gone. What it can't free is found by whoever meets it.
func (t *transaction) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandoned*time.Millisecond)
	defer cancel()
	if err := t.n.resolve(ctx, t.id, shard.Aborted, t.keys); err != nil {
		t.n.cfg.Log.Debug("items of a transaction that was given up stay locked for a while", "error", err)
	}
}
