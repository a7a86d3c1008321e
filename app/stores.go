package app

import (
	"context"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
)

// Queues says what each queue holds, by name; nil where there are none.
func (a *App) Queues() []broker.Status {
	if b := a.bus.Load(); b != nil {
		return b.Broker().Status()
	}
	return nil
}

// Topics says what each topic holds, by name; nil where there are none.
func (a *App) Topics(ctx context.Context) ([]bus.TopicStatus, error) {
	if b := a.bus.Load(); b != nil {
		return b.Topics(ctx)
	}
	return nil, nil
}
