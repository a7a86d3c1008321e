package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/listappend"
)

// What a request of the history did.
type registerInput struct {
	put, swap bool  // otherwise it reads
	old, new  int64 // swap: only if old is there; 0: nothing is
}

type registerOutput struct {
	value   int64
	refused bool // swap: something else was there, which is value
	unknown bool // what became of it
}

// register is what an item is to the clients.
var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		in, out, now := input.(registerInput), output.(registerOutput), state.(int64)
		switch {
		case in.put:
			return true, in.new
		case !in.swap:
			return out.value == now, now
		case out.refused:
			return now != in.old && out.value == now, now
		case now == in.old:
			return true, in.new
		}
		return out.unknown, now
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// Bounds of one history, so that it can be checked: a key whose history is longer, or that has so many writes of unknown outcome, is
// left for a new one.
const (
	mostOperations = 250
	mostUnknown    = 3
)

// cell is one item that clients write and read as a register.
type cell struct {
	key   string
	group uint64
	fault int // during which it was written

	mu      sync.Mutex
	history []porcupine.Operation
	unknown int
}

func (c *cell) note(client int, in registerInput, out registerOutput, began, ended time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(began), Return: int64(ended)}
	if out.unknown {
		op.Return = math.MaxInt64 // it may be carried out at any later time
		c.unknown++
	}
	c.history = append(c.history, op)
}

func (c *cell) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.history) >= mostOperations || c.unknown >= mostUnknown
}

// check returns why a history is none of a register.
func (c *cell) check(undecided *atomic.Int64) error {
	c.mu.Lock()
	history := append([]porcupine.Operation(nil), c.history...)
	c.mu.Unlock()
	switch porcupine.CheckOperationsTimeout(register, history, 10*time.Second) {
	case porcupine.Unknown:
		undecided.Add(1)
	case porcupine.Illegal:
		return fmt.Errorf("the history of %d requests to item %q, group %d, during fault %d, is not linearizable", len(history), c.key, c.group, c.fault)
	}
	return nil
}

// counter is an item that clients count up on condition of what they read.
type counter struct {
	key                   string
	acknowledged, unknown atomic.Int64
}

// history is all that clients did, and what they saw.
type history struct {
	began    time.Time
	requests atomic.Int64
	failed   atomic.Int64
	next     atomic.Int64 // values, each written once
	counters []*counter
	fill     int // items that were there before

	mu    sync.Mutex
	cells []*cell
	wrong []string // promises that were broken
	acks  map[uint64][]time.Time
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) broken(format string, a ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Sprintf(format, a...))
}

func (h *history) acknowledged(group uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acks[group] = append(h.acks[group], time.Now())
}

// requestPatience is for how long a client of the history waits for an answer.
const requestPatience = 3 * time.Second

// outcomeOf says what an error means for a write.
func outcomeOf(err error) (refused, unknown bool) {
	var condition *types.ConditionalCheckFailedException
	var cancelled *types.TransactionCanceledException
	var conflict *types.TransactionConflictException
	var dialing *net.OpError
	switch {
	case err == nil:
		return false, false
	case errors.As(err, &condition), errors.As(err, &cancelled), errors.As(err, &conflict):
		return true, false
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return true, false // it was never sent
	}
	return false, true
}

// shift is the load around one fault: clients at every node, on items that are new.
type shift struct {
	h       *history
	fault   int
	ranges  []store.RangeLoad
	clients sync.WaitGroup
	pause   time.Duration
	lists   *lists

	mu    sync.Mutex
	cells [][]*cell // that are written now, by range
	made  int
}

// cellsOfRange are written at the same time.
const cellsOfRange = 2

func (h *history) shift(fault int, ranges []store.RangeLoad, pause time.Duration) *shift {
	s := &shift{h: h, fault: fault, ranges: ranges, pause: pause, lists: newLists(fault, ranges)}
	for range ranges {
		s.cells = append(s.cells, make([]*cell, cellsOfRange))
	}
	return s
}

// cell is an item of a range that can take more requests.
func (s *shift) cell(r, number int) *cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cells[r][number]
	if c == nil || c.full() {
		s.made++
		c = &cell{key: keyOf(s.ranges[r], fmt.Sprintf("register-%d-%d", s.fault, s.made)), group: s.ranges[r].Group, fault: s.fault}
		s.cells[r][number] = c
		s.h.mu.Lock()
		s.h.cells = append(s.h.cells, c)
		s.h.mu.Unlock()
	}
	return c
}

// begin has clients work at all nodes until ctx ends.
func (s *shift) begin(ctx context.Context, nodes []*node) {
	client := 0
	for _, n := range nodes {
		for r := range s.ranges {
			client++
			id := client
			s.client(ctx, func(ctx context.Context) error { return s.register(ctx, n, r, id) })
		}
		s.client(ctx, func(ctx context.Context) error { return s.h.count(ctx, n) })
		s.client(ctx, func(ctx context.Context) error { return s.h.filled(ctx, n) })
		s.client(ctx, func(ctx context.Context) error { return s.lists.append(ctx, n) })
		s.client(ctx, func(ctx context.Context) error { return s.lists.look(ctx, n, s.lists.some()) })
	}
}

func (s *shift) client(ctx context.Context, do func(context.Context) error) {
	s.clients.Go(func() {
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestPatience) // what has begun is waited for
			err := do(one)
			cancel()
			s.h.requests.Add(1)
			pause := s.pause/2 + rand.N(s.pause)
			if err != nil {
				s.h.failed.Add(1)
				pause += 50 * time.Millisecond
			}
			_ = wait(ctx, pause)
		}
	})
}

// register writes or reads a register.
func (s *shift) register(ctx context.Context, n *node, r, client int) error {
	c := s.cell(r, rand.IntN(cellsOfRange))
	key := itemKey(c.key)
	began := s.h.now()
	switch dice := rand.IntN(10); {
	case dice < 5:
		value, err := readNumber(ctx, n, c.key)
		if err == nil {
			c.note(client, registerInput{}, registerOutput{value: value}, began, s.h.now())
		}
		if err != nil || dice > 1 {
			return err
		}
		return s.swap(ctx, n, c, client, value)
	default:
		in := registerInput{put: true, new: s.h.next.Add(1)}
		key["n"] = number(in.new)
		_, err := n.once.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: key})
		if _, unknown := outcomeOf(err); err == nil || unknown {
			c.note(client, in, registerOutput{unknown: unknown}, began, s.h.now())
		}
		if err == nil {
			s.h.acknowledged(c.group)
		}
		return err
	}
}

// swap replaces a value if it is there still.
func (s *shift) swap(ctx context.Context, n *node, c *cell, client int, old int64) error {
	in := registerInput{swap: true, old: old, new: s.h.next.Add(1)}
	began := s.h.now()
	put := &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: itemKey(c.key), ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}
	put.Item["n"] = number(in.new)
	if old == 0 {
		put.ConditionExpression = aws.String("attribute_not_exists(n)")
	} else {
		put.ConditionExpression = aws.String("n = :old")
		put.ExpressionAttributeValues = map[string]types.AttributeValue{":old": number(old)}
	}
	_, err := n.once.PutItem(ctx, put)
	refused, unknown := outcomeOf(err)
	var condition *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &condition):
		value, _ := numberOf(condition.Item)
		c.note(client, in, registerOutput{refused: true, value: value}, began, s.h.now())
		return nil
	case refused: // it was never sent
	default:
		c.note(client, in, registerOutput{unknown: unknown}, began, s.h.now())
	}
	if err == nil {
		s.h.acknowledged(c.group)
	}
	return err
}

// count counts a counter up.
func (h *history) count(ctx context.Context, n *node) error {
	c := h.counters[rand.IntN(len(h.counters))]
	value, err := readNumber(ctx, n, c.key)
	if err != nil {
		return err
	}
	put := &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: itemKey(c.key), ConditionExpression: aws.String("n = :old"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":old": number(value)}}
	put.Item["n"] = number(value + 1)
	_, err = n.once.PutItem(ctx, put)
	refused, unknown := outcomeOf(err)
	switch {
	case unknown:
		c.unknown.Add(1)
	case refused:
		return nil // another was faster, or the node is away
	default:
		c.acknowledged.Add(1)
	}
	return err
}

// filled reads one of the items that were there before, which nobody changes.
func (h *history) filled(ctx context.Context, n *node) error {
	if h.fill == 0 {
		return wait(ctx, 100*time.Millisecond)
	}
	item := rand.IntN(h.fill)
	out, err := n.once.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("bench"), Key: itemKey(fillKey(item)), ConsistentRead: aws.Bool(rand.IntN(2) == 0)})
	if err != nil {
		return err
	}
	if v, ok := out.Item["v"].(*types.AttributeValueMemberS); !ok || v.Value != string(payload(item)) {
		h.broken("node %d has item %d not as it was written", n.number, item)
	}
	return nil
}

func fillKey(item int) string { return fmt.Sprintf("%0*d", keyDigits, item) }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// numberOf is the number that an item has, 0 if there is no item.
func numberOf(item map[string]types.AttributeValue) (int64, error) {
	if item == nil {
		return 0, nil
	}
	n, ok := item["n"].(*types.AttributeValueMemberN)
	if !ok {
		return 0, errors.New("an item without a number")
	}
	return strconv.ParseInt(n.Value, 10, 64)
}

func readNumber(ctx context.Context, n *node, key string) (int64, error) {
	out, err := n.once.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("bench"), Key: itemKey(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return 0, err
	}
	return numberOf(out.Item)
}

// lists are items to which transactions append, each an element to one or more.
type lists struct {
	names []string
	clock atomic.Int64

	mu  sync.Mutex
	all []*listappend.Transaction
}

// mostTransactions of one history.
const mostTransactions = 1500

func newLists(fault int, ranges []store.RangeLoad) *lists {
	l := &lists{}
	for i, r := range ranges {
		l.names = append(l.names, keyOf(r, fmt.Sprintf("list-%d-%d", fault, i)))
	}
	return l
}

func (l *lists) some() []string {
	names := append([]string(nil), l.names...)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+rand.IntN(min(3, len(names)))]
}

func (l *lists) begin() *listappend.Transaction {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= mostTransactions {
		return nil
	}
	t := &listappend.Transaction{Name: fmt.Sprint("t", len(l.all)), Appends: map[string]int{}, Reads: map[string][]int{}, Began: l.clock.Add(1)}
	l.all = append(l.all, t)
	return t
}

func (l *lists) append(ctx context.Context, n *node) error {
	t := l.begin()
	if t == nil {
		return nil
	}
	in := &dynamodb.TransactWriteItemsInput{}
	element := int(t.Began)
	for _, name := range l.some() {
		t.Appends[name] = element
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Update: &types.Update{TableName: aws.String("bench"), Key: itemKey(name),
			UpdateExpression: aws.String("SET l = list_append(if_not_exists(l, :none), :one)"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":none": &types.AttributeValueMemberL{},
				":one": &types.AttributeValueMemberL{Value: []types.AttributeValue{number(int64(element))}}}}})
	}
	_, err := n.once.TransactWriteItems(ctx, in)
	refused, unknown := outcomeOf(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch t.Failed = refused; {
	case unknown:
	case refused:
		return nil
	default:
		t.Ended = l.clock.Add(1)
	}
	return err
}

// look reads some lists as of one instant.
func (l *lists) look(ctx context.Context, n *node, names []string) error {
	t := l.begin()
	if t == nil {
		return nil
	}
	in := &dynamodb.TransactGetItemsInput{}
	for _, name := range names {
		in.TransactItems = append(in.TransactItems, types.TransactGetItem{Get: &types.Get{TableName: aws.String("bench"), Key: itemKey(name)}})
	}
	out, err := n.once.TransactGetItems(ctx, in)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		t.Failed = true // it changes nothing
		if refused, _ := outcomeOf(err); refused {
			return nil
		}
		return err
	}
	for i, r := range out.Responses {
		t.Reads[names[i]] = []int{}
		values, _ := r.Item["l"].(*types.AttributeValueMemberL)
		if values == nil {
			continue
		}
		for _, v := range values.Value {
			element, _ := v.(*types.AttributeValueMemberN)
			one, err := strconv.Atoi(element.Value)
			if err != nil {
				return err
			}
			t.Reads[names[i]] = append(t.Reads[names[i]], one)
		}
	}
	t.Ended = l.clock.Add(1)
	return nil
}
