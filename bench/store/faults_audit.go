package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/listappend"
	"github.com/banyanhq/banyan/store/shard"
)

// keyOf is a key of the table that lies in a range and begins with a name.
func keyOf(r store.RangeLoad, name string) string {
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s-%d", name, i)
		bucket := int(shard.HomeOfHash(attr.Hash(attr.AppendKey(nil, attr.Value{Kind: attr.String, Text: key})))) - 1
		if bucket >= r.First && bucket <= r.Last {
			return key
		}
	}
}

// prepare writes what is there before anything fails: counters, and items that nobody changes.
func (h *history) prepare(ctx context.Context, nodes []*node, ranges []store.RangeLoad, items int) error {
	for i, r := range ranges {
		c := &counter{key: keyOf(r, fmt.Sprintf("count-%d", i))}
		h.counters = append(h.counters, c)
		put := &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: itemKey(c.key)}
		put.Item["n"] = number(0)
		if _, err := nodes[0].client.PutItem(ctx, put); err != nil {
			return err
		}
	}
	if err := fillItems(ctx, nodes, 0, items); err != nil {
		return err
	}
	h.fill = items
	return nil
}

// fillItems writes items from one number up to another through all nodes.
func fillItems(ctx context.Context, nodes []*node, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	all, ctx := errgroup.WithContext(ctx)
	for i := range 4 * len(nodes) {
		n := nodes[i%len(nodes)]
		all.Go(func() error {
			for ctx.Err() == nil {
				first := int(next.Add(batch) - batch)
				if first >= to {
					return nil
				}
				var writes []types.WriteRequest
				for item := first; item < min(first+batch, to); item++ {
					put := itemKey(fillKey(item))
					put["v"] = &types.AttributeValueMemberS{Value: string(payload(item))}
					writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: put}})
				}
				for len(writes) > 0 {
					out, err := n.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"bench": writes}})
					if err != nil {
						return fmt.Errorf("filling the table: %w", err)
					}
					writes = out.UnprocessedItems["bench"]
				}
			}
			return ctx.Err()
		})
	}
	return all.Wait()
}

// end waits for the clients, and holds what they saw against what is promised. The histories of registers are checked by whoever
// receives from the channel that it returns.
func (s *shift) end(ctx context.Context, nodes []*node) []*cell {
	s.clients.Wait()
	s.h.mu.Lock()
	var mine []*cell
	for _, c := range s.h.cells {
		if c.fault == s.fault {
			mine = append(mine, c)
		}
	}
	s.h.mu.Unlock()
	err := until(ctx, time.Minute, func(ctx context.Context) error {
		return s.lists.look(ctx, nodes[rand.IntN(len(nodes))], s.lists.names)
	})
	if err == nil {
		err = listappend.Check(s.lists.all)
	}
	if err != nil {
		s.h.broken("transactions during fault %d: %v", s.fault, err)
	}
	s.h.auditCounters(ctx, nodes)
	return mine
}

// auditCounters wants each counter to have what was acknowledged, and no more than what may have been carried out.
func (h *history) auditCounters(ctx context.Context, nodes []*node) {
	for _, c := range h.counters {
		var value int64
		err := until(ctx, time.Minute, func(ctx context.Context) (err error) {
			value, err = readNumber(ctx, nodes[rand.IntN(len(nodes))], c.key)
			return err
		})
		low, unknown := c.acknowledged.Load(), c.unknown.Load()
		if err != nil {
			h.broken("counter %s can't be read: %v", c.key, err)
		} else if value < low || value > low+unknown {
			h.broken("counter %s is %d: %d were acknowledged, and of %d it is not known", c.key, value, low, unknown)
		}
	}
}

// auditCells reads all registers once more, at nodes chosen at random, and checks their histories anew, with that. So a write that a
// later fault lost is found as well.
func (h *history) auditCells(ctx context.Context, nodes []*node, undecided *atomic.Int64) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for _, c := range h.cells {
		all.Go(func() error {
			began := h.now()
			var value int64
			err := until(ctx, time.Minute, func(ctx context.Context) (err error) {
				value, err = readNumber(ctx, nodes[rand.IntN(len(nodes))], c.key)
				return err
			})
			if err != nil {
				return fmt.Errorf("auditing: %w", err)
			}
			c.note(0, registerInput{}, registerOutput{value: value}, began, h.now())
			if err := c.check(undecided); err != nil {
				h.broken("at the end: %v", err)
			}
			return nil
		})
	}
	return all.Wait()
}

// outage is the longest time from one instant to another during which writes of a range were not acknowledged, wherever clients sent
// them; that of the range for which it was longest.
func (h *history) outage(ranges []store.RangeLoad, from, to time.Time) (longest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range ranges {
		last := from
		for _, at := range append(slices.SortedFunc(slices.Values(h.acks[r.Group]), time.Time.Compare), to) {
			if at.After(from) && !at.After(to) {
				longest = max(longest, at.Sub(last))
				last = at
			}
		}
	}
	return longest
}

// times of one kind of fault.
type times struct {
	outages, back []time.Duration
	notes         map[string]int
}

func (t *times) String() string {
	slices.SortFunc(t.outages, cmp.Compare)
	slices.SortFunc(t.back, cmp.Compare)
	out := fmt.Sprintf("%4d   %-16s  %-16s", len(t.outages), pair(t.outages), pair(t.back))
	for i, note := range slices.Sorted(maps.Keys(t.notes)) {
		out += map[bool]string{true: "  ", false: ", "}[i == 0] + fmt.Sprintf("%s: %d", note, t.notes[note])
	}
	return out
}

func pair(all []time.Duration) string {
	if len(all) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f, %.2f", all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
}
