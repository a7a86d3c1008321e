package broker

import (
	"context"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
)

// elsewhere is the log of a node that does not serve the queues: it takes nothing and has nothing.
type elsewhere struct{}

func (elsewhere) Append(journal.Record) error                    { return ErrClosed }
func (elsewhere) Flush(context.Context) error                    { return ErrClosed }
func (elsewhere) Read(journal.Position, []byte) error            { return ErrClosed }
func (elsewhere) Oldest() (uint64, time.Time, int64, bool)       { return 0, time.Time{}, 0, false }
func (elsewhere) Drop(uint64) error                              { return ErrClosed }
func (elsewhere) Copy(context.Context, func([]byte) error) error { return ErrClosed }
func (elsewhere) Stats() journal.Stats                           { return journal.Stats{} }
func (elsewhere) Close() error                                   { return nil }
