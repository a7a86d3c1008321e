package shard_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
)

const systemGroup = 1

// stocked is a database with a table that is spread and one that is not, both with items, some of them locked.
func stocked(t testing.TB) (*pebble.DB, *shard.Machine) {
	db, err := pebble.Open("x", &pebble.Options{FS: vfs.NewMem(), Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	m, err := shard.Open(db, systemGroup)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(t) {
		b := db.NewIndexedBatch()
		if err := applyIn(m, b, c); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	return db, m
}

func applyIn(m *shard.Machine, b *pebble.Batch, command []byte) error {
	start, end := shard.Rows()
	_, err := m.ApplyWithin(b, systemGroup, 1, start, end, bytes.Clone(command))
	return err
}

// commands are of every kind, in an order in which they can be applied.
func commands(t testing.TB) (all [][]byte) {
	must := func(c []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	alone, spread := described(true), described(true)
	spread.Name, spread.Buckets, spread.ID, spread.Generation, spread.Indexes[0].ID, spread.Streams[0].ID = "spread", shard.Buckets, 50, 1, 51, 52
	key := attr.Item{{Name: "id", Value: text("a")}}
	home := spread.Home(key)
	const now = 1_700_000_000_000
	condition := &expr.Node{Op: expr.OpOr, Args: []*expr.Node{
		{Op: expr.OpNotExists, Args: []*expr.Node{{Op: expr.OpPath, Path: path("g")}}},
		{Op: expr.OpLess, Args: []*expr.Node{{Op: expr.OpSize, Args: []*expr.Node{{Op: expr.OpPath, Path: path("l")}}}, {Op: expr.OpValue, Value: number(3)}}}}}
	update := &expr.Update{Set: []expr.Assign{{Path: path("l"), Value: &expr.Node{Op: expr.OpListAppend, Args: []*expr.Node{
		{Op: expr.OpIfNotExists, Args: []*expr.Node{{Op: expr.OpPath, Path: path("l")}, {Op: expr.OpValue, Value: attr.Value{Kind: attr.List}}}},
		{Op: expr.OpValue, Value: attr.Value{Kind: attr.List, List: []attr.Value{number(1)}}}}}}},
		Add:    []expr.Assign{{Path: path("g"), Value: &expr.Node{Op: expr.OpValue, Value: number(1)}}},
		Delete: []expr.Assign{{Path: path("s"), Value: &expr.Node{Op: expr.OpValue, Value: attr.Value{Kind: attr.StringSet, List: []attr.Value{text("x")}}}}},
		Remove: []expr.Path{path("until")}}
	put := key.With("g", number(1)).With("until", number(now/1000-5))
	writes := func(table uint64, h shard.Home) []shard.Write {
		return []shard.Write{{Action: shard.Put, Table: table, Item: put, Home: h}, {Action: shard.Update, Table: table, Item: key, Update: update, Condition: condition, Wants: 15, Home: h}}
	}
	dataKey := spread.DataKey(key)
	return [][]byte{
		must(shard.DefineCommand(alone)),
		must(shard.AdoptCommand([]shard.Home{home}, spread)),
		shard.WriteCommand(now, "token", 7, writes(1, 0)),
		shard.WriteCommand(now, "", 0, writes(50, home)),
		shard.ReindexCommand(1, nil, 10),
		shard.At(home, shard.ReindexCommand(50, dataKey, 10)),
		shard.ExpireCommand(1, now, 10),
		shard.TrimCommand(now),
		shard.At(home, shard.TrimCommand(now)),
		shard.GroupCommand(),
		shard.PrepareCommand("transaction", home, now, writes(50, home)[:1]),
		shard.At(home, shard.DecideCommand("transaction", shard.Committed, now, now, "", 0, [][]byte{dataKey})),
		shard.ResolveCommand("transaction", shard.Committed, now, [][]byte{dataKey}),
		shard.At(home, shard.ForgetCommand("transaction")),
		shard.PrepareCommand("another", home, now, writes(50, home)[1:]),
		shard.AbandonCommand([]shard.Home{home + 1}, 50),
		shard.DropCommand(99),
	}
}

// FuzzApply wants no command to panic, whatever it is made of.
func FuzzApply(f *testing.F) {
	for _, c := range commands(f) {
		f.Add(c)
	}
	db, m := stocked(f)
	f.Fuzz(func(t *testing.T, command []byte) {
		b := db.NewIndexedBatch()
		defer b.Close()
		_ = applyIn(m, b, command) // an error is right where it is no command
		if err := m.Reload(db, systemGroup); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDecode wants nothing to panic that reads what commands left or answered.
func FuzzDecode(f *testing.F) {
	db, m := stocked(f)
	for _, c := range commands(f) {
		b := db.NewIndexedBatch()
		start, end := shard.Rows()
		if res, err := m.ApplyWithin(b, systemGroup, 1, start, end, c); err == nil {
			f.Add(res)
		}
		_ = b.Close()
	}
	f.Add((&shard.Lock{Transaction: "t", Coordinator: 3, Began: 5, Key: []byte("k")}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := shard.DecodeResult(b); err == nil && len(r.Outcomes) > len(b) {
			t.Errorf("%d outcomes of %d bytes", len(r.Outcomes), len(b))
		}
		_, _ = shard.DecodeLock(b)
	})
}

// A command that announces more than it has takes no memory for it.
func TestAnnouncementsTakeNoMemory(t *testing.T) {
	db, m := stocked(t)
	rest := bytes.Repeat([]byte{0xff}, 1<<20)
	announced := func(begin ...byte) []byte {
		return append(binary.AppendUvarint(begin, uint64(len(rest))), rest...)
	}
	write := shard.WriteCommand(1, "", 0, nil)
	resolve := shard.ResolveCommand("t", shard.Committed, 1, nil)
	for name, command := range map[string][]byte{
		"writes": announced(write[:len(write)-1]...), "keys": announced(resolve[:len(resolve)-1]...),
		"lists": append(write[:len(write)-1:len(write)-1], append([]byte{1, byte(shard.Put), 0, 1, 1, 0}, bytes.Repeat(append([]byte{byte(attr.List)}, 0xff, 0xff, 0x3f), 1<<18)...)...),
	} {
		var before, after runtime.MemStats
		b := db.NewIndexedBatch()
		runtime.ReadMemStats(&before)
		_ = applyIn(m, b, command)
		runtime.ReadMemStats(&after)
		_ = b.Close()
		if got := after.TotalAlloc - before.TotalAlloc; got > 48<<20 {
			t.Errorf("%s: a command of 1 MiB took %d MiB", name, got>>20)
		}
	}
}
