package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Start says from where a topic is read.
type Start struct {
	// At has the first offset of each partition that is to be read; of those that it leaves out, the first that is there.
	At Position
	// Since is the instant of the first event, if it is not zero.
	Since time.Time
	// New has only events be read that come from now on.
	New bool
	// Key that events have; nil: any or none.
	Key []byte
}

// Position is the next offset of each partition. In text: PARTITION:OFFSET, with commas between.
type Position map[int32]int64

// ErrPosition says that a text is not a position.
var ErrPosition = errors.New("expected PARTITION:OFFSET, with commas between several")

// maxPosition bounds the partitions of a position.
const maxPosition = 10000

// ParsePosition reads a position. An offset alone is one of partition 0.
func ParsePosition(text string) (Position, error) {
	at := Position{}
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		at[0] = int64(n)
		return at, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		partition, offset, _ := strings.Cut(part, ":")
		p, err1 := strconv.ParseUint(partition, 10, 31)
		n, err2 := strconv.ParseUint(offset, 10, 63)
		if _, twice := at[int32(p)]; err1 != nil || err2 != nil || twice || len(at) >= maxPosition {
			return nil, ErrPosition
		}
		at[int32(p)] = int64(n)
	}
	return at, nil
}

func (at Position) String() string {
	var out []byte
	for _, p := range slices.Sorted(maps.Keys(at)) {
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(p), 10)
		out = strconv.AppendInt(append(out, ':'), at[p], 10)
	}
	return string(out)
}

const (
	// fetchPatience bounds how long what is there is read for one answer.
	fetchPatience = 10 * time.Second
	// gapPatience is how long it is waited for events which, by their offsets, are there.
	gapPatience = 2 * time.Second
)

// Reader reads a topic from a place on. It is used by one goroutine at a time.
type Reader struct {
	topic  *Topic
	client *kgo.Client
	key    []byte
	next   Position
}

// Replay reads a topic from a place on.
func (t *Topic) Replay(ctx context.Context, from Start) (*Reader, error) {
	next, err := t.resolve(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("finding the place to read %s from: %w", t.name, err)
	}
	at := map[int32]kgo.Offset{}
	for p, offset := range next {
		at[p] = kgo.NewOffset().At(offset)
	}
	client, err := t.connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: at}), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	return &Reader{topic: t, client: client, key: from.Key, next: next}, nil
}

// Close ends reading.
func (r *Reader) Close() { r.client.Close() }

// resolve finds the offsets where reading begins.
func (t *Topic) resolve(ctx context.Context, from Start) (Position, error) {
	first, err := t.offsets(t.admin.ListStartOffsets(ctx, t.name))
	if err != nil {
		return nil, err
	}
	switch {
	case from.New:
		return t.ends(ctx)
	case !from.Since.IsZero():
		return t.offsets(t.admin.ListOffsetsAfterMilli(ctx, from.Since.Add(time.Millisecond-1).UnixMilli(), t.name))
	}
	end, err := t.ends(ctx)
	if err != nil {
		return nil, err
	}
	for p, offset := range from.At {
		if _, ok := first[p]; !ok {
			return nil, fmt.Errorf("%w: there is no partition %d", ErrPosition, p)
		}
		first[p] = min(max(offset, first[p]), end[p])
	}
	return first, nil
}

// ends are the offsets behind the last events whose transactions are over.
func (t *Topic) ends(ctx context.Context) (Position, error) {
	return t.offsets(t.admin.ListCommittedOffsets(ctx, t.name))
}

func (t *Topic) offsets(listed kadm.ListedOffsets, err error) (Position, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	at := Position{}
	listed.Each(func(o kadm.ListedOffset) { at[o.Partition] = o.Offset })
	if len(at) == 0 {
		return nil, errors.New("no partitions are known to Kafka")
	}
	return at, nil
}

// Position is where reading goes on.
func (r *Reader) Position() Position { return r.next }

// Fetch returns up to most events that are there; if there are none, it waits for some. They are in order within each partition.
func (r *Reader) Fetch(ctx context.Context, most int, wait time.Duration) ([]Event, error) {
	end, err := r.topic.ends(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading from Kafka: %w", err)
	}
	events := []Event{}
	for stop := time.Now().Add(fetchPatience); len(events) < most && r.behind(end) && time.Now().Before(stop); {
		got, some, err := r.poll(ctx, most-len(events), gapPatience)
		if err != nil {
			return nil, err
		}
		if events = append(events, got...); !some {
			break
		}
	}
	for stop := time.Now().Add(wait); len(events) == 0 && ctx.Err() == nil; {
		left := time.Until(stop)
		if left <= 0 {
			break
		}
		if events, _, err = r.poll(ctx, most, left); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// behind reports whether there is more before given offsets.
func (r *Reader) behind(end Position) bool {
	for p, offset := range r.next {
		if offset < end[p] {
			return true
		}
	}
	return false
}

// Next waits for an event until ctx ends, whose error it then returns. Position is the place behind it.
func (r *Reader) Next(ctx context.Context) (Event, error) {
	for ctx.Err() == nil {
		events, _, err := r.poll(ctx, 1, time.Minute)
		if err != nil {
			return Event{}, err
		}
		if len(events) > 0 {
			return events[0], nil
		}
	}
	return Event{}, ctx.Err()
}

// poll reads up to most records. Those that are not asked for are left out; some says whether there were any.
func (r *Reader) poll(ctx context.Context, most int, wait time.Duration) (events []Event, some bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := r.client.PollRecords(ctx, most)
	fetches.EachError(func(_ string, _ int32, failed error) {
		if ctx.Err() == nil {
			err = fmt.Errorf("reading from Kafka: %w", failed)
		}
	})
	fetches.EachRecord(func(record *kgo.Record) {
		some = true
		r.next[record.Partition] = record.Offset + 1
		if record.Attrs.IsControl() || r.key != nil && string(record.Key) != string(r.key) {
			return
		}
		events = append(events, eventOf(record))
	})
	return events, some, err
}
