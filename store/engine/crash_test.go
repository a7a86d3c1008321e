package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/engine"
	"github.com/banyanhq/banyan/store/shard"
)

func text(s string) attr.Value { return attr.Value{Kind: attr.String, Text: s} }

func number(n int64) attr.Value { return attr.Value{Kind: attr.Number, Text: attr.FromInt(n)} }

// counted is a table of (writer, number) with an index by number, a stream and a time to live.
func counted() *shard.Table {
	w, n := shard.Attribute{Name: "w", Kind: attr.String}, shard.Attribute{Name: "n", Kind: attr.Number}
	return &shard.Table{Name: "counted", Key: shard.Key{Hash: w, Range: n}, Attributes: []shard.Attribute{w, n},
		Indexes: []shard.Index{{Name: "by-n", Key: shard.Key{Hash: n}, Projection: "ALL"}},
		Streams: []shard.Stream{{View: "KEYS_ONLY", Label: "s"}}}
}

func run(t *testing.T, cfg engine.Config) (e *engine.Engine, stop func()) {
	t.Helper()
	cfg.Dir = cmp.Or(cfg.Dir, "data")
	e, err := engine.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-done, e.Close()); err != nil {
			t.Error(err)
		}
	}
}

func define(t *testing.T, e *engine.Engine, table *shard.Table) *shard.Table {
	t.Helper()
	res, err := e.Define(t.Context(), table)
	if err != nil || res.Code != shard.OK {
		t.Fatalf("defining a table: %+v, %v", res, err)
	}
	return e.Table(table.Name)
}

func write(e *engine.Engine, w ...shard.Write) (*shard.Result, error) {
	b, err := e.Propose(context.Background(), nil, shard.WriteCommand(e.Now(), "", 0, w))
	if err != nil {
		return nil, err
	}
	return shard.DecodeResult(b)
}

// entries counts what lies in a range.
func entries(t *testing.T, r pebble.Reader, lower, upper []byte) (n int) {
	t.Helper()
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCrashLosesNothingAcknowledged takes, under writers, the state of the disk that a crash could leave, at many moments, and opens
// it: what was acknowledged before is there, of each writer there is a prefix, and index and stream fit the items.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	const writers = 8
	disk := vfs.NewCrashableMem()
	e, stop := run(t, engine.Config{FS: disk})
	table := define(t, e, counted())
	var acknowledged [writers]atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var all errgroup.Group
	for w := range writers {
		all.Go(func() error {
			for n := int64(1); ctx.Err() == nil; n++ {
				res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: attr.Item{{Name: "n", Value: number(n)}, {Name: "w", Value: text(fmt.Sprint(w))}}})
				if err != nil || res.Code != shard.OK {
					return fmt.Errorf("writing: %+v, %w", res, err)
				}
				acknowledged[w].Store(n)
			}
			return nil
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		target := acknowledged[0].Load() + 1 + random.Int64N(20)
		for acknowledged[0].Load() < target {
			time.Sleep(100 * time.Microsecond) // for writes to happen, not for them to be done
		}
		var before [writers]int64
		for w := range writers {
			before[w] = acknowledged[w].Load()
		}
		clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
		checkCrashed(t, clone, before[:])
	}
	cancel()
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	stop()
}

func checkCrashed(t *testing.T, disk vfs.FS, acknowledged []int64) {
	t.Helper()
	e, stop := run(t, engine.Config{FS: disk})
	defer stop()
	table := e.Table("counted")
	if table == nil {
		t.Fatal("the table is gone")
	}
	r, _ := e.Read(t.Context(), nil, nil, true)
	total := 0
	for w, least := range acknowledged {
		lower, upper := table.Collection(attr.Item{{Name: "w", Value: text(fmt.Sprint(w))}})
		n := entries(t, r, lower, upper)
		total += n
		if int64(n) < least {
			t.Fatalf("writer %d: %d items of %d that were acknowledged", w, n, least)
		}
		last := attr.Item{{Name: "n", Value: number(int64(n))}, {Name: "w", Value: text(fmt.Sprint(w))}}
		if err := shard.Get(r, table.DataKey(last), func(item []byte) error {
			if item == nil && n > 0 {
				return fmt.Errorf("%d items, and number %d is not one of them", n, n)
			}
			return nil
		}); err != nil {
			t.Fatalf("writer %d: %v", w, err)
		}
	}
	index := table.Spans(&table.Indexes[0])[0]
	if n := entries(t, r, index.Lower, index.Upper); n != total {
		t.Fatalf("%d items and %d entries of the index", total, n)
	}
	changes, err := shard.Changes(r, table.Stream().ID, 0, 1<<30, 1<<30)
	if err != nil || len(changes) != total {
		t.Fatalf("%d items and %d changes in the stream: %v", total, len(changes), err)
	}
	// It goes on where it was: a further change comes behind all others.
	it := attr.Item{{Name: "n", Value: number(1)}, {Name: "w", Value: text("afterwards")}}
	if res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: it}); err != nil || res.Code != shard.OK {
		t.Fatal(res, err)
	}
	last := changes[len(changes)-1].Sequence
	if changes, err = shard.Changes(r, table.Stream().ID, last+1, 10, 1<<20); err != nil || len(changes) != 1 {
		t.Fatalf("%d changes behind the last one: %v", len(changes), err)
	}
}

func TestIndexIsFilledAfterwards(t *testing.T) {
	e, stop := run(t, engine.Config{FS: vfs.NewMem()})
	defer stop()
	plain := counted()
	plain.Indexes, plain.Streams = nil, nil
	table := define(t, e, plain)
	for n := range int64(350) {
		if res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: attr.Item{{Name: "n", Value: number(n)}, {Name: "w", Value: text("a")}}}); err != nil || res.Code != shard.OK {
			t.Fatal(res, err)
		}
	}
	with := e.Table("counted").Clone()
	with.Indexes = counted().Indexes
	with.Indexes[0].Backfilling = true
	define(t, e, with)
	for e.Table("counted").Indexes[0].Backfilling {
		time.Sleep(time.Millisecond)
	}
	table = e.Table("counted")
	r, _ := e.Read(t.Context(), nil, nil, true)
	index := table.Spans(&table.Indexes[0])[0]
	if n := entries(t, r, index.Lower, index.Upper); n != 350 {
		t.Errorf("%d entries", n)
	}
	without := table.Clone()
	without.Indexes = nil
	define(t, e, without)
	if n := entries(t, r, index.Lower, index.Upper); n != 0 {
		t.Errorf("%d entries of an index that was dropped", n)
	}
}

func TestItemsExpire(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	e, stop := run(t, engine.Config{FS: vfs.NewMem(), Sweep: time.Millisecond, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	defer stop()
	table := counted()
	table.TTL = "until"
	table.Indexes = nil
	table = define(t, e, table)
	put := func(w string, until attr.Value) {
		t.Helper()
		it := attr.Item{{Name: "n", Value: number(1)}, {Name: "until", Value: until}, {Name: "w", Value: text(w)}}
		if res, err := write(e, shard.Write{Action: shard.Put, Table: table.ID, Item: it}); err != nil || res.Code != shard.OK {
			t.Fatal(res, err)
		}
	}
	put("soon", number(now.Load()+10))
	put("changed", number(now.Load()+10))
	put("changed", number(now.Load()+1000))
	put("long ago", number(now.Load()-6*365*24*3600))
	put("a string", text("5"))
	now.Add(11)
	r, _ := e.Read(t.Context(), nil, nil, true)
	span := table.Spans(nil)[0]
	for e.Stats().Expired < 1 {
		time.Sleep(time.Millisecond)
	}
	if n := entries(t, r, span.Lower, span.Upper); n != 3 {
		t.Errorf("%d items are left, want 3", n)
	}
	changes, err := shard.Changes(r, table.Streams[0].ID, 0, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if last := changes[len(changes)-1]; last.Name != "REMOVE" || !last.Expired {
		t.Errorf("the last change is %+v", last)
	}
	now.Add(25 * 3600)
	for len(changes) > 0 { // until all are from more than a day ago; the other item expires meanwhile, and that change stays
		if changes, err = shard.Changes(r, table.Streams[0].ID, 0, 100, 1<<20); err != nil {
			t.Fatal(err)
		}
		if len(changes) == 1 && changes[0].Expired {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

func TestBusyAndStopped(t *testing.T) {
	e, err := engine.Open(engine.Config{Dir: "data", FS: vfs.NewMem(), Waiting: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody applies anything yet, so that the second command finds the queue full.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Propose(ctx, nil, shard.TrimCommand(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if _, err := e.Propose(ctx, nil, shard.TrimCommand(0)); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("the second: %v", err)
	}
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := e.Propose(t.Context(), nil, shard.TrimCommand(0)); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
