package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The stored form of a batch of records, the payload of a frame of the log:
//
//	streams: count, then the key of each
//	names of fields: count, then each
//	records: count, then for each: time since the one before, stream, body, count of fields, then name, inBody, value of each
//
// All numbers are varints.

var errBatch = errors.New("damaged batch of records")

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }

// encodedSize is about how many bytes encodeBatch appends, seldom less than that.
func encodedSize(records []Record) int {
	n := 1 << 10 // streams and names
	for i := range records {
		r := &records[i]
		n += 16 + len(r.Body)
		for j := range r.Fields {
			n += 4 + len(r.Fields[j].Value)
		}
	}
	return n
}

// encodeBatch appends the stored form of records to b.
func encodeBatch(b []byte, records []Record) ([]byte, error) {
	streams, names, places, err := tables(records)
	if err != nil {
		return nil, err
	}
	for _, table := range [][]string{streams.all, names.all} {
		b = binary.AppendUvarint(b, uint64(len(table)))
		for _, s := range table {
			b = appendString(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(records)))
	before := int64(0)
	for i := range records {
		r := &records[i]
		b = binary.AppendUvarint(b, zigzag(r.Time-before))
		before = r.Time
		b = binary.AppendUvarint(b, uint64(streams.place(r.Stream.key)))
		b = appendString(b, r.Body)
		b = binary.AppendUvarint(b, uint64(len(r.Fields)))
		for j := range r.Fields {
			f := &r.Fields[j]
			in := uint64(0)
			if f.InBody {
				in = 1
			}
			b = binary.AppendUvarint(b, uint64(places[j])<<1|in)
			b = appendString(b, f.Value)
		}
		places = places[len(r.Fields):]
	}
	return b, nil
}

// tables returns the streams' keys and the names of fields that records have, and the place of the name of each field.
func tables(records []Record) (streams, names table, places []int32, err error) {
	fields := 0
	for i := range records {
		fields += len(records[i].Fields)
	}
	places = make([]int32, 0, fields)
	for i := range records {
		r := &records[i]
		if r.Stream == nil {
			return streams, names, nil, errors.New("a record has no stream")
		}
		if len(r.Body) > MaxBody || len(r.Fields) > MaxFields {
			return streams, names, nil, fmt.Errorf("a record with %d bytes and %d fields is beyond the bounds", len(r.Body), len(r.Fields))
		}
		if n := len(streams.all); streams.place(r.Stream.key) == n {
			if err := r.Stream.check(); err != nil {
				return streams, names, nil, err
			}
		}
		names.last = -1
		for j := range r.Fields {
			f := &r.Fields[j]
			if len(f.Name) > MaxName || len(f.Value) > MaxBody {
				return streams, names, nil, fmt.Errorf("a field with a name of %d bytes and a value of %d is beyond the bounds", len(f.Name), len(f.Value))
			}
			places = append(places, int32(names.place(f.Name)))
		}
	}
	return streams, names, places, nil
}

// table gives each string that it is asked for a place, in order of first appearance. It first looks at the place behind the last one and
// at the last one itself: records that follow each other have the same streams and the same names in the same order.
type table struct {
	all    []string
	places map[string]int
	last   int
}

func (t *table) place(s string) int {
	if next := t.last + 1; next < len(t.all) && t.all[next] == s {
		t.last = next
		return next
	}
	if t.last >= 0 && t.last < len(t.all) && t.all[t.last] == s {
		return t.last
	}
	at, ok := t.places[s]
	if !ok {
		if t.places == nil {
			t.places = map[string]int{}
		}
		at = len(t.all)
		t.places[s] = at
		t.all = append(t.all, s)
	}
	t.last = at
	return at
}

type batchReader struct {
	rest string
	bad  bool
}

func (d *batchReader) fail() { d.bad, d.rest = true, "" }

func (d *batchReader) uint() (v uint64) {
	var ok bool
	if v, d.rest, ok = cutUint(d.rest); !ok {
		d.fail()
		return 0
	}
	return v
}

func (d *batchReader) string() (s string) {
	var ok bool
	if s, d.rest, ok = cutString(d.rest); !ok {
		d.fail()
	}
	return s
}

// length reads how many entries follow; each needs at least size bytes, which bounds what a lie can allocate.
func (d *batchReader) length(size int) int {
	n := d.uint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *batchReader) table() []string {
	table := make([]string, d.length(1))
	for i := range table {
		table[i] = d.string()
	}
	return table
}

// decodeBatch reads what encodeBatch wrote; seq is the number of the first record. The records share payload's memory.
// intern returns the one stream of a key.
func decodeBatch(payload string, seq uint64, intern func(key string) (*Stream, error)) ([]Record, error) {
	d := &batchReader{rest: payload}
	keys := d.table()
	streams := make([]*Stream, len(keys))
	for i, key := range keys {
		s, err := intern(key)
		if err != nil {
			return nil, err
		}
		streams[i] = s
	}
	names := d.table()
	records := make([]Record, d.length(4))
	var slab []Field
	at := int64(0)
	for i := range records {
		r := &records[i]
		at += unzigzag(d.uint())
		stream := d.uint()
		if stream >= uint64(len(streams)) {
			return nil, errBatch
		}
		r.Time, r.Seq, r.Stream, r.Body = at, seq+uint64(i), streams[stream], d.string()
		n := d.length(2)
		if len(slab) < n {
			slab = make([]Field, max(n, 256))
		}
		r.Fields, slab = slab[:n:n], slab[n:]
		for j := range r.Fields {
			name := d.uint()
			if name>>1 >= uint64(len(names)) {
				return nil, errBatch
			}
			r.Fields[j] = Field{names[name>>1], d.string(), name&1 == 1}
		}
	}
	if d.bad || d.rest != "" {
		return nil, errBatch
	}
	return records, nil
}
