package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/shard"
)

// How often what is in conflict with other transactions is tried, at least, before the client is told; and for how long a single
// write is, which keeps nobody waiting meanwhile: until a transaction is given up whose node has died.
const (
	tries   = 8
	patient = time.Second
)

// Write carries writes out, and returns the result once a majority of each group has them on disk.
func (n *Node) Write(ctx context.Context, w *shard.Writes) (*shard.Result, error) {
	if !w.Atomic && !n.together(homesOf(w)) {
		return n.writeEach(ctx, w)
	}
	return n.repeat(ctx, w, func() (*shard.Result, error) {
		homes := homesOf(w)
		if n.together(homes) {
			res, err := n.propose(ctx, homes[0], shard.WriteCommand(w.Instant, w.Token, w.Digest, w.All))
			if err != nil || res.Code != shard.Scattered {
				return res, err
			}
			if err := n.refresh(ctx); err != nil {
				return nil, err
			}
		}
		return n.transact(ctx, w)
	})
}

// homesOf are the homes that writes are for, each once, with that of their token.
func homesOf(w *shard.Writes) (homes []shard.Home) {
	for _, one := range w.All {
		homes = append(homes, one.Home)
	}
	slices.Sort(homes)
	homes = slices.Compact(homes)
	if last := homes[len(homes)-1]; w.Token != "" && last != 0 {
		if h := shard.TokenHome(w.Token); !slices.Contains(homes, h) {
			homes = append(homes, h)
		}
	}
	return homes
}

// writeEach carries out writes that need not go together, those of a home with one command.
func (n *Node) writeEach(ctx context.Context, w *shard.Writes) (*shard.Result, error) {
	parts := map[shard.Home][]int{}
	for i, one := range w.All {
		parts[one.Home] = append(parts[one.Home], i)
	}
	res := &shard.Result{Outcomes: make([]shard.Outcome, len(w.All))}
	var mu sync.Mutex
	var all errgroup.Group
	for _, part := range parts {
		all.Go(func() error {
			some := &shard.Writes{Instant: w.Instant, Atomic: true}
			for _, i := range part {
				some.All = append(some.All, w.All[i])
			}
			got, err := n.Write(ctx, some)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			res.Take(got, part)
			return nil
		})
	}
	return res, all.Wait()
}

// repeat does something anew as long as what keeps it from being done can be put out of the way.
func (n *Node) repeat(ctx context.Context, w *shard.Writes, do func() (*shard.Result, error)) (*shard.Result, error) {
	began := time.Now()
	for try := 1; ; try++ {
		res, err := do()
		if err != nil || res.Code != shard.Conflict && res.Code != shard.NoTable {
			return res, err
		}
		again, wait, err := n.clear(ctx, w, res)
		if err != nil || !again || try >= tries && (len(w.All) > 1 || time.Since(began) > patient) {
			return res, err
		}
		if !wait {
			continue
		}
		pause := time.NewTimer(time.Duration(1+rand.IntN(8<<min(try, 4))) * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, ctx.Err()
		}
	}
}

// clear puts out of the way what a result tells of: locks of transactions that are over, and homes that lack a table. again says
// whether another try may go better, and wait that it had better not be at once.
func (n *Node) clear(ctx context.Context, w *shard.Writes, res *shard.Result) (again, wait bool, err error) {
	for i, o := range res.Outcomes {
		switch o.Code {
		case shard.OK:
		case shard.Conflict:
			l, err := shard.DecodeLock(o.New)
			if err != nil {
				return false, false, err
			}
			decided, err := n.settle(ctx, l)
			if err != nil {
				return false, false, err
			}
			wait = wait || !decided
		case shard.NoTable:
			if err := n.catchUp(ctx); err != nil {
				return false, false, err
			}
			t := n.machine.ByID(w.All[i].Table)
			if t == nil || w.All[i].Home == 0 {
				return false, false, nil
			}
			if err := n.spread(ctx, t); err != nil {
				return false, false, err
			}
		default:
			return false, false, nil // it fails anyway
		}
		again = again || o.Code != shard.OK
	}
	return again, wait, nil
}
