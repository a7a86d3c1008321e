package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/topology"
)

const (
	// roomEvery is how often it is looked how much room the disk has.
	roomEvery = 250 * time.Millisecond
	// leastRoom, or leastRoomPart of the disk where that is less, is kept free: JetStream serves a stream no more that it could not write
	// to, so that events must be refused before.
	leastRoom     = 32 << 20
	leastRoomPart = 20
)

// tight reports whether a disk has no room for events.
func tight(free, total uint64) bool { return free < min(leastRoom, total/leastRoomPart) }

// errTight refuses events while the disk has no room for them.
var errTight = fmt.Errorf("%w for events: less than %s, or a twentieth of it, is free", journal.ErrFull, topology.Bytes(leastRoom))

// errUnwritable refuses events of a topic that could not be written to: between two looks a disk can fill up, or fail. JetStream says
// nothing then to who published the event, and takes no further one.
var errUnwritable = errors.New("the topic could not be written to, and takes no event until the process is started anew; what was acknowledged is there")

// mindRoom has events be refused while the disk has no room, and those of topics that could not be written to, until ctx ends.
func (b *Bus) mindRoom(ctx context.Context) {
	if len(b.embeddedTopics()) == 0 {
		return
	}
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		if free, total, err := b.cfg.Room(b.cfg.Dir); err == nil {
			b.setTight(tight(free, total))
		}
		for _, name := range b.embeddedTopics() {
			if _, known := b.unwritable.Load(name); b.cfg.Cluster == nil && !known && b.writeFailed(name) {
				b.unwritable.Store(name, true)
				b.cfg.Log.Error("a topic could not be written to; end the process and start it anew once the disk has room", "topic", name, "dir", b.cfg.Dir)
				b.mapTopic(name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// setTight sends what NATS clients publish to be checked, and so refused, or straight to the streams again.
func (b *Bus) setTight(now bool) {
	if b.tight.Swap(now) == now {
		return
	}
	b.cfg.Log.Warn("the room on the disk", "dir", b.cfg.Dir, "events_are_refused", now)
	for _, name := range b.embeddedTopics() {
		b.mapTopic(name)
	}
}

func (b *Bus) mapTopic(name string) {
	for _, m := range b.topicMaps(name) {
		if err := b.nats.GlobalAccount().AddMapping(m[0], m[1]); err != nil {
			b.cfg.Log.Error("mapping the subjects of a topic", "topic", name, "error", err)
		}
	}
}

// writeFailed reports whether JetStream could not write to a topic's stream. Of several nodes another one leads the topic then.
func (b *Bus) writeFailed(topic string) bool {
	health := b.nats.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: topic, Details: true})
	return slices.ContainsFunc(health.Errors, func(e server.HealthzError) bool {
		return e.Type == server.HealthzErrorJetStream || e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error")
	})
}

// roomFor says why a topic of the embedded server takes no events, if it does not.
func (b *Bus) roomFor(topic string) error {
	_, failed := b.unwritable.Load(topic)
	switch {
	case failed:
		return errUnwritable
	case b.tight.Load() && !b.cfg.Topics[topic].external():
		return errTight
	}
	return nil
}
