package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
)

// Change is one item's change in a stream.
type Change struct {
	Sequence uint64
	Instant  int64  // ms
	Name     string // INSERT, MODIFY or REMOVE
	Expired  bool   // by the time to live, not by a client
	Size     int
	// Key, Old and New are encoded items; Old and New as far as the stream has them.
	Key, Old, New []byte
}

// maxChanges that one command makes in streams: the low bits of a sequence number count them.
const changeBits = 16

func (a *application) record(t *Table, s *Stream, p *pending, instant int64, expired bool) error {
	name := "MODIFY"
	switch {
	case p.old == nil:
		name = "INSERT"
	case p.new == nil:
		name = "REMOVE"
	}
	of := p.old
	if of == nil {
		of = p.new
	}
	key := attr.AppendItem(nil, t.KeyOf(of))
	b := binary.AppendVarint(make([]byte, 0, 64+len(key)), instant)
	b = append(b, name[0], 0)
	if expired {
		b[len(b)-1] = 1
	}
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	for _, image := range []struct {
		view string
		text []byte
	}{{"OLD_IMAGE", p.oldText}, {"NEW_IMAGE", p.newRaw}} {
		if s.View != image.view && s.View != "NEW_AND_OLD_IMAGES" {
			image.text = nil
		}
		b = appendOptional(b, image.text)
	}
	sequence, err := a.sequence(HomeOf(p.key))
	if err != nil {
		return err
	}
	return a.b.Set(streamKey(HomeOf(p.key), s.ID, sequence), b, nil)
}

// sequence is the next number for a change. A bucket counts by itself, for it may come to a group that has applied less.
func (a *application) sequence(h Home) (uint64, error) {
	if h != 0 {
		key := h.meta(a.group, metaChanges)
		n, err := readNumber(a.b, key)
		if err != nil {
			return 0, err
		}
		return n + 1, a.b.Set(key, binary.BigEndian.AppendUint64(nil, n+1), nil)
	}
	if a.changes >= 1<<changeBits {
		return 0, errors.New("one command made too many changes in streams")
	}
	a.changes++
	return a.index<<changeBits | (a.changes - 1), nil
}

func decodeChange(key, value []byte) (c Change, err error) {
	r := attr.NewReader(value)
	c.Instant = r.Int()
	switch r.Byte() {
	case 'I':
		c.Name = "INSERT"
	case 'M':
		c.Name = "MODIFY"
	default:
		c.Name = "REMOVE"
	}
	c.Expired = r.Byte() == 1
	c.Key, c.Old, c.New = r.Bytes(), r.Bytes(), r.Bytes()
	if r.Err() != nil || len(key) < 17 {
		return c, fmt.Errorf("a change in a stream at %x: %w", key, attr.ErrCorrupt)
	}
	c.Sequence = binary.BigEndian.Uint64(key[len(key)-8:])
	for _, image := range [][]byte{c.Key, c.Old, c.New} {
		if len(image) > 0 {
			n, err := attr.EncodedSize(image)
			if err != nil {
				return c, fmt.Errorf("a change in a stream at %x: %w", key, err)
			}
			c.Size += n
		}
	}
	return c, nil
}

// Changes is ChangesAt of a table that is not spread.
func Changes(r pebble.Reader, stream, from uint64, limit, maxBytes int) (all []Change, err error) {
	return ChangesAt(r, 0, stream, from, limit, maxBytes)
}

// ChangesAt reads up to limit changes that a stream has at a home, with sequence numbers from the given one on, and at most about maxBytes of them.
func ChangesAt(r pebble.Reader, h Home, stream, from uint64, limit, maxBytes int) (all []Change, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: streamKey(h, stream, from), UpperBound: after(spaceKey(h, spaceStream, stream))})
	if err != nil {
		return nil, fmt.Errorf("reading a stream: %w", err)
	}
	for ok := it.First(); ok && len(all) < limit && maxBytes > 0; ok = it.Next() {
		c, err := decodeChange(it.Key(), append([]byte(nil), it.Value()...))
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		maxBytes -= c.Size
		all = append(all, c)
	}
	return all, it.Close()
}

// LastChange is the sequence number of the newest change that a stream has at a home, 0 if there is none.
func LastChange(r pebble.Reader, h Home, stream uint64) (sequence uint64, err error) {
	prefix := spaceKey(h, spaceStream, stream)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, fmt.Errorf("reading a stream: %w", err)
	}
	if it.Last() && len(it.Key()) >= 17 {
		sequence = binary.BigEndian.Uint64(it.Key()[len(it.Key())-8:])
	}
	return sequence, it.Close()
}
