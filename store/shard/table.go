// Package shard is the state machine of the tables: commands go in, items, index entries and stream records come out as writes of
// one batch. It is deterministic: what a command does depends on the command and the state alone, never on a clock, so that
// replicas that apply the same commands hold the same. It also reads: by key, by range, by segment.
//
// Everything lies in one ordered key space (keys.go). Whoever applies commands applies one after the other; reads go on beside them.
package shard

import (
	"slices"

	"github.com/banyanhq/banyan/store/attr"
)

// Attribute that is part of a key.
type Attribute struct {
	Name string
	Kind attr.Kind
}

// Key of a table or an index: the second attribute has kind None where there is none.
type Key struct {
	Hash, Range Attribute
}

// Names of the key's attributes.
func (k Key) Names() []string {
	if k.Range.Kind == attr.None {
		return []string{k.Hash.Name}
	}
	return []string{k.Hash.Name, k.Range.Name}
}

// Has says whether the attribute is part of the key.
func (k Key) Has(name string) bool {
	return k.Hash.Name == name || (k.Range.Kind != attr.None && k.Range.Name == name)
}

// Throughput that was provisioned; it is kept and described, not enforced.
type Throughput struct {
	Read, Write int64
}

// Index of a table.
type Index struct {
	ID    uint64 // given by the machine
	Name  string
	Local bool
	Key   Key
	// Projection is ALL, KEYS_ONLY or INCLUDE; Include are the further attributes of the last.
	Projection string
	Include    []string
	// Backfilling is true until all items that were there before the index are in it.
	Backfilling bool
	Throughput  Throughput
}

// Stream of a table's changes.
type Stream struct {
	ID      uint64 // given by the machine
	View    string // KEYS_ONLY, NEW_IMAGE, OLD_IMAGE or NEW_AND_OLD_IMAGES
	Label   string
	Created int64 // ms
	// Ended is when it was switched off, in ms; 0: it goes on.
	Ended int64
}

// Table is what is known of a table beside its items.
type Table struct {
	ID         uint64 // given by the machine
	UUID       string
	Name       string
	Created    int64 // ms
	Key        Key
	Attributes []Attribute // as they were defined
	Indexes    []Index
	OnDemand   bool
	Throughput Throughput
	// TTL is the attribute with the second at which an item expires; empty: items don't. Expiring is false while items that
	// were there before are still looked through.
	TTL      string
	Expiring bool
	// Streams has the stream that goes on, if there is one, and those that ended less than 24 hours ago.
	Streams    []Stream
	Tags       map[string]string
	Protected  bool
	Class      string
	Generation uint64 // counts the changes of this description
	// Buckets over which the rows are spread, Buckets of them; 0: they are not.
	Buckets int
}

// Index returns the index of that name, nil if there is none.
func (t *Table) Index(name string) *Index {
	for i := range t.Indexes {
		if t.Indexes[i].Name == name {
			return &t.Indexes[i]
		}
	}
	return nil
}

// Stream returns the stream that goes on, nil if there is none.
func (t *Table) Stream() *Stream {
	for i := range t.Streams {
		if t.Streams[i].Ended == 0 {
			return &t.Streams[i]
		}
	}
	return nil
}

// Clone copies the description as deep as it is changed.
func (t *Table) Clone() *Table {
	c := *t
	c.Indexes = slices.Clone(t.Indexes)
	c.Streams = slices.Clone(t.Streams)
	c.Attributes = slices.Clone(t.Attributes)
	c.Tags = map[string]string{}
	for k, v := range t.Tags {
		c.Tags[k] = v
	}
	return &c
}

// plain says that a write needs not know what was there before.
func (t *Table) plain() bool {
	return len(t.Indexes) == 0 && t.TTL == "" && t.Stream() == nil
}

// Projects says whether an index holds the attribute.
func (t *Table) Projects(x *Index, name string) bool {
	return x.Projection == "ALL" || x.Key.Has(name) || t.Key.Has(name) || (x.Projection == "INCLUDE" && slices.Contains(x.Include, name))
}

// Projected is what an index holds of an item; it shares the item's memory.
func (t *Table) Projected(x *Index, it attr.Item) attr.Item {
	if x.Projection == "ALL" {
		return it
	}
	var out attr.Item
	for _, f := range it {
		if t.Projects(x, f.Name) {
			out = append(out, f)
		}
	}
	return out
}
