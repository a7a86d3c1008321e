package shard_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// A machine that remembers which items are locked answers as one that reads it anew before each command, and as one whose rows were brought
// by a snapshot: what it does not remember as locked, it takes for free.
func TestLocksAreRemembered(t *testing.T) {
	spread := described(false)
	spread.Buckets, spread.ID, spread.Generation = shard.Buckets, 50, 1
	var items []attr.Item
	for i := 0; len(items) < 1500; i++ { // more in one home than locks are remembered of before they are read anew
		key := attr.Item{{Name: "id", Value: text(fmt.Sprint("item", i))}}
		if len(items) == 0 || spread.Home(key) == spread.Home(items[0]) {
			items = append(items, key)
		}
	}
	home := spread.Home(items[0])
	adopt, err := shard.AdoptCommand([]shard.Home{home}, spread)
	if err != nil {
		t.Fatal(err)
	}
	remembers, reads := openSpread(t), openSpread(t)
	both := func(command []byte) *shard.Result {
		if err := reads.machine.Reload(reads.db, systemGroup); err != nil {
			t.Fatal(err)
		}
		a, b := remembers.apply(t, command), reads.apply(t, command)
		if !bytes.Equal(a, b) {
			t.Fatalf("%x: %x, and %x where locks are read anew", command[:min(len(command), 60)], a, b)
		}
		res, err := shard.DecodeResult(a)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	both(adopt)
	random := rand.New(rand.NewPCG(1, 2))
	conflicts := 0
	for i := range 3000 {
		key := items[random.IntN(len(items))]
		write := []shard.Write{{Action: shard.Put, Table: spread.ID, Item: key, Home: home}}
		switch transaction := fmt.Sprint("t", random.IntN(3)); random.IntN(5) {
		case 0, 1:
			both(shard.PrepareCommand(transaction, home, int64(i), write))
		case 2:
			both(shard.ResolveCommand(transaction, shard.Committed, int64(i), [][]byte{spread.DataKey(key)}))
		default:
			if both(shard.WriteCommand(int64(i), "", 0, write)).Code == shard.Conflict {
				conflicts++
			}
		}
		if i%700 == 699 { // a snapshot brings what was missed
			for _, key := range items[:50] {
				reads.apply(t, shard.PrepareCommand("missed", home, int64(i), []shard.Write{{Action: shard.Put, Table: spread.ID, Item: key, Home: home}}))
			}
			remembers.db = reads.copy(t)
			if err := remembers.machine.Reload(remembers.db, systemGroup); err != nil {
				t.Fatal(err)
			}
		}
	}
	if conflicts < 100 {
		t.Errorf("only %d writes met a lock", conflicts)
	}
}

// spreadRows is a database whose rows are behind homes, and the machine that changes it.
type spreadRows struct {
	db      *pebble.DB
	machine *shard.Machine
}

func openRows(t *testing.T) *pebble.DB {
	db, err := pebble.Open("x", &pebble.Options{FS: vfs.NewMem(), Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openSpread(t *testing.T) *spreadRows {
	db := openRows(t)
	m, err := shard.Open(db, systemGroup)
	if err != nil {
		t.Fatal(err)
	}
	return &spreadRows{db, m}
}

func (s *spreadRows) apply(t *testing.T, command []byte) []byte {
	b := s.db.NewIndexedBatch()
	start, end := shard.Rows()
	res, err := s.machine.ApplyWithin(b, systemGroup, 1, start, end, bytes.Clone(command))
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(res)
}

// copy is another database with the same rows.
func (s *spreadRows) copy(t *testing.T) *pebble.DB {
	to := openRows(t)
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err := to.Set(it.Key(), it.Value(), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}
