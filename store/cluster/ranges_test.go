package cluster

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
)

func text(s string) attr.Value { return attr.Value{Kind: attr.String, Text: s} }
func number(n int) attr.Value  { return attr.Value{Kind: attr.Number, Text: attr.FromInt(int64(n))} }

// put writes items, and tries again while there is no leader.
func (r *rig) put(ctx context.Context, by uint64, t *shard.Table, atomic bool, items ...attr.Item) (*shard.Result, error) {
	w := &shard.Writes{Instant: r.nodes[by].Now(), Atomic: atomic}
	for _, it := range items {
		w.All = append(w.All, shard.Write{Action: shard.Put, Table: t.ID, Item: it, Home: t.Home(it)})
	}
	for {
		res, err := r.nodes[by].Write(ctx, w)
		if !r.nodes[by].Unavailable(err) || ctx.Err() != nil {
			return res, err
		}
	}
}

// split splits a range, and tries again while there is no leader.
func (r *rig) split(ctx context.Context, by uint64, at shard.Home) error {
	for {
		_, err := r.nodes[by].Split(ctx, at)
		if !r.nodes[by].Unavailable(err) || ctx.Err() != nil {
			return err
		}
	}
}

func account(id, n int) attr.Item {
	return attr.Item{}.With("id", text(fmt.Sprintf("a%02d", id))).With("n", number(n))
}

// balance reads n of an item.
func balance(item []byte) int {
	it, _ := attr.DecodeItem(item)
	n, _ := attr.Int(it.Get("n").Text)
	return int(n)
}

// Money goes from account to account while groups are split and merged, a node goes away, and one transaction's driver dies: no read of
// all as of one instant ever shows another sum, and at the end nothing is locked. Meanwhile lists are appended to and read, several in each
// transaction, and that is strictly serializable.
func TestTransactionsOverGroups(t *testing.T) {
	r := newRig(t, 3, nil)
	nodes := maps.Clone(r.nodes) // those that stay; node 3 is started anew while others write
	r.define(1, "accounts")
	until(t, "all know the table", func() bool {
		return r.nodes[1].Table("accounts") != nil && r.nodes[2].Table("accounts") != nil && r.nodes[3].Table("accounts") != nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	table := r.nodes[1].Table("accounts")
	const accounts, each = 12, 100
	var all []attr.Item
	for i := range accounts {
		all = append(all, account(i, each))
	}
	if res, err := r.put(ctx, 1, table, false, all...); err != nil || res.Code != shard.OK {
		t.Fatal(res, err)
	}
	checks := func() (checks []shard.Write) {
		for i := range accounts {
			key := attr.Item{}.With("id", text(fmt.Sprintf("a%02d", i)))
			checks = append(checks, shard.Write{Action: shard.Check, Table: table.ID, Item: key, Home: table.Home(key), Wants: shard.WantOld})
		}
		return checks
	}
	sum := func(by uint64) (int, bool) {
		res, err := nodes[by].Together(ctx, checks())
		if err != nil || res.Code != shard.OK {
			return 0, false
		}
		total := 0
		for _, o := range res.Outcomes {
			total += balance(o.Old)
		}
		return total, true
	}
	move := func(by uint64, token string) (*shard.Result, error) {
		a, b := rand.IntN(accounts), rand.IntN(accounts-1)
		if b >= a {
			b++
		}
		w := &shard.Writes{Instant: nodes[by].Now(), Atomic: true, Token: token}
		for i, of := range []int{a, b} {
			key := attr.Item{}.With("id", text(fmt.Sprintf("a%02d", of)))
			w.All = append(w.All, shard.Write{Action: shard.Update, Table: table.ID, Item: key, Home: table.Home(key), Update: add([]int{-1, 1}[i])})
		}
		return nodes[by].Write(ctx, w)
	}
	lists := newLists(table, 6)
	var stop atomic.Bool
	var moved, seen, bad atomic.Int64
	var work sync.WaitGroup
	for _, by := range []uint64{1, 2} {
		for range 3 {
			work.Go(func() {
				for !stop.Load() && ctx.Err() == nil {
					if res, err := move(by, string(token())); err == nil && res.Code == shard.OK {
						moved.Add(1)
					}
				}
			})
		}
		work.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				if rand.IntN(3) == 0 {
					_ = lists.look(ctx, nodes[by], lists.some()) // without an answer it says nothing
				} else {
					lists.append(ctx, nodes[by])
				}
			}
		})
		work.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				if n, ok := sum(by); ok {
					seen.Add(1)
					if n != accounts*each {
						bad.Add(1)
						t.Errorf("read together: a sum of %d, expected %d", n, accounts*each)
						return
					}
				}
			}
		})
	}
	on := func(more int64) {
		m, s := moved.Load(), seen.Load()
		until(t, "money moves on", func() bool { return bad.Load() > 0 || moved.Load() >= m+more && seen.Load() >= s+3 })
	}
	on(20)
	for _, at := range []shard.Home{4, 9, 28} {
		if err := r.split(ctx, 1, at); err != nil {
			t.Errorf("split at %d: %v", at, err)
		}
		on(10)
	}
	r.stop(3)
	on(10)
	// The driver of a transaction dies after it has locked two items, and another one after it has decided.
	for i, decide := range []bool{false, true} {
		w := &shard.Writes{Instant: r.nodes[1].Now(), Atomic: true}
		for j := range 2 {
			c := checks()[(i*4+j*2)%accounts]
			w.All = append(w.All, shard.Write{Action: shard.Update, Table: table.ID, Item: c.Item, Home: c.Home, Update: add([]int{-7, 7}[j])})
		}
		until(t, "the items are locked", func() bool {
			dead, err := r.nodes[1].newTransaction(w)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := dead.prepare(ctx); err != nil || res.Code != shard.OK {
				dead.release(ctx)
				return false
			}
			for decide {
				_, err := r.nodes[1].propose(ctx, dead.coordinator, shard.At(dead.coordinator,
					shard.DecideCommand(dead.id, shard.Committed, dead.began, w.Instant, "", 0, dead.keys)))
				if err == nil {
					break
				} else if !r.nodes[1].Unavailable(err) || ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			return true
		})
	}
	on(10)
	r.start(3, nil)
	on(10)
	stop.Store(true)
	work.Wait()
	nodes = maps.Clone(r.nodes)
	until(t, "nothing is locked", func() bool {
		for _, c := range checks() {
			if _, err := r.nodes[3].Read(ctx, table.DataKey(c.Item), nil, true); err != nil {
				return false
			}
			locks, err := shard.Locks(r.nodes[3].db, table.DataKey(c.Item), nil, 1)
			if err != nil || len(locks) > 0 {
				return false
			}
		}
		return true
	})
	lists.check(t, ctx, r.nodes[3])
	n := 0
	until(t, "all can be read together at the end", func() (ok bool) { n, ok = sum(3); return ok })
	if n != accounts*each {
		t.Errorf("at the end: a sum of %d", n)
	}
	t.Logf("%d transactions, %d reads of all, %d groups", moved.Load(), seen.Load(), len(r.nodes[1].Ranges()))
}

// A transaction whose node dies holds its items no longer than until the others have noticed, and one of an earlier start of a node
// no longer than until that is known: the clocks stand still, so that none is given up because of its age.
func TestTransactionOfADeadNode(t *testing.T) {
	now := time.Now()
	still := func(c *Config) { c.Now = func() time.Time { return now } }
	r := newRig(t, 3, still)
	r.define(1, "accounts")
	until(t, "all know the table", func() bool { return r.nodes[2].Table("accounts") != nil && r.nodes[3].Table("accounts") != nil })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	table := r.nodes[1].Table("accounts")
	for round, dead := range []uint64{2, 3} {
		w := &shard.Writes{Instant: now.UnixMilli(), Atomic: true}
		for i := range 2 {
			it := account(10*round+i, 1)
			w.All = append(w.All, shard.Write{Action: shard.Put, Table: table.ID, Item: it, Home: table.Home(it)})
		}
		until(t, "the items are locked", func() bool {
			tx, err := r.nodes[dead].newTransaction(w)
			if err != nil {
				t.Fatal(err)
			}
			res, err := tx.prepare(ctx)
			return err == nil && res.Code == shard.OK
		})
		until(t, "a node that is up is seen, and its transactions are not taken for abandoned", func() bool { return !r.nodes[1].orphaned(ctx, r.nodes[dead].transactionID()) })
		r.stop(dead)
		if dead == 2 {
			r.start(dead, still)
		}
		until(t, "the item can be written", func() bool {
			res, err := r.put(ctx, 1, table, true, account(10*round, 5))
			return err == nil && res.Code == shard.OK
		})
	}
}

// add is an update that adds d to n.
func add(d int) *expr.Update {
	return &expr.Update{Add: []expr.Assign{{Path: expr.Path{{Name: "n", Index: -1}}, Value: &expr.Node{Op: expr.OpValue, Value: number(d)}}}}
}

// A table that is spread is read in order over groups, by index too, page by page, in segments, and backwards; a split in between
// changes nothing.
func TestReadingOverGroups(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.groups = 5 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	defined := table("things")
	defined.Indexes = []shard.Index{{Name: "by-kind", Projection: "ALL", Key: shard.Key{Hash: shard.Attribute{Name: "kind", Kind: attr.String}, Range: shard.Attribute{Name: "n", Kind: attr.Number}}}}
	until(t, "the table is there", func() bool {
		_, err := r.nodes[1].Define(ctx, defined)
		return err == nil
	})
	tab := r.nodes[1].Table("things")
	const items = 300
	for i := range items {
		it := account(i, i).With("kind", text([]string{"odd", "even"}[i%2]))
		if res, err := r.put(ctx, 1, tab, true, it); err != nil || res.Code != shard.OK {
			t.Fatal(res, err)
		}
	}
	at := func(s shard.Span) (pebble.Reader, error) { return r.nodes[1].Read(ctx, s.Lower, s.Upper, true) }
	pages := func(make func() *shard.Range, limit int) (got []int) {
		var last attr.Item
		for {
			g := make()
			g.Limit = limit
			if last != nil {
				key, ok := shard.StartKey(tab, g.Index, last)
				if !ok || !g.Start(key) {
					t.Fatalf("a page can't begin at %v", last)
				}
			}
			p, err := g.Read(at, func(item []byte) error { got = append(got, balance(item)); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if last = p.Last; last == nil {
				return got
			}
			if len(got) > 2*items {
				t.Fatal("pages without an end")
			}
		}
	}
	x := &tab.Indexes[0]
	for round := range 2 {
		odd := pages(func() *shard.Range { return shard.Partition(tab, x, text("odd")) }, 7)
		back := pages(func() *shard.Range { g := shard.Partition(tab, x, text("odd")); g.Backward = true; return g }, 11)
		if len(odd) != items/2 || len(back) != items/2 {
			t.Fatalf("%d and %d of %d entries", len(odd), len(back), items/2)
		}
		for i := range odd {
			if odd[i] != 2*i || back[i] != 2*(items/2-1-i) {
				t.Fatalf("entry %d is %d, and backwards %d", i, odd[i], back[i])
			}
		}
		for _, index := range []*shard.Index{nil, x} {
			for _, total := range []int{1, 3, 50} {
				seen := map[int]int{}
				for segment := range total {
					for _, n := range pages(func() *shard.Range { return shard.Segment(tab, index, segment, total) }, 9) {
						seen[n]++
					}
				}
				if len(seen) != items {
					t.Errorf("%d segments: %d of %d items", total, len(seen), items)
				}
				for n, times := range seen {
					if times != 1 {
						t.Errorf("%d segments: item %d came %d times", total, n, times)
					}
				}
			}
		}
		if round == 0 {
			if err := r.split(ctx, 1, 12); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A table that is dropped is gone at every home, and its name can be taken anew.
func TestDroppedEverywhere(t *testing.T) {
	r := newRig(t, 1, nil)
	r.define(1, "things")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	old := r.nodes[1].Table("things")
	for i := range 40 {
		if res, err := r.put(ctx, 1, old, true, account(i, i)); err != nil || res.Code != shard.OK {
			t.Fatal(res, err)
		}
	}
	if res, err := r.nodes[1].Drop(ctx, old); err != nil || res.Code != shard.OK {
		t.Fatal(res, err)
	}
	if copies := r.nodes[1].machine.Copies(); len(copies) != 0 {
		t.Errorf("homes know of %v", copies)
	}
	if res, err := r.put(ctx, 1, old, true, account(1, 1)); err != nil || res.Code != shard.NoTable {
		t.Errorf("a write to it: %v, %v", res, err)
	}
	r.define(1, "things")
	for _, s := range r.nodes[1].Table("things").Spans(nil) {
		it, err := r.nodes[1].db.NewIter(&pebble.IterOptions{LowerBound: s.Lower, UpperBound: s.Upper})
		if err != nil {
			t.Fatal(err)
		}
		if it.First() {
			t.Errorf("the new one has %x", it.Key())
		}
		it.Close()
	}
}

// Cold ranges are merged by themselves until there is one for each node, wherever they are led, and what was in them is there.
func TestColdRangesAreMerged(t *testing.T) {
	r := newRig(t, 3, func(c *Config) { c.groups = 5 })
	r.define(1, "things")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tab := r.nodes[1].Table("things")
	for i := range 40 {
		if res, err := r.put(ctx, 1, tab, true, account(i, i)); err != nil || res.Code != shard.OK {
			t.Fatal(res, err)
		}
	}
	until(t, "two are merged", func() bool { return len(r.nodes[1].Ranges()) == 4 && len(r.nodes[3].Ranges()) == 4 })
	for i := range 40 {
		key := tab.DataKey(account(i, i))
		from, err := r.nodes[2].Read(ctx, key, nil, true)
		for r.nodes[2].Unavailable(err) && ctx.Err() == nil {
			from, err = r.nodes[2].Read(ctx, key, nil, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := shard.Get(from, key, func(item []byte) error {
			if item == nil || balance(item) != i {
				t.Errorf("item %d is %x", i, item)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}
