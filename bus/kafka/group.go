package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// session is after what time without a sign of life a member is taken for dead, and others get its partitions.
	session = 10 * time.Second
	// pollAtOnce bounds the events that are taken from the client at once.
	pollAtOnce = 500
	// maxHeld and maxHeldBytes bound what a group has read of all partitions and not settled.
	maxHeld      = 10000
	maxHeldBytes = 64 << 20
	// commitPatience bounds one commit of offsets.
	commitPatience = 10 * time.Second
	// commitEvery is how long it is waited for more after a commit.
	commitEvery = 20 * time.Millisecond
	// failedPause is how long it is waited after an error of reading.
	failedPause = 500 * time.Millisecond
)

// Group is a member of a consumer group.
type Group struct {
	topic  *Topic
	id     string
	client *kgo.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup
	dirty  chan struct{}

	committing sync.Mutex // so that offsets are committed in the order in which they were read

	mu      sync.Mutex
	windows map[int32]*window // of the partitions that this member has
	changed chan struct{}     // closed when more may be given out, or read
	round   *round            // the commit that is next
	err     error             // why nothing is read, if that is so
	said    string            // the error that was logged last
	saidAt  time.Time
}

// round is a commit of offsets.
type round struct {
	over chan struct{}
	err  error // once it is over
}

// Delivery is an event that was given out.
type Delivery struct {
	Event
	// Attempt counts from 1; a process that begins anew counts anew.
	Attempt int
}

// GroupID is what Kafka knows a group of a topic by.
func GroupID(topic, group string) string { return topic + "." + group }

// Join has a consumer group, and begins to read: behind what the group has settled, or from the first event that is there.
func (t *Topic) Join(group string) (*Group, error) {
	g := &Group{topic: t, id: GroupID(t.name, group), dirty: make(chan struct{}, 1), windows: map[int32]*window{}, changed: make(chan struct{}), round: newRound()}
	client, err := t.connect(kgo.ConsumerGroup(g.id), kgo.ConsumeTopics(t.name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(session), kgo.OnPartitionsAssigned(g.assigned), kgo.OnPartitionsRevoked(g.revoked), kgo.OnPartitionsLost(g.lost))
	if err != nil {
		return nil, err
	}
	g.client = client
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.ended.Go(func() { g.read(ctx) })
	g.ended.Go(func() { g.commitAll(ctx) })
	return g, nil
}

func newRound() *round { return &round{over: make(chan struct{})} }

// Close commits what is settled and leaves the group. What is given out and not settled comes again, to another member.
func (g *Group) Close() {
	g.stop()
	g.ended.Wait()
	g.commit()
	g.client.CloseAllowingRebalance()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.windows, g.err = map[int32]*window{}, errors.New("the group is closed")
	g.change()
}

// change wakes all who wait. g.mu is held.
func (g *Group) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *Group) assigned(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range partitions[g.topic.name] {
		g.windows[p] = newWindow()
	}
}

// revoked commits what is settled of partitions that another member gets.
func (g *Group) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	if err := g.commit(); err != nil {
		g.topic.cfg.Log.Warn("what a group has settled of partitions that it loses could not be committed: it comes again", "group", g.id, "error", err)
	}
	g.lost(context.Background(), nil, partitions)
}

func (g *Group) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range partitions[g.topic.name] {
		delete(g.windows, p)
	}
	g.client.ResumeFetchPartitions(map[string][]int32{g.topic.name: partitions[g.topic.name]})
	g.change()
}

// read takes events from the client until ctx ends. Partitions do not move from when the client gives events out to when they are
// in their windows.
func (g *Group) read(ctx context.Context) {
	for g.awaitRoom(ctx) {
		fetches := g.client.PollRecords(ctx, pollAtOnce)
		failed := g.take(ctx, fetches)
		g.client.AllowRebalance()
		if failed {
			select {
			case <-time.After(failedPause):
			case <-ctx.Done():
			}
		}
		if fetches.IsClientClosed() {
			return
		}
	}
	g.client.AllowRebalance()
}

// awaitRoom returns when there is room for more events; false: ctx has ended.
func (g *Group) awaitRoom(ctx context.Context) bool {
	for ctx.Err() == nil {
		g.mu.Lock()
		held, bytes := 0, 0
		for _, w := range g.windows {
			held, bytes = held+len(w.entries), bytes+w.bytes
		}
		changed := g.changed
		g.mu.Unlock()
		if held < maxHeld && bytes < maxHeldBytes {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// take has events get into their windows, and says whether something failed.
func (g *Group) take(ctx context.Context, fetches kgo.Fetches) (failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = nil
	fetches.EachError(func(_ string, partition int32, err error) {
		if ctx.Err() == nil {
			g.err = fmt.Errorf("reading from Kafka: %w", err)
			g.say(partition, err)
		}
	})
	fetches.EachRecord(func(r *kgo.Record) {
		if w := g.windows[r.Partition]; w != nil {
			w.add(eventOf(r))
		}
	})
	for p, w := range g.windows {
		if w.full() {
			g.client.PauseFetchPartitions(map[string][]int32{g.topic.name: {p}})
		}
	}
	g.change()
	return g.err != nil
}

// say logs an error of reading: once a minute for as long as it stays the same. g.mu is held.
func (g *Group) say(partition int32, err error) {
	if text := err.Error(); g.said != text || time.Since(g.saidAt) > time.Minute {
		g.said, g.saidAt = text, time.Now()
		g.topic.cfg.Log.Warn("reading from Kafka", "group", g.id, "partition", partition, "error", err)
	}
}

// Take gives out up to most events, each for a while, and waits for the first one until ctx ends; then there are none.
func (g *Group) Take(ctx context.Context, most int, while time.Duration) ([]Delivery, error) {
	for {
		g.mu.Lock()
		now := time.Now()
		var out []Delivery
		var more time.Time
		for _, w := range g.windows {
			entries, soon := w.take(now, most-len(out), while)
			for _, e := range entries {
				out = append(out, Delivery{e.Event, e.attempt})
			}
			if !soon.IsZero() && (more.IsZero() || soon.Before(more)) {
				more = soon
			}
		}
		changed, err := g.changed, g.err
		g.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if !g.wait(ctx, changed, more) {
			return nil, nil
		}
	}
}

// wait waits for a change, or an instant if it is not zero; false: ctx has ended.
func (g *Group) wait(ctx context.Context, changed <-chan struct{}, until time.Time) bool {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-timer:
	case <-ctx.Done():
		return false
	}
	return true
}

// Commit is one of a group's offsets. A nil one has nothing to wait for.
type Commit struct{ round *round }

// Wait returns when Kafka has the offset.
func (c *Commit) Wait(ctx context.Context) error {
	if c == nil {
		return nil
	}
	select {
	case <-c.round.over:
		return c.round.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for Kafka to have the group's offset: %w", ctx.Err())
	}
}

// Ack settles a delivery. The group's offset is committed soon, if it moves by that; if not, for an event before it is not settled, there is
// nothing to wait for.
func (g *Group) Ack(partition int32, offset int64, attempt int) (*Commit, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.windows[partition]
	if w == nil {
		return nil, ErrSettled
	}
	moved, err := w.ack(offset, attempt)
	if err != nil {
		return nil, err
	}
	if w.roomy() {
		g.client.ResumeFetchPartitions(map[string][]int32{g.topic.name: {partition}})
	}
	g.change()
	if !moved {
		return nil, nil
	}
	select {
	case g.dirty <- struct{}{}:
	default:
	}
	return &Commit{g.round}, nil
}

// Again has a delivery given out again after a delay.
func (g *Group) Again(partition int32, offset int64, attempt int, delay time.Duration) error {
	return g.with(partition, func(w *window) error { return w.again(offset, attempt, time.Now().Add(delay)) })
}

// Extend leaves a delivery to whom it was given, for a while from now.
func (g *Group) Extend(partition int32, offset int64, attempt int, while time.Duration) error {
	return g.with(partition, func(w *window) error { return w.extend(offset, attempt, time.Now().Add(while)) })
}

func (g *Group) with(partition int32, f func(*window) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.windows[partition]
	if w == nil {
		return ErrSettled
	}
	err := f(w)
	if err == nil {
		g.change()
	}
	return err
}

// InFlight is how many deliveries are not settled.
func (g *Group) InFlight() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.windows {
		n += w.inFlight(time.Now())
	}
	return n
}

// commitAll commits offsets when they have moved, all that moved meanwhile at once, until ctx ends.
func (g *Group) commitAll(ctx context.Context) {
	for {
		select {
		case <-g.dirty:
		case <-ctx.Done():
			return
		}
		if err := g.commit(); err != nil {
			g.topic.cfg.Log.Warn("what a group has settled could not be committed yet", "group", g.id, "error", err)
			select {
			case g.dirty <- struct{}{}: // so that it is tried again
			default:
			}
		}
		select {
		case <-time.After(commitEvery):
		case <-ctx.Done():
		}
	}
}

// commit ends a round: it tells Kafka how far the group has come.
func (g *Group) commit() error {
	g.committing.Lock()
	defer g.committing.Unlock()
	g.mu.Lock()
	round := g.round
	g.round = newRound()
	offsets, windows := map[int32]kgo.EpochOffset{}, map[int32]*window{}
	for p, w := range g.windows {
		if at, ok := w.offset(); ok && at != w.done {
			offsets[p], windows[p] = kgo.EpochOffset{Epoch: -1, Offset: at}, w
		}
	}
	g.mu.Unlock()
	defer close(round.over)
	if len(offsets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitPatience)
	defer cancel()
	g.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{g.topic.name: offsets}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		round.err = commitError(answer, err)
	})
	if round.err != nil {
		round.err = fmt.Errorf("committing the offset of %s: %w", g.id, round.err)
		return round.err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, w := range windows {
		w.done = offsets[p].Offset
	}
	return nil
}

func commitError(answer *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || answer == nil {
		return err
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
