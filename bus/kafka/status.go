package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Status of a topic.
type Status struct {
	// First offset that is there, and End, the one behind the last, of each partition.
	First, End Position
	// Lag is how many events each group is behind, by the group's name: of the groups that Join makes, of this process or others.
	Lag map[string]int64
}

// Events is how many there are, by their offsets: those of transactions that were not committed, and what marks their ends, included.
func (s Status) Events() (n int64) {
	for p, end := range s.End {
		n += end - s.First[p]
	}
	return n
}

// Status says what the topic holds, and how far its groups are behind.
func (t *Topic) Status(ctx context.Context) (Status, error) {
	s := Status{Lag: map[string]int64{}}
	var err error
	if s.First, err = t.offsets(t.admin.ListStartOffsets(ctx, t.name)); err != nil {
		return s, fmt.Errorf("asking Kafka for the offsets of %s: %w", t.name, err)
	}
	if s.End, err = t.offsets(t.admin.ListEndOffsets(ctx, t.name)); err != nil {
		return s, fmt.Errorf("asking Kafka for the offsets of %s: %w", t.name, err)
	}
	groups, err := t.admin.ListGroups(ctx)
	if err != nil {
		return s, fmt.Errorf("asking Kafka for its groups: %w", err)
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		if name, ok := strings.CutPrefix(id, GroupID(t.name, "")); ok && !strings.Contains(name, ".") { // names of groups have no dots
			ids = append(ids, id)
		}
	}
	for id, answer := range t.admin.FetchManyOffsets(ctx, ids...) {
		if answer.Err != nil {
			return s, fmt.Errorf("asking Kafka how far %s has come: %w", id, answer.Err)
		}
		lag := int64(0)
		for p, end := range s.End {
			at := s.First[p]
			if o, ok := answer.Fetched.Lookup(t.name, p); ok && o.At > at {
				at = o.At
			}
			lag += max(0, end-at)
		}
		s.Lag[strings.TrimPrefix(id, GroupID(t.name, ""))] = lag
	}
	return s, nil
}
