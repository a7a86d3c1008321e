package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
)

// What a database holds, by the first byte of the key. Data sorts before metadata before logs.
const (
	dataPrefix = 'd' // rows, in spans that belong to groups
	metaPrefix = 'm' // group id (8 bytes): replicated metadata of the group
	logPrefix  = 'r' // group id (8 bytes): log and hard state of this node's replica
)

// What follows the group id in a key of a log.
const (
	entryKind     = 'e' // index (8 bytes) -> an entry
	stateKind     = 'h' // -> State
	startKind     = 't' // -> index and term of the last entry that was cut off
	tombstoneKind = 'x' // -> the least replica id that may exist here
	forwardKind   = 'y' // -> where those who ask for a destroyed replica are to ask instead
)

// ErrCorrupt is wrapped by what is returned when a record is not what was written.
var ErrCorrupt = errors.New("corrupt raft log")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MetaSpan returns the keys [start, end) under which a group's replicated metadata lies.
func MetaSpan(group uint64) (start, end []byte) {
	start = AppendMeta(nil, group)
	return start, after(start)
}

// AppendMeta appends what the keys of a group's replicated metadata begin with.
func AppendMeta(key []byte, group uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key, metaPrefix), group)
}

// IsData says whether a key lies in the part of the database that holds rows.
func IsData(key []byte) bool { return len(key) > 0 && key[0] == dataPrefix }

func logSpan(group uint64) (start, end []byte) {
	start = binary.BigEndian.AppendUint64([]byte{logPrefix}, group)
	return start, after(start)
}

// after returns the least key that is greater than all keys with the prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

const logKeySize = 1 + 8 + 1

func logKey(group uint64, kind byte) []byte {
	return appendLogKey(make([]byte, 0, logKeySize), group, kind)
}

func appendLogKey(key []byte, group uint64, kind byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(key, logPrefix), group), kind)
}

func entryKey(group, index uint64) []byte {
	return appendEntryKey(make([]byte, 0, entryKeySize), group, index)
}

const entryKeySize = logKeySize + 8

func appendEntryKey(key []byte, group, index uint64) []byte {
	return binary.BigEndian.AppendUint64(appendLogKey(key, group, entryKind), index)
}

// parseKey takes a key of a log apart. index is zero unless the kind is entryKind.
func parseKey(key []byte) (group uint64, kind byte, index uint64, err error) {
	if len(key) < 10 || key[0] != logPrefix {
		return 0, 0, 0, fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	group, kind = binary.BigEndian.Uint64(key[1:]), key[9]
	switch rest := key[10:]; {
	case kind == entryKind && len(rest) == 8:
		return group, kind, binary.BigEndian.Uint64(rest), nil
	case (kind == stateKind || kind == startKind || kind == tombstoneKind || kind == forwardKind) && len(rest) == 0:
		return group, kind, 0, nil
	}
	return 0, 0, 0, fmt.Errorf("%w: key %x", ErrCorrupt, key)
}

// Seal puts a checksum over key and body in front of the body. The key is part of it, so that a record in the wrong
// place is found out.
func Seal(key, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), checksum(key, body)), body...)
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// Unseal returns the body of a sealed record, which aliases value.
func Unseal(key, value []byte) ([]byte, error) {
	if len(value) < 4 {
		return nil, fmt.Errorf("%w: record %x has %d bytes", ErrCorrupt, key, len(value))
	}
	body := value[4:]
	if checksum(key, body) != binary.BigEndian.Uint32(value) {
		return nil, fmt.Errorf("%w: checksum of record %x", ErrCorrupt, key)
	}
	return body, nil
}

// SetSealed puts what Seal returns under the key into the batch, without a copy in between.
func SetSealed(b *pebble.Batch, key, body []byte) error {
	op := b.SetDeferred(len(key), 4+len(body))
	copy(op.Key, key)
	copy(op.Value[4:], body)
	binary.BigEndian.PutUint32(op.Value, checksum(op.Key, op.Value[4:]))
	return op.Finish()
}

func encodeNumbers(key []byte, numbers ...uint64) []byte {
	return Seal(key, appendNumbers(nil, numbers...))
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodeNumbers(key, value []byte, numbers ...*uint64) error {
	body, err := Unseal(key, value)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		v, size := binary.Uvarint(body)
		if size <= 0 {
			return fmt.Errorf("%w: record %x is too short", ErrCorrupt, key)
		}
		*n, body = v, body[size:]
	}
	if len(body) != 0 {
		return fmt.Errorf("%w: record %x is too long", ErrCorrupt, key)
	}
	return nil
}

// setEntry puts an entry into the batch, without a copy in between.
func setEntry(b *pebble.Batch, group uint64, e *raftpb.Entry) error {
	op := b.SetDeferred(entryKeySize, entryRecordSize(e))
	appendEntryKey(op.Key[:0], group, e.GetIndex())
	fillEntryRecord(op.Value, op.Key, e)
	return op.Finish()
}

func entryRecordSize(e *raftpb.Entry) int {
	var room [binary.MaxVarintLen64]byte
	return 4 + 1 + len(binary.AppendUvarint(room[:0], e.GetTerm())) + len(e.GetData())
}

// fillEntryRecord writes the sealed record of an entry, which takes all of out.
func fillEntryRecord(out, key []byte, e *raftpb.Entry) {
	body := binary.AppendUvarint(append(out[4:4], byte(e.GetType())), e.GetTerm())
	body = append(body, e.GetData()...)
	binary.BigEndian.PutUint32(out, checksum(key, body))
}

// decodeEntry copies what it returns.
func decodeEntry(key, value []byte, index uint64) (*raftpb.Entry, error) {
	body, err := Unseal(key, value)
	if err != nil {
		return nil, err
	}
	if len(body) < 2 || body[0] > byte(raftpb.EntryConfChangeV2) {
		return nil, fmt.Errorf("%w: entry %x has no known type", ErrCorrupt, key)
	}
	term, size := binary.Uvarint(body[1:])
	if size <= 0 {
		return nil, fmt.Errorf("%w: entry %x has no term", ErrCorrupt, key)
	}
	e := &raftpb.Entry{Type: raftpb.EntryType(body[0]).Enum(), Term: new(term), Index: new(index)}
	if data := body[1+size:]; len(data) > 0 {
		e.Data = append([]byte(nil), data...)
	}
	return e, nil
}
