package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/banyanhq/banyan/bus/broker"
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
// nothing then to who published the event, and takes no further one until it has read its files anew.
var (
	errUnwritable = errors.New("the topic could not be written to; what was acknowledged is there")
	// errNoRoom is the one that passes: what JetStream could not write it has not taken, and its files end before it.
	errNoRoom = fmt.Errorf("%w, and it takes events again by itself when the disk has room", errUnwritable)
	// errBadDisk is the one that does not: after a failed sync the system may have given up what it could not write, and JetStream would go
	// on behind it in the same files.
	errBadDisk = fmt.Errorf("%w; its disk failed: see to that, and start the process anew", errUnwritable)
)

// mindRoom has events be refused while the disk has no room, and those of topics that could not be written to, until ctx ends.
func (b *Bus) mindRoom(ctx context.Context) {
	if len(b.embeddedTopics()) == 0 {
		return
	}
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	again := resumption{}
	for {
		if free, total, err := b.cfg.Room(b.cfg.Dir); err == nil {
			b.setTight(tight(free, total))
		}
		if b.cfg.Cluster == nil { // of several nodes another one leads the topic then
			for _, name := range b.ownStreams() {
				if b.noteFailure(name) {
					again.failed(time.Now())
				}
			}
			if b.awaitsRoom() && again.due(time.Now()) {
				b.resume()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ownStreams are the streams of the embedded server that must be written to: topics, and what their outboxes note.
func (b *Bus) ownStreams() []string {
	names := b.embeddedTopics()
	for _, t := range b.cfg.Topics {
		if t.From != nil {
			return append(names, outboxStream)
		}
	}
	return names
}

// noteFailure has the events of a topic be refused if it could not be written to, and reports whether that is new.
func (b *Bus) noteFailure(name string) bool {
	why := b.writeFailure(name)
	if before, _ := b.unwritable.Load(name); why == nil || before == why || before == errBadDisk {
		return false
	}
	b.unwritable.Store(name, why)
	b.cfg.Log.Error("a topic could not be written to", "topic", name, "dir", b.cfg.Dir, "error", why)
	if name != outboxStream {
		b.mapTopic(name)
	}
	return true
}

// awaitsRoom reports whether there are topics that only want room, and the disk has some.
func (b *Bus) awaitsRoom() (waits bool) {
	if b.tight.Load() {
		return false
	}
	b.unwritable.Range(func(_, why any) bool {
		waits = why == errNoRoom
		return !waits
	})
	return waits
}

// resumption spaces out the tries to go on: after a failure that follows soon after one before it is waited longer.
type resumption struct {
	last  time.Time // failure
	tried time.Time
	wait  time.Duration
}

const (
	firstResumption = roomEvery
	mostResumption  = time.Minute
)

// failed notes a failure.
func (r *resumption) failed(now time.Time) {
	if r.wait = min(2*r.wait, mostResumption); now.Sub(r.last) > 2*mostResumption {
		r.wait = firstResumption
	}
	r.last, r.tried = now, now
}

// due reports whether it should be tried now, and counts that as a try.
func (r *resumption) due(now time.Time) bool {
	if now.Sub(r.tried) < r.wait {
		return false
	}
	r.tried = now
	return true
}

// resume has JetStream read its files anew and go on, if the disk takes anything. Clients find nobody for a moment, as while a server starts.
func (b *Bus) resume() {
	if err := tryDisk(b.cfg.Dir); err != nil {
		b.cfg.Log.Debug("the disk takes nothing yet", "dir", b.cfg.Dir, "error", err)
		return
	}
	err := b.nats.ShutdownJetStream()
	if err == nil {
		err = b.nats.EnableJetStream(&server.JetStreamConfig{StoreDir: topicsDir(b.cfg.Dir), SyncInterval: broker.SyncEvery, SyncAlways: b.cfg.syncAlways(), Strict: true})
	}
	if err != nil {
		b.cfg.Log.Error("the topics can't be served again", "dir", b.cfg.Dir, "error", err)
		return
	}
	b.unwritable.Range(func(name, why any) bool {
		if why == errNoRoom {
			b.unwritable.Delete(name)
			b.cfg.Log.Info("a topic takes events again", "topic", name)
			if name != outboxStream {
				b.mapTopic(name.(string))
			}
		}
		return true
	})
}

// tryDisk writes a little and takes it back.
func tryDisk(dir string) error {
	f, err := os.CreateTemp(dir, "room-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
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

// writeFailure says why JetStream could not write to a stream; nil: it could. That the disk is full is the only reason for which it ends by
// itself.
func (b *Bus) writeFailure(stream string) error {
	health := b.nats.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: stream, Details: true})
	for _, e := range health.Errors {
		switch {
		case e.Type == server.HealthzErrorJetStream:
			return errNoRoom
		case e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error"):
			return kindOfFailure(e.Error)
		}
	}
	return nil
}

// kindOfFailure tells a write that found no room from what leaves it open what the disk has.
func kindOfFailure(text string) error {
	full := slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}, func(e error) bool { return strings.HasSuffix(text, e.Error()) })
	if full && !strings.Contains(text, "sync /") {
		return errNoRoom
	}
	return errBadDisk
}

// roomFor says why a topic of the embedded server takes no events, if it does not.
func (b *Bus) roomFor(topic string) error {
	failed, _ := b.unwritable.Load(topic)
	switch {
	case failed != nil:
		return failed.(error)
	case b.tight.Load() && !b.cfg.Topics[topic].external():
		return errTight
	}
	return nil
}
