package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// What a request did.
const (
	writing     = "PutItem"
	reading     = "GetItem"
	transacting = "TransactWriteItems"
)

// sent is a request that was answered, with the SDK's own retries.
type sent struct {
	what  string
	node  int
	group uint64
	began time.Time
	took  time.Duration
	err   error
}

func (r sent) String() string {
	if r.what == "" {
		return "none"
	}
	return fmt.Sprintf("%s (%s to group %d at node %d)", seconds(r.took), r.what, r.group, r.node)
}

func slower(a, b sent) sent {
	if b.took > a.took {
		return b
	}
	return a
}

// load is clients that send one request after the other.
type load struct {
	mu       sync.Mutex
	counters map[string]int64 // by key: the last that was acknowledged
	requests []sent
	failed   atomic.Int64
	clients  sync.WaitGroup
}

func newLoad() *load { return &load{counters: map[string]int64{}} }

func (l *load) failures() int64 { return l.failed.Load() }

// keyIn is a key of the table that lies in a range, the one with a number among those that do.
func keyIn(r store.RangeLoad, number int) string {
	for i := 0; ; i++ {
		key := fmt.Sprintf("counter-%d-%d", number, i)
		bucket := int(shard.HomeOfHash(attr.Hash(attr.AppendKey(nil, attr.Value{Kind: attr.String, Text: key})))) - 1
		if bucket >= r.First && bucket <= r.Last {
			return key
		}
	}
}

// begin has clients work at nodes until ctx ends.
func (l *load) begin(ctx context.Context, nodes []*node, ranges []store.RangeLoad, pause time.Duration) {
	l.requests = nil
	for _, n := range nodes {
		var keys []string
		var groups []uint64
		for _, r := range ranges {
			if r.Last < 0 {
				continue // the descriptions of tables
			}
			key := keyIn(r, n.number)
			keys, groups = append(keys, key), append(groups, r.Group)
			l.client(ctx, n, writing, pause, func() (uint64, error) { return r.Group, l.write(ctx, n, key) })
		}
		for range 2 {
			l.client(ctx, n, reading, pause, func() (uint64, error) {
				i := rand.IntN(len(keys))
				_, err := n.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("bench"), Key: itemKey(keys[i]), ConsistentRead: aws.Bool(true)})
				return groups[i], err
			})
		}
		l.client(ctx, n, transacting, pause, func() (uint64, error) { return transact(ctx, n, ranges) })
	}
}

// haunt has a client write transactions at a node that is about to die, to items that the others' clients write as well.
func (l *load) haunt(ctx context.Context, n *node, ranges []store.RangeLoad) {
	l.clients.Go(func() {
		for ctx.Err() == nil {
			_, err := transact(ctx, n, ranges)
			if err != nil {
				_ = wait(ctx, 100*time.Millisecond) // it is dead
			}
		}
	})
}

// transact writes items of two groups, which all transactions have in common, and again where it met another one.
func transact(ctx context.Context, n *node, ranges []store.RangeLoad) (group uint64, err error) {
	in := &dynamodb.TransactWriteItemsInput{}
	at := rand.IntN(len(ranges))
	for i := range len(ranges) {
		r := ranges[(at+i)%len(ranges)]
		if r.Last < 0 || len(in.TransactItems) == 2 {
			continue
		}
		group = r.Group
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: aws.String("bench"), Item: itemKey(keyIn(r, 0))}})
	}
	for {
		_, err = n.client.TransactWriteItems(ctx, in)
		var cancelled *types.TransactionCanceledException
		if !errors.As(err, &cancelled) {
			return group, err
		}
	}
}

func itemKey(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: key}}
}

// write counts the counter of a key up, which nobody else does.
func (l *load) write(ctx context.Context, n *node, key string) error {
	l.mu.Lock()
	next := l.counters[key] + 1
	l.mu.Unlock()
	item := itemKey(key)
	item["n"] = &types.AttributeValueMemberN{Value: strconv.FormatInt(next, 10)}
	_, err := n.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: item})
	if err == nil {
		l.mu.Lock()
		l.counters[key] = next
		l.mu.Unlock()
	}
	return err
}

func (l *load) client(ctx context.Context, n *node, what string, pause time.Duration, do func() (uint64, error)) {
	l.clients.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			group, err := do()
			if ctx.Err() != nil {
				return // it was broken off
			}
			r := sent{what, n.number, group, began, time.Since(began), err}
			if err != nil {
				l.failed.Add(1)
				fmt.Fprintf(os.Stderr, "%s: %v\n", r, err)
			}
			l.mu.Lock()
			l.requests = append(l.requests, r)
			l.mu.Unlock()
			_ = wait(ctx, pause/2+rand.N(pause))
		}
	})
}

// end waits for the clients, whose context has ended, and returns what they sent.
func (l *load) end() []sent {
	l.clients.Wait()
	return l.requests
}

// audit counts counters that are lower than what was acknowledged.
func (l *load) audit(ctx context.Context, c *cluster) (lost int, err error) {
	for key, acknowledged := range l.counters {
		n := c.nodes[rand.IntN(len(c.nodes))]
		out, err := n.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("bench"), Key: itemKey(key), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return lost, fmt.Errorf("auditing: %w", err)
		}
		value, _ := out.Item["n"].(*types.AttributeValueMemberN)
		if value == nil && acknowledged > 0 {
			lost++
			continue
		}
		if found, err := strconv.ParseInt(value.Value, 10, 64); err != nil || found < acknowledged {
			lost++
		}
	}
	return lost, nil
}

// summarize says what requests saw of the death of a node.
func summarize(requests []sent, ranges []store.RangeLoad, victim int, killed, started time.Time) *outage {
	k := &outage{node: victim, requests: len(requests)}
	acks := map[uint64][]time.Time{}
	slowest := map[uint64]sent{}
	for _, r := range requests {
		ended := r.began.Add(r.took)
		switch {
		case ended.Before(killed):
			continue
		case !r.began.Before(started):
			k.back = slower(k.back, r)
			continue
		case r.what == reading:
			k.reads = slower(k.reads, r)
		case r.what == transacting:
			k.txs = slower(k.txs, r)
		default:
			slowest[r.group] = slower(slowest[r.group], r)
			if r.err == nil {
				acks[r.group] = append(acks[r.group], ended)
			}
		}
	}
	for _, r := range ranges {
		if r.Last < 0 {
			continue
		}
		g := groupOutage{group: r.Group, slowest: slowest[r.Group]}
		last := killed
		for _, at := range append(slices.SortedFunc(slices.Values(acks[r.Group]), time.Time.Compare), started) {
			g.gap = max(g.gap, at.Sub(last))
			last = at
		}
		if r.Leader == uint64(victim) {
			k.theirs = append(k.theirs, g)
		} else {
			k.others = append(k.others, g)
		}
	}
	byGroup := func(a, b groupOutage) int { return cmp.Compare(a.group, b.group) }
	slices.SortFunc(k.theirs, byGroup)
	slices.SortFunc(k.others, byGroup)
	return k
}
