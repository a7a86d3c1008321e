package shard

import (
	"encoding/binary"

	"github.com/banyanhq/banyan/store/attr"
)

// The key space. Numbers have 8 bytes, big endian. Rows all begin with d, and what belongs to no item with m, so that whoever
// replicates a group finds both.
//
//	d id hash key...               an item of table id, or an entry of index id; hash is that of the partition key. An entry of an
//	                               index has the index's key, then the table's, so that no two are alike
//	d e+stream sequence            a change in a stream
//	d x+table second item's key    an item that expires
//	m group a                      the last command that was applied, of a group that is not replicated
//	m group n                      the next id
//	m group t table                the description of a table
//	m group i token                an idempotency token: the instant, and the digest of its request
//	m group j instant token        the same by age
//
// e and x are the highest bits of the number, which ids do not reach.
//
// A table that is spread over buckets has its rows behind d f0 bucket instead of d, where bucket are the highest bits of the hash
// of the item's partition key, for the entries of indexes and the changes in streams, too. All that is written together with an
// item therefore lies in one bucket, and so does what is kept beside the items, so that a bucket can be given to another group:
//
//	d f0 bucket f1 t table         a copy of the description of a table
//	d f0 bucket f1 i, j            tokens, as above
//	d f0 bucket f1 c               the last sequence number of a change in a stream
//	d f0 bucket f1 x data key      the write of a transaction that holds the item, see transaction.go
//	d f0 bucket f1 y transaction   what became of a transaction
//	d f0 bucket f1 z               when the youngest transaction began of which that is forgotten
const (
	rows = 'd'
	meta = 'm'

	spaceData   = uint64(0)
	spaceStream = uint64(1) << 62
	spaceExpiry = uint64(1) << 63

	metaApplied = 'a'
	metaNext    = 'n'
	metaTable   = 't'
	metaToken   = 'i'
	metaAge     = 'j'
	metaChanges = 'c'
	metaLock    = 'x'
	metaFate    = 'y'
	metaHorizon = 'z'
	metaGroup   = 'g' // the last group that was made; of the system group

	bucketMark = 0xf0
	bucketMeta = 0xf1
)

// Buckets of a table that is spread over groups.
const Buckets = 32

// systemGroup has the descriptions of tables, and the rows of those that are not spread.
const systemGroup = 1

// Home says where rows are: 0 for those of tables that are not spread, otherwise one more than the bucket.
type Home uint16

func (h Home) prefix() []byte {
	if h == 0 {
		return append(make([]byte, 0, 96), rows)
	}
	return append(make([]byte, 0, 96), rows, bucketMark, byte(h-1))
}

// Key is the first key of all rows of a home; groups begin and end at such keys.
func (h Home) Key() []byte { return h.prefix() }

// HomeOf is the home that a key of a row lies in.
func HomeOf(key []byte) Home {
	if len(key) > 2 && key[1] == bucketMark {
		return Home(key[2]) + 1
	}
	return 0
}

// HomeOfHash is that of the bucket that a hash lies in.
func HomeOfHash(hash uint64) Home { return Home(hash>>(64-5)) + 1 }

// TokenHome is where an idempotency token is kept of writes that are spread.
func TokenHome(token string) Home { return HomeOfHash(attr.Hash([]byte(token))) }

// meta is the key of what is kept beside the rows of a home.
func (h Home) meta(group uint64, what byte) []byte {
	if h == 0 {
		return metaKey(group, what)
	}
	return append(h.prefix(), bucketMeta, what)
}

// head is how many bytes of a data key stand before the hash.
func head(key []byte) int {
	if HomeOf(key) != 0 {
		return 11
	}
	return 9
}

func spaceKey(h Home, space, id uint64) []byte {
	return binary.BigEndian.AppendUint64(h.prefix(), space|id)
}

// Home is where an item of the table is, of which it has the partition key.
func (t *Table) Home(it attr.Item) Home {
	if t.Buckets == 0 {
		return 0
	}
	return HomeOfHash(attr.Hash(attr.AppendKey(nil, it.Get(t.Key.Hash.Name))))
}

// Homes are all where items of the table can be.
func (t *Table) Homes() []Home {
	if t.Buckets == 0 {
		return []Home{0}
	}
	all := make([]Home, Buckets)
	for i := range all {
		all[i] = Home(i + 1)
	}
	return all
}

func metaKey(group uint64, what byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(make([]byte, 0, 64), meta), group), what)
}

// Rows are the keys [start, end) of all rows.
func Rows() (start, end []byte) { return []byte{rows}, []byte{rows + 1} }

// after is the first key behind all that begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// partitionKey is what all keys begin with of one partition key's items in a table or index.
func partitionKey(h Home, id uint64, hash attr.Value) []byte {
	k := spaceKey(h, spaceData, id)
	n := len(k)
	k = append(k, 0, 0, 0, 0, 0, 0, 0, 0)
	k = attr.AppendKey(k, hash)
	binary.BigEndian.PutUint64(k[n:], attr.Hash(k[n+8:]))
	return k
}

// PartitionHash is the hash of the partition key that a data key has.
func PartitionHash(dataKey []byte) uint64 {
	n := head(dataKey)
	if len(dataKey) < n+8 {
		return 0
	}
	return binary.BigEndian.Uint64(dataKey[n:])
}

// DataKey is the key of an item of the table, of which it has the key attributes.
func (t *Table) DataKey(it attr.Item) []byte {
	k := partitionKey(t.Home(it), t.ID, it.Get(t.Key.Hash.Name))
	if t.Key.Range.Kind != attr.None {
		k = attr.AppendKey(k, it.Get(t.Key.Range.Name))
	}
	return k
}

// indexKey is the key of an item's entry in an index, nil if it has none there: if it lacks an attribute of the index's key, or has
// it with another kind.
func (t *Table) indexKey(x *Index, it attr.Item) []byte {
	hash := it.Get(x.Key.Hash.Name)
	if hash.Kind != x.Key.Hash.Kind {
		return nil
	}
	k := partitionKey(t.Home(it), x.ID, hash)
	if x.Key.Range.Kind != attr.None {
		v := it.Get(x.Key.Range.Name)
		if v.Kind != x.Key.Range.Kind {
			return nil
		}
		k = attr.AppendKey(k, v)
	}
	k = attr.AppendKey(k, it.Get(t.Key.Hash.Name))
	if t.Key.Range.Kind != attr.None {
		k = attr.AppendKey(k, it.Get(t.Key.Range.Name))
	}
	return k
}

// keyItem takes the key attributes out of a data key of the table, or with x of an index. ok is false if it is none.
func (t *Table) keyItem(x *Index, key []byte) (it attr.Item, ok bool) {
	n := head(key)
	if len(key) < n+8 {
		return nil, false
	}
	rest := key[n+8:]
	keys := []Key{t.Key}
	if x != nil {
		keys = []Key{x.Key, t.Key}
	}
	for _, k := range keys {
		for _, a := range []Attribute{k.Hash, k.Range} {
			if a.Kind == attr.None {
				continue
			}
			var v attr.Value
			if v, rest, ok = attr.CutKey(rest, a.Kind); !ok {
				return nil, false
			}
			it = it.With(a.Name, v)
		}
	}
	return it, len(rest) == 0
}

// KeyOf returns the key attributes of an item of the table.
func (t *Table) KeyOf(it attr.Item) attr.Item {
	var key attr.Item
	for _, name := range t.Key.Names() {
		key = key.With(name, it.Get(name))
	}
	return key
}

func expiryKey(h Home, table uint64, second int64, dataKey []byte) []byte {
	k := binary.BigEndian.AppendUint64(spaceKey(h, spaceExpiry, table), uint64(second))
	return append(k, dataKey...)
}

func streamKey(h Home, stream, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(spaceKey(h, spaceStream, stream), sequence)
}

// spans are the ranges of keys of a home that belong to the table alone.
func (t *Table) spans(h Home) (prefixes [][]byte) {
	prefixes = append(prefixes, spaceKey(h, spaceData, t.ID), spaceKey(h, spaceExpiry, t.ID))
	for _, x := range t.Indexes {
		prefixes = append(prefixes, spaceKey(h, spaceData, x.ID))
	}
	for _, s := range t.Streams {
		prefixes = append(prefixes, spaceKey(h, spaceStream, s.ID))
	}
	return prefixes
}
