package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/bus/streamlog"
	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/policy/saga"
)

// awaited is an event of a topic that a run has begun to wait for.
type awaited struct{ run, topic, key string }

// awaitedList is what is to be looked for. It holds at most one for each run that is kept, and some that are out of date.
type awaitedList struct {
	mu   sync.Mutex
	list []awaited
	more chan struct{}
}

func (l *awaitedList) add(w awaited) {
	l.mu.Lock()
	l.list = append(l.list, w)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *awaitedList) take() (all []awaited) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, l.list = l.list, nil
	return all
}

// sagas runs the sagas of a Bus: the engine, and what starts runs and wakes them up.
type sagas struct {
	bus    *Bus
	engine *workflow.Engine
	awaits awaitedList
}

// openSagas reads the runs that are stored, if there are sagas: in the folder, or in the log that open opens.
func (b *Bus) openSagas(open func(replay func(journal.Position, []byte) error) (workflow.Log, error)) (err error) {
	if len(b.cfg.Sagas) == 0 {
		return nil
	}
	defs := make([]*saga.Definition, len(b.cfg.Sagas))
	for i, s := range b.cfg.Sagas {
		defs[i] = s.Definition
	}
	s := &sagas{bus: b, awaits: awaitedList{more: make(chan struct{}, 1)}}
	s.engine, err = workflow.Open(workflow.Config{Dir: filepath.Join(b.cfg.Dir, "sagas"), OpenLog: open, Sagas: defs, Performer: newPerformer(b), Log: b.cfg.Log,
		Waits: func(run, topic, key string) { s.awaits.add(awaited{run, topic, key}) }})
	if err == nil {
		b.sagas.Store(s)
	}
	return err
}

// takeOverSagas goes on with the runs that another node ran, which can't write to their journal any more.
func (b *Bus) takeOverSagas(ctx context.Context) error {
	return b.openSagas(func(replay func(journal.Position, []byte) error) (workflow.Log, error) {
		if err := b.makeJournal(ctx, sagasStream, sagasSubject); err != nil {
			return nil, fmt.Errorf("making the journal of the sagas: %w", err)
		}
		return streamlog.Open(ctx, b.js, streamlog.Options{Stream: sagasStream, Subject: sagasSubject, MaxFrame: sagaRoom}, replay)
	})
}

// closeSagas ends what runs the sagas, if there is anything.
func (b *Bus) closeSagas() {
	if s := b.sagas.Swap(nil); s != nil {
		if err := s.engine.Close(); err != nil {
			b.cfg.Log.Error("closing the sagas", "error", err)
		}
	}
}

// Sagas is what runs the sagas; nil where there are none, and where another node runs them.
func (b *Bus) Sagas() *workflow.Engine {
	if s := b.sagas.Load(); s != nil {
		return s.engine
	}
	return nil
}

// sagaEngine is what runs the sagas of a Bus that has some.
func (b *Bus) sagaEngine() (*workflow.Engine, error) {
	if e := b.Sagas(); e != nil {
		return e, nil
	}
	return nil, errNoLeader
}

// keepRunningSagas runs the sagas, if there are any, for as long as this node leads.
func (b *Bus) keepRunningSagas(ctx context.Context) {
	for len(b.cfg.Sagas) > 0 && ctx.Err() == nil {
		err := b.takeOverSagas(ctx)
		if err == nil {
			err = b.sagas.Load().run(ctx)
			b.closeSagas()
		}
		if ctx.Err() == nil {
			b.cfg.Log.Warn("the sagas can't be run; it is tried again", "error", err)
			pause(ctx, makeEvery)
		}
	}
}

// run runs the engine, and what starts runs and wakes them up, until ctx ends or the engine can't go on.
func (s *sagas) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.engine.Run(ctx) })
	waited := map[string]bool{}
	for _, def := range s.bus.cfg.Sagas {
		if def.Queue != "" {
			group.Go(func() error { s.startFromQueue(ctx, def); return nil })
		}
		if def.Topic != "" {
			group.Go(func() error {
				s.bus.followTopic(ctx, def.Topic, "saga-start-"+def.Name, func(ctx context.Context, e event) error { return s.startFromTopic(ctx, def, e) })
				return nil
			})
		}
		for _, step := range def.Steps {
			if step.Wait != nil && step.Wait.Topic != "" {
				waited[step.Wait.Topic] = true
			}
		}
	}
	for topic := range waited {
		group.Go(func() error {
			s.bus.followTopic(ctx, topic, "saga-waits", func(ctx context.Context, e event) error { return s.wakeByTopic(ctx, topic, e) })
			return nil
		})
	}
	if len(waited) > 0 {
		group.Go(func() error { s.lookBack(ctx); return nil })
	}
	return group.Wait()
}

// startFromQueue starts a run for each message of a queue, and acknowledges the message when the run is on disk. The
// message's number is the key, so that one that comes again starts nothing.
func (s *sagas) startFromQueue(ctx context.Context, def Saga) {
	for ctx.Err() == nil {
		got, err := s.bus.Broker().Receive(ctx, def.Queue, "", 64)
		if err != nil {
			return // the broker is closed
		}
		var starting errgroup.Group
		for _, d := range got {
			starting.Go(func() error { s.startFromMessage(ctx, def, d); return nil })
		}
		_ = starting.Wait()
	}
}

func (s *sagas) startFromMessage(ctx context.Context, def Saga, d broker.Delivery) {
	b := s.bus.Broker()
	_, _, err := s.engine.Start(ctx, def.Name, fmt.Sprintf("q-%s-%d", shorten(d.Queue), d.Seq), d.Body)
	switch {
	case err == nil:
		err = b.Ack(d.Queue, d.Seq, d.Attempt, nil)
	case ctx.Err() != nil:
		b.Return(d)
		return
	case hopeless(err):
		err = b.Terminate(d.Queue, d.Seq, d.Attempt, err.Error(), nil)
	default:
		err = b.Nack(d.Queue, d.Seq, d.Attempt, -1, err.Error(), nil)
	}
	if err != nil {
		s.bus.cfg.Log.Warn("settling a message that starts a saga", "saga", def.Name, "queue", d.Queue, "message", d.Seq, "error", err)
	}
}

// shorten has a name fit into a key.
func shorten(name string) string { return name[:min(len(name), 32)] }

// hopeless reports whether another start would fail in the same way.
func hopeless(err error) bool {
	return errors.Is(err, workflow.ErrInvalid) || errors.Is(err, workflow.ErrTooLarge) || errors.Is(err, workflow.ErrKeyUsed)
}

func (s *sagas) startFromTopic(ctx context.Context, def Saga, e event) error {
	_, _, err := s.engine.Start(ctx, def.Name, fmt.Sprintf("t-%s-%d", shorten(def.Topic), e.offset), e.body)
	if hopeless(err) {
		s.bus.cfg.Log.Warn("an event can't start its saga, and is left out", "saga", def.Name, "topic", def.Topic, "offset", e.offset, "error", err)
		return nil
	}
	return err
}

// followTopic hands each event of a topic to f, as a consumer group, and acknowledges those that f took.
func (b *Bus) followTopic(ctx context.Context, topic, group string, f func(context.Context, event) error) {
	for ctx.Err() == nil {
		c, err := b.group(ctx, topic, group, groupInFlight)
		for err == nil && ctx.Err() == nil {
			err = b.followBatch(ctx, topic, c, f)
		}
		if err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("following a topic for sagas", "topic", topic, "group", group, "error", err)
			pause(ctx, time.Second)
		}
	}
}

func (b *Bus) followBatch(ctx context.Context, topic string, c eventGroup, f func(context.Context, event) error) error {
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.each(waiting, 64, func(e event) {
		if err := f(ctx, e); err != nil {
			b.cfg.Log.Warn("an event of a topic is not taken by sagas yet", "topic", topic, "offset", e.offset, "error", err)
			_ = e.settle(settlement{verb: "nack", delay: time.Second})
			return
		}
		_ = e.settle(settlement{verb: "ack"}) // one that is lost brings the event again, which does no harm
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// wakeByTopic gives an event to the runs that wait for it.
func (s *sagas) wakeByTopic(ctx context.Context, topic string, e event) error {
	_, err := s.engine.Event(ctx, topic, string(e.key), e.time, bytes.Clone(e.body))
	return err
}

// lookBack looks, for each run that begins to wait, whether its event came before: after the run began, and before it
// waited.
func (s *sagas) lookBack(ctx context.Context) {
	for {
		select {
		case <-s.awaits.more:
		case <-ctx.Done():
			return
		}
		failed := false
		for _, w := range s.awaits.take() {
			if err := s.lookFor(ctx, w); err != nil && ctx.Err() == nil {
				s.bus.cfg.Log.Warn("looking for an event that a saga waits for", "run", w.run, "topic", w.topic, "key", w.key, "error", err)
				s.awaits.add(w)
				failed = true
			}
		}
		if failed {
			pause(ctx, time.Second)
		}
	}
}

func (s *sagas) lookFor(ctx context.Context, w awaited) error {
	if !validKey(w.key) {
		return nil // no event can have it
	}
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	found, err := s.bus.lastEvent(ctx, w.topic, "topics."+w.topic+"."+w.key)
	if found == nil || err != nil {
		return err
	}
	_, err = s.engine.Event(ctx, w.topic, w.key, found.Time, found.Data)
	return err
}

// lastEvent is the latest event of an embedded topic with a subject, as the node has it that leads the topic: others may not have the
// newest yet, and it is them as well who answer the client library. Nil: there is none.
func (b *Bus) lastEvent(ctx context.Context, topic, subject string) (*server.StoredMsg, error) {
	ask, err := json.Marshal(server.JSApiMsgGetRequest{LastFor: subject})
	if err != nil {
		return nil, err
	}
	m, err := b.conn.RequestWithContext(ctx, fmt.Sprintf(server.JSApiMsgGetT, topic), ask)
	if err != nil {
		return nil, err
	}
	var answer server.JSApiMsgGetResponse
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("reading an answer of JetStream: %w", err)
	}
	switch {
	case answer.Error == nil:
		return answer.Message, nil
	case answer.Error.ErrCode == uint16(server.JSNoMessageFoundErr):
		return nil, nil
	}
	return nil, answer.Error
}
