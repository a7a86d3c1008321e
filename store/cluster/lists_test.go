package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/listappend"
	"github.com/banyanhq/banyan/store/shard"
)

// lists are items of a table to whose lists transactions append, with the history of that.
type lists struct {
	table *shard.Table
	names []string
	clock atomic.Int64

	mu  sync.Mutex
	all []*listappend.Transaction
}

func newLists(table *shard.Table, n int) *lists {
	l := &lists{table: table}
	for i := range n {
		l.names = append(l.names, fmt.Sprintf("list-%d", i))
	}
	return l
}

func (l *lists) begin() *listappend.Transaction {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &listappend.Transaction{Name: fmt.Sprint("t", len(l.all)), Appends: map[string]int{}, Reads: map[string][]int{}}
	t.Began = l.clock.Add(1)
	l.all = append(l.all, t)
	return t
}

// ended notes what became of a transaction. What it read counts only if it was carried out.
func (l *lists) ended(t *listappend.Transaction, res *shard.Result, err error, reads map[string][]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil: // it may have been carried out, or may yet be
	case res.Code != shard.OK:
		t.Failed = true
	default:
		t.Reads, t.Ended = reads, l.clock.Add(1)
	}
}

// some are the names of up to three lists.
func (l *lists) some() []string {
	names := slices.Clone(l.names)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+rand.IntN(min(3, len(names)))]
}

// append appends an element to some lists, and reads what was there before.
func (l *lists) append(ctx context.Context, n *Node) {
	t := l.begin()
	element := int(t.Began)
	w := &shard.Writes{Instant: n.Now(), Atomic: true, Token: string(token())}
	names := l.some()
	for _, name := range names {
		t.Appends[name] = element
		key := attr.Item{}.With("id", text(name))
		w.All = append(w.All, shard.Write{Action: shard.Update, Table: l.table.ID, Item: key, Home: l.table.Home(key), Update: appendTo("l", element), Wants: shard.WantOld})
	}
	res, err := n.Write(ctx, w)
	l.ended(t, res, err, l.read(names, res))
}

// look reads some lists as of one instant.
func (l *lists) look(ctx context.Context, n *Node, names []string) error {
	t := l.begin()
	var checks []shard.Write
	for _, name := range names {
		key := attr.Item{}.With("id", text(name))
		checks = append(checks, shard.Write{Action: shard.Check, Table: l.table.ID, Item: key, Home: l.table.Home(key), Wants: shard.WantOld})
	}
	res, err := n.Together(ctx, checks)
	l.ended(t, res, err, l.read(names, res))
	if err == nil && res.Code != shard.OK {
		err = fmt.Errorf("read together: code %d", res.Code)
	}
	return err
}

func (l *lists) read(names []string, res *shard.Result) map[string][]int {
	reads := map[string][]int{}
	if res == nil || res.Code != shard.OK || len(res.Outcomes) != len(names) {
		return reads
	}
	for i, o := range res.Outcomes {
		it, _ := attr.DecodeItem(o.Old)
		reads[names[i]] = []int{}
		for _, v := range it.Get("l").List {
			n, _ := attr.Int(v.Text)
			reads[names[i]] = append(reads[names[i]], int(n))
		}
	}
	return reads
}

// appendTo is an update that appends an element to a list, which may not be there yet.
func appendTo(name string, element int) *expr.Update {
	at := expr.Path{{Name: name, Index: -1}}
	value := func(members ...attr.Value) *expr.Node {
		return &expr.Node{Op: expr.OpValue, Value: attr.Value{Kind: attr.List, List: members}}
	}
	before := &expr.Node{Op: expr.OpIfNotExists, Args: []*expr.Node{{Op: expr.OpPath, Path: at}, value()}}
	return &expr.Update{Set: []expr.Assign{{Path: at, Value: &expr.Node{Op: expr.OpListAppend, Args: []*expr.Node{before, value(number(element))}}}}}
}

// check reads all lists once more and wants the history to be strictly serializable.
func (l *lists) check(t *testing.T, ctx context.Context, n *Node) {
	t.Helper()
	until(t, "all lists are read", func() bool { return l.look(ctx, n, l.names) == nil })
	if err := listappend.Check(l.all); err != nil {
		t.Error(err)
	}
	done := 0
	for _, tx := range l.all {
		if tx.Ended != 0 {
			done++
		}
	}
	t.Logf("%d transactions on %d lists, of which %d were carried out", len(l.all), len(l.names), done)
}
