package engine

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/shard"
)

// Run applies commands until ctx ends; when it returns all that was accepted is answered and nothing runs any more.
func (e *Engine) Run(ctx context.Context) error {
	var all errgroup.Group
	applying, stop := context.WithCancel(ctx)
	defer stop()
	note := func(err error) error {
		if err != nil {
			e.fail(err)
			stop()
		}
		return err
	}
	all.Go(func() error { return note(e.apply(applying)) })
	all.Go(func() error { return note(e.sync()) })
	all.Go(func() error { return e.keeper.Run(applying) })
	all.Go(func() error {
		select {
		case <-applying.Done():
		case <-e.broken:
			stop()
		}
		return nil
	})
	err := all.Wait()
	close(e.done)
	if failure := e.failure.Load(); failure != nil {
		return *failure
	}
	return err
}

// Define creates or changes a table; see shard.DefineCommand.
func (e *Engine) Define(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	return e.keeper.Define(ctx, t)
}

// Drop drops a table.
func (e *Engine) Drop(ctx context.Context, t *shard.Table) (*shard.Result, error) {
	return e.keeper.Drop(ctx, t)
}
