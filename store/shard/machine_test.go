package shard_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/store/shard"
)

// The host of replicas calls it as well.
var _ replica.Machine = (*shard.Machine)(nil)

const group = 7

// node applies commands to a database of its own, so many in one batch, and opens its machine anew after each batch if it forgets.
type node struct {
	db       *pebble.DB
	machine  *shard.Machine
	together int
	forgets  bool
	batch    *pebble.Batch
	waiting  int
	index    uint64
	results  [][]byte
}

func newNode(t *rapid.T, together int, forgets bool) *node {
	db, err := pebble.Open("x", &pebble.Options{FS: vfs.NewMem(), Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{db: db, together: together, forgets: forgets}
	n.open(t)
	return n
}

type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (n *node) open(t *rapid.T) {
	var err error
	if n.machine, err = shard.Open(n.db, group); err != nil {
		t.Fatal(err)
	}
}

func (n *node) apply(t *rapid.T, command []byte) {
	if n.batch == nil {
		n.batch = n.db.NewIndexedBatch()
	}
	n.index++
	res, err := n.machine.Apply(n.batch, group, n.index, bytes.Clone(command))
	if err != nil {
		t.Fatal(err)
	}
	n.results = append(n.results, bytes.Clone(res))
	if n.waiting++; n.waiting >= n.together {
		n.flush(t)
	}
}

func (n *node) flush(t *rapid.T) {
	if n.batch == nil {
		return
	}
	if err := n.batch.Commit(pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	n.batch, n.waiting = nil, 0
	if n.forgets {
		n.open(t)
	}
}

// dump is all that the database holds.
func (n *node) dump(t *rapid.T) string {
	n.flush(t)
	it, err := n.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&b, "%q: %q\n", it.Key(), it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func text(s string) attr.Value   { return attr.Value{Kind: attr.String, Text: s} }
func number(n int) attr.Value    { return attr.Value{Kind: attr.Number, Text: attr.FromInt(int64(n))} }
func path(name string) expr.Path { return expr.Path{{Name: name, Index: -1}} }

func described(indexed bool) *shard.Table {
	id, g := shard.Attribute{Name: "id", Kind: attr.String}, shard.Attribute{Name: "g", Kind: attr.Number}
	t := &shard.Table{Name: "things", UUID: "u", Key: shard.Key{Hash: id}, Attributes: []shard.Attribute{id, g}, TTL: "until",
		Streams: []shard.Stream{{View: "NEW_AND_OLD_IMAGES", Label: "l"}}}
	if indexed {
		t.Indexes = []shard.Index{{Name: "by-g", Key: shard.Key{Hash: g}, Projection: "KEYS_ONLY", Backfilling: true}}
	}
	return t
}

// TestSameCommandsSameState applies random commands to nodes that batch and restart differently, and wants the same results and the
// same bytes.
func TestSameCommandsSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []*node{newNode(t, 1, false), newNode(t, 5, false), newNode(t, 3, true)}
		defer func() {
			for _, n := range nodes {
				n.flush(t)
				n.db.Close()
			}
		}()
		apply := func(command []byte) {
			for _, n := range nodes {
				n.apply(t, command)
			}
		}
		define := func(table *shard.Table) {
			command, err := shard.DefineCommand(table)
			if err != nil {
				t.Fatal(err)
			}
			apply(command)
		}
		draw := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(t, name) }
		define(described(draw("indexed", 2) == 0))
		now := int64(1_700_000_000_000)
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			table := nodes[0].machine.Table("things")
			now += int64(draw("ms", 400_000))
			switch draw("kind", 12) {
			case 0:
				apply(shard.ExpireCommand(table.ID, now, 3))
			case 1:
				apply(shard.TrimCommand(now))
			case 2:
				apply(shard.ReindexCommand(table.ID, nil, 4))
			case 3:
				next := table.Clone()
				if next.Indexes = described(true).Indexes; len(table.Indexes) > 0 {
					next.Indexes = nil
				}
				define(next)
			default:
				var writes []shard.Write
				for i := range 1 + draw("writes", 3) {
					key := attr.Item{{Name: "id", Value: text(fmt.Sprint("id", i, draw("id", 4)))}}
					w := shard.Write{Table: table.ID, Action: shard.Action(1 + draw("action", 4)), Item: key, Wants: shard.Wants(draw("wants", 16))}
					if draw("conditional", 3) == 0 {
						w.Condition = &expr.Node{Op: expr.OpExists, Args: []*expr.Node{{Op: expr.OpPath, Path: path("g")}}}
					}
					switch w.Action {
					case shard.Put:
						w.Item = w.Item.With("g", number(draw("g", 3))).With("until", number(int(now/1000)+draw("until", 600)))
					case shard.Update:
						w.Update = &expr.Update{Add: []expr.Assign{{Path: path("g"), Value: &expr.Node{Op: expr.OpValue, Value: number(1)}}}, Remove: []expr.Path{path("until")}}
					}
					writes = append(writes, w)
				}
				token := ""
				if draw("token", 2) == 0 {
					token = fmt.Sprint("token", draw("which", 3))
				}
				apply(shard.WriteCommand(now, token, uint64(draw("digest", 2)), writes))
			}
		}
		want := nodes[0].dump(t)
		for i, n := range nodes[1:] {
			if got := n.dump(t); got != want {
				t.Fatalf("node %d holds\n%s\nthe first\n%s", i+1, got, want)
			}
			for j := range n.results {
				if !bytes.Equal(n.results[j], nodes[0].results[j]) {
					t.Fatalf("node %d was told %q by command %d, the first %q", i+1, n.results[j], j, nodes[0].results[j])
				}
			}
		}
	})
}
