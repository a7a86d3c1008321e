// Package upkeep does what tables need beside what clients ask for: it deletes what has expired, old changes and old tokens,
// and completes new indexes. It does so by commands in small portions, through whatever carries commands out, on one node or on
// many, of which one does the work.
package upkeep

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/shard"
)

// portion is how many items one command goes through, so that others don't wait long behind it.
const portion = 100

// Config of a Keeper. All but Active must be set.
type Config struct {
	Machine *shard.Machine
	// Rows to see whether there is something to do. They may lag behind.
	Rows pebble.Reader
	// Propose carries a command out where rows of the home are.
	Propose func(ctx context.Context, h shard.Home, command []byte) ([]byte, error)
	// Spread brings the description of a table that is spread to its homes, and Gone drops what they have of a table. Default:
	// there are none.
	Spread, Gone func(ctx context.Context, t *shard.Table) error
	// Tidy finishes what others left behind. Default: there is nothing.
	Tidy func(ctx context.Context) error
	// Active says whether this node does the work. Default: always.
	Active func() bool
	// Now is the clock in milliseconds.
	Now func() int64
	// Every is how often it looks for work.
	Every time.Duration
	Log   *slog.Logger
}

// Keeper looks after tables. Its methods may be called by any goroutine.
type Keeper struct {
	cfg     Config
	wake    chan struct{}
	expired atomic.Int64
}

// New makes a Keeper. Run does its work.
func New(cfg Config) *Keeper {
	if cfg.Active == nil {
		cfg.Active = func() bool { return true }
	}
	if cfg.Spread == nil {
		cfg.Spread = func(context.Context, *shard.Table) error { return nil }
		cfg.Gone = cfg.Spread
	}
	if cfg.Tidy == nil {
		cfg.Tidy = func(context.Context) error { return nil }
	}
	return &Keeper{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Expired counts the items that it has deleted because they had expired.
func (k *Keeper) Expired() int64 { return k.expired.Load() }

// Run looks after the tables until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(k.cfg.Every)
	defer tick.Stop()
	k.Backfill() // one may have been cut off when the node stopped
	for {
		sweep := false
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-tick.C:
			sweep = true
		}
		if !k.cfg.Active() {
			continue
		}
		err := k.reindex(ctx)
		if err == nil && sweep {
			err = k.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("the upkeep of the tables will be tried again", "error", err)
		}
	}
}

// Backfill has it look at once for indexes and expiries that are not complete.
func (k *Keeper) Backfill() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) propose(ctx context.Context, h shard.Home, command []byte) (*shard.Result, error) {
	b, err := k.cfg.Propose(ctx, h, shard.At(h, command))
	if err != nil {
		return nil, err
	}
	return shard.DecodeResult(b)
}

func (k *Keeper) sweep(ctx context.Context) error {
	tables := k.cfg.Machine.Tables()
	homes := []shard.Home{0}
	for _, t := range tables {
		if err := k.cfg.Spread(ctx, t); err != nil {
			return err
		}
		for _, h := range t.Homes() {
			if err := k.expire(ctx, t, h); err != nil {
				return err
			}
			if !slices.Contains(homes, h) {
				homes = append(homes, h)
			}
		}
	}
	for _, h := range homes {
		yes, err := shard.Trimmable(k.cfg.Rows, h, tables, k.cfg.Now())
		if err == nil && yes {
			_, err = k.propose(ctx, h, shard.TrimCommand(k.cfg.Now()))
		}
		if err != nil {
			return err
		}
	}
	return k.cfg.Tidy(ctx)
}

// expire deletes what has expired of a table at a home.
func (k *Keeper) expire(ctx context.Context, t *shard.Table, h shard.Home) error {
	for {
		due, err := shard.Due(k.cfg.Rows, t, h, k.cfg.Now())
		if err != nil || !due {
			return err
		}
		res, err := k.propose(ctx, h, shard.ExpireCommand(t.ID, k.cfg.Now(), portion))
		if err != nil {
			return err
		}
		k.expired.Add(int64(res.Count))
		if res.Count < portion {
			return nil
		}
	}
}

// reindex completes the indexes and expiries of all tables.
func (k *Keeper) reindex(ctx context.Context) error {
	for _, t := range k.cfg.Machine.Tables() {
		if !incomplete(t) {
			continue
		}
		if err := k.cfg.Spread(ctx, t); err != nil { // from here on all that is written is entered at once
			return err
		}
		for _, h := range t.Homes() {
			if err := k.reindexAt(ctx, t, h); err != nil {
				return err
			}
		}
		if err := k.completed(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) reindexAt(ctx context.Context, t *shard.Table, h shard.Home) error {
	var key []byte
	for {
		res, err := k.propose(ctx, h, shard.ReindexCommand(t.ID, key, portion))
		if err != nil {
			return err
		}
		if key = res.Key; len(key) == 0 {
			return nil
		}
	}
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
func (k *Keeper) completed(ctx context.Context, t *shard.Table) error {
	now := k.cfg.Machine.Table(t.Name)
	if now == nil || now.ID != t.ID {
		return nil
	}
	if now.Generation != t.Generation { // an index that came meanwhile has not been filled: again from the beginning
		k.Backfill()
		return nil
	}
	c := t.Clone()
	for i := range c.Indexes {
		c.Indexes[i].Backfilling = false
	}
	c.Expiring = c.TTL != ""
	res, err := k.Define(ctx, c)
	if err == nil && res.Code == shard.Stale {
		k.Backfill()
	}
	return err
}

// Define creates or changes a table; see shard.DefineCommand.
func (k *Keeper) Define(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	command, err := shard.DefineCommand(t)
	if err != nil {
		return nil, err
	}
	res, err := k.propose(ctx, 0, command)
	if err == nil && res.Code == shard.OK {
		if now := k.cfg.Machine.Table(t.Name); now != nil && now.ID == res.ID {
			err = k.cfg.Spread(ctx, now)
		}
		k.Backfill()
	}
	return res, err
}

// Drop drops a table.
func (k *Keeper) Drop(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	res, err := k.propose(ctx, 0, shard.DropCommand(t.ID))
	if err == nil && res.Code == shard.OK {
		err = k.cfg.Gone(ctx, t)
	}
	return res, err
}
