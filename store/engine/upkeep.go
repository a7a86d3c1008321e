package engine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/shard"
)

// How many items one command of the upkeep goes through, so that others don't wait long behind it.
const upkeepItems = 100

// Run applies commands until ctx ends; when it returns all that was accepted is answered and nothing runs any more.
func (e *Engine) Run(ctx context.Context) error {
	var all errgroup.Group
	applying, stop := context.WithCancel(ctx)
	defer stop()
	fail := func(err error) error {
		if err != nil {
			e.failure.CompareAndSwap(nil, &err)
			stop()
		}
		return err
	}
	all.Go(func() error { return fail(e.apply(applying)) })
	all.Go(func() error { return fail(e.sync()) })
	all.Go(func() error { return e.upkeep(applying) })
	err := all.Wait()
	close(e.done)
	return err
}

// upkeep deletes what has expired and brings new indexes up to date.
func (e *Engine) upkeep(ctx context.Context) error {
	tick := time.NewTicker(e.cfg.Sweep)
	defer tick.Stop()
	e.Backfill() // one may have been cut off when the engine stopped
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-e.backfill:
			err = e.reindex(ctx)
		case <-tick.C:
			err = e.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped) {
			e.cfg.Log.Warn("the upkeep of the tables will be tried again", "error", err)
			e.Backfill()
		}
	}
}

// Backfill has the engine look for indexes and expiries that are not complete.
func (e *Engine) Backfill() {
	select {
	case e.backfill <- struct{}{}:
	default:
	}
}

func (e *Engine) propose(ctx context.Context, command []byte) (*shard.Result, error) {
	b, err := e.Propose(ctx, nil, command)
	if err != nil {
		return nil, err
	}
	return shard.DecodeResult(b)
}

func (e *Engine) sweep(ctx context.Context) error {
	for _, t := range e.machine.Tables() {
		for t.TTL != "" {
			res, err := e.propose(ctx, shard.ExpireCommand(t.ID, e.Now(), upkeepItems))
			if err != nil {
				return err
			}
			e.counters.expired.Add(int64(res.Count))
			if res.Count < upkeepItems {
				break
			}
		}
	}
	_, err := e.propose(ctx, shard.TrimCommand(e.Now()))
	return err
}

// reindex completes the indexes and expiries of all tables.
func (e *Engine) reindex(ctx context.Context) error {
	for _, t := range e.machine.Tables() {
		if !incomplete(t) {
			continue
		}
		var key []byte
		for {
			res, err := e.propose(ctx, shard.ReindexCommand(t.ID, key, upkeepItems))
			if err != nil {
				return err
			}
			if key = res.Key; len(key) == 0 {
				break
			}
		}
		if err := e.completed(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func incomplete(t *shard.Table) bool {
	for _, x := range t.Indexes {
		if x.Backfilling {
			return true
		}
	}
	return t.TTL != "" && !t.Expiring
}

// completed notes that what was incomplete in the description t is complete, unless it has changed meanwhile.
func (e *Engine) completed(ctx context.Context, t *shard.Table) error {
	now := e.machine.Table(t.Name)
	if now == nil || now.ID != t.ID {
		return nil
	}
	if now.Generation != t.Generation { // an index that came meanwhile has not been filled: again from the beginning
		e.Backfill()
		return nil
	}
	c := t.Clone()
	for i := range c.Indexes {
		c.Indexes[i].Backfilling = false
	}
	c.Expiring = c.TTL != ""
	res, err := e.Define(ctx, c)
	if err == nil && res.Code == shard.Stale {
		e.Backfill()
	}
	return err
}

// Define creates or changes a table; see shard.DefineCommand.
func (e *Engine) Define(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	command, err := shard.DefineCommand(t)
	if err != nil {
		return nil, err
	}
	res, err := e.propose(ctx, command)
	if err == nil && res.Code == shard.OK {
		e.Backfill()
	}
	return res, err
}

// Drop drops a table.
func (e *Engine) Drop(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	return e.propose(ctx, shard.DropCommand(t.ID))
}
