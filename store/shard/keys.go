package shard

import (
	"encoding/binary"

	"github.com/banyanhq/banyan/store/attr"
)

// The key space. Numbers have 8 bytes, big endian.
//
//	d id hash key...               an item of table id, or an entry of index id; hash is that of the partition key. An entry of an
//	                               index has the index's key, then the table's, so that no two are alike
//	e stream sequence              a change in a stream
//	x table second item's key      an item that expires
//	m group a                      the last command that was applied
//	m group n                      the next id
//	m group t table                the description of a table
//	m group i token                an idempotency token: the instant, and the digest of its request
//	m group j instant token        the same by age
const (
	spaceData   = 'd'
	spaceStream = 'e'
	spaceExpiry = 'x'
	spaceMeta   = 'm'

	metaApplied = 'a'
	metaNext    = 'n'
	metaTable   = 't'
	metaToken   = 'i'
	metaAge     = 'j'
)

// dataPrefix is how many bytes of a data key stand before the hash.
const dataPrefix = 9

func spaceKey(space byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 96), space), id)
}

func metaKey(group uint64, what byte) []byte { return append(spaceKey(spaceMeta, group), what) }

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
func partitionKey(id uint64, hash attr.Value) []byte {
	k := spaceKey(spaceData, id)
	k = append(k, 0, 0, 0, 0, 0, 0, 0, 0)
	k = attr.AppendKey(k, hash)
	binary.BigEndian.PutUint64(k[dataPrefix:], attr.Hash(k[dataPrefix+8:]))
	return k
}

// PartitionHash is the hash of the partition key that a data key has.
func PartitionHash(dataKey []byte) uint64 {
	if len(dataKey) < dataPrefix+8 {
		return 0
	}
	return binary.BigEndian.Uint64(dataKey[dataPrefix:])
}

// DataKey is the key of an item of the table, of which it has the key attributes.
func (t *Table) DataKey(it attr.Item) []byte {
	k := partitionKey(t.ID, it.Get(t.Key.Hash.Name))
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
	k := partitionKey(x.ID, hash)
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
	if len(key) < dataPrefix+8 {
		return nil, false
	}
	rest := key[dataPrefix+8:]
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

func expiryKey(table uint64, second int64, dataKey []byte) []byte {
	k := binary.BigEndian.AppendUint64(spaceKey(spaceExpiry, table), uint64(second))
	return append(k, dataKey...)
}

func streamKey(stream, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(spaceKey(spaceStream, stream), sequence)
}

// spans are the ranges of keys that belong to the table alone.
func (t *Table) spans() (prefixes [][]byte) {
	prefixes = append(prefixes, spaceKey(spaceData, t.ID), spaceKey(spaceExpiry, t.ID))
	for _, x := range t.Indexes {
		prefixes = append(prefixes, spaceKey(spaceData, x.ID))
	}
	for _, s := range t.Streams {
		prefixes = append(prefixes, spaceKey(spaceStream, s.ID))
	}
	return prefixes
}
