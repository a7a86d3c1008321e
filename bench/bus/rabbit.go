package main

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// publishRabbit publishes persistent messages to a durable queue and waits for each confirm; each producer has a connection of its
// own.
func publishRabbit(kind string) func(context.Context, *process, options) (figures, error) {
	return func(ctx context.Context, p *process, o options) (figures, error) {
		body := make([]byte, o.size)
		return produce(ctx, o, func() (func(context.Context) error, func(), error) {
			conn, err := amqp.Dial(p.url)
			if err != nil {
				return nil, nil, err
			}
			ch, err := conn.Channel()
			if err != nil {
				return nil, nil, err
			}
			if err := ch.Confirm(false); err != nil {
				return nil, nil, err
			}
			if _, err := ch.QueueDeclare("jobs", true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) error {
				c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "jobs", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
				if err != nil {
					return err
				}
				if ok, err := c.WaitContext(ctx); err != nil || !ok {
					return errors.Join(err, errors.New("not confirmed"))
				}
				return nil
			}, func() { conn.Close() }, nil
		})
	}
}
