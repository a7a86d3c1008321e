package shard

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
)

// commandKind is a command's first byte.
type commandKind byte

const (
	kindWrite commandKind = iota + 1
	kindDefine
	kindDrop
	kindReindex
	kindExpire
	kindTrim
	kindAt      // another command, for one bucket
	kindWriteIn // as kindWrite, with the homes
	kindAdopt
	kindAbandon
	kindPrepare
	kindDecide
	kindResolve
	kindForget
	kindGroup
)

// Action is what a write does to one item.
type Action byte

const (
	Put Action = iota + 1
	Update
	Delete
	Check // only the condition
)

// Wants of a write's answer.
type Wants byte

const (
	// WantOld and WantNew have the item as it was before and as it is after be returned.
	WantOld Wants = 1 << iota
	WantNew
	// WantOldOnFailure has the item be returned for which the condition did not hold.
	WantOldOnFailure
	// WantCapacity has the sizes of what was written be returned.
	WantCapacity
)

// Write is one item's part in a command.
type Write struct {
	Action    Action
	Table     uint64
	Wants     Wants
	Item      attr.Item    // Put: the item; otherwise the key
	Update    *expr.Update // Update
	Condition *expr.Node   // nil: none
	Home      Home         // of the item, see Table.Home
}

// Writes are what one request writes.
type Writes struct {
	Instant int64  // ms
	Token   string // empty: none
	Digest  uint64 // by which another request with the same token is told
	Atomic  bool   // all or none; otherwise each by itself
	All     []Write
}

// WriteCommand encodes writes that are carried out all or none. instant is in milliseconds. With a token the same command carried
// out before, within ten minutes, is not carried out again; digest tells another request with the same token.
func WriteCommand(instant int64, token string, digest uint64, writes []Write) []byte {
	b := append(make([]byte, 0, 512), byte(kindWrite))
	spread := slices.ContainsFunc(writes, func(w Write) bool { return w.Home != 0 })
	if spread {
		b[0] = byte(kindWriteIn)
	}
	b = binary.AppendVarint(b, instant)
	b = attr.AppendText(b, token)
	b = binary.BigEndian.AppendUint64(b, digest)
	if spread {
		b = binary.AppendUvarint(b, uint64(TokenHome(token)))
	}
	return appendWrites(b, spread, writes)
}

func appendWrites(b []byte, spread bool, writes []Write) []byte {
	b = binary.AppendUvarint(b, uint64(len(writes)))
	for _, w := range writes {
		b = append(b, byte(w.Action), byte(w.Wants))
		b = binary.AppendUvarint(b, w.Table)
		if spread {
			b = binary.AppendUvarint(b, uint64(w.Home))
		}
		b = attr.AppendItem(b, w.Item)
		b = expr.AppendNode(b, w.Condition)
		if w.Action == Update {
			b = expr.AppendUpdate(b, w.Update)
		}
	}
	return b
}

// readWrites reads what appendWrites wrote.
func readWrites(r *attr.Reader, spread bool) ([]Write, error) {
	count := r.Count()
	all := make([]Write, 0, attr.Room(count))
	for range count {
		w := Write{Action: Action(r.Byte()), Wants: Wants(r.Byte()), Table: r.Uint()}
		if spread {
			w.Home = Home(r.Uint())
		}
		w.Item, w.Condition = r.Item(), expr.ReadNode(r)
		if w.Action == Update {
			w.Update = expr.ReadUpdate(r)
		}
		if r.Err() != nil {
			return nil, r.Err()
		}
		if w.Action < Put || w.Action > Check {
			return nil, fmt.Errorf("a write of action %d, which is not known", w.Action)
		}
		all = append(all, w)
	}
	return all, r.Err()
}

// At has a command for one home be carried out there: ReindexCommand, ExpireCommand, TrimCommand, and those of transactions.
func At(h Home, command []byte) []byte {
	if h == 0 {
		return command
	}
	return append(binary.AppendUvarint([]byte{byte(kindAt)}, uint64(h)), command...)
}

// DefineCommand creates a table, whose ID is 0, or replaces the description of one whose Generation is still the given one. Indexes
// and streams without an ID get one; what indexes hold that are no longer there is dropped.
func DefineCommand(t *Table) ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding the description of table %s: %w", t.Name, err)
	}
	return append([]byte{byte(kindDefine)}, text...), nil
}

// DropCommand drops a table with all it holds.
func DropCommand(table uint64) []byte { return binary.AppendUvarint([]byte{byte(kindDrop)}, table) }

// ReindexCommand enters up to limit items of a table into its indexes and into the order of expiry, behind the key after. It
// returns the last key, none when there are no more.
func ReindexCommand(table uint64, after []byte, limit int) []byte {
	b := binary.AppendUvarint([]byte{byte(kindReindex)}, table)
	return binary.AppendUvarint(attr.AppendText(b, string(after)), uint64(limit))
}

// ExpireCommand deletes up to limit items of a table that have expired at the instant (in milliseconds). It returns how many.
func ExpireCommand(table uint64, instant int64, limit int) []byte {
	b := binary.AppendVarint(binary.AppendUvarint([]byte{byte(kindExpire)}, table), instant)
	return binary.AppendUvarint(b, uint64(limit))
}

// TrimCommand forgets changes in streams from before 24 hours, and tokens from before ten minutes.
func TrimCommand(instant int64) []byte { return binary.AppendVarint([]byte{byte(kindTrim)}, instant) }

// Code says what became of a write.
type Code byte

const (
	OK Code = iota
	ConditionFailed
	Invalid  // Message says why
	NoTable  // it has been dropped
	Mismatch // the token belongs to another request
	Stale    // the description of a table has changed meanwhile
	Exists   // there is a table of that name
	// Scattered: the rows that the command is for are not all the group's. Nothing was changed.
	Scattered
	// Conflict: a transaction holds the item; New says which (DecodeLock).
	Conflict
)

// Outcome of one write, or of a whole command.
type Outcome struct {
	Code    Code
	Message string
	// Old and New are the item before and after, encoded, as far as they were wanted; nil: there was none.
	Old, New []byte
	// Sizes of what was written to the table and to its indexes, in their order, where it was wanted: the larger one of before
	// and after, 0 where nothing was written.
	Sizes []int
}

// Result of a command: Code is OK or of the whole command; with a failed write it is that of the first one.
type Result struct {
	Code     Code
	Message  string
	Repeated bool // the token says that it had been carried out before
	Outcomes []Outcome
	// ID of the table that was defined; Key and Count of what went through many items.
	ID    uint64
	Key   []byte
	Count int
}

// Take puts in the result of a part, whose writes have the given places in the whole.
func (r *Result) Take(part *Result, places []int) {
	for i, at := range places {
		if i < len(part.Outcomes) {
			r.Outcomes[at] = part.Outcomes[i]
		}
	}
	if part.Code != OK && (r.Code == OK || part.Code != Conflict) { // what a client is told goes before what may pass
		r.Code, r.Message = part.Code, part.Message
	}
}

func (r *Result) encode() []byte {
	b := append(make([]byte, 0, 64), byte(r.Code))
	if b = append(b, 0); r.Repeated {
		b[1] = 1
	}
	b = attr.AppendText(b, r.Message)
	b = binary.AppendUvarint(b, r.ID)
	b = attr.AppendText(b, string(r.Key))
	b = binary.AppendUvarint(b, uint64(r.Count))
	b = binary.AppendUvarint(b, uint64(len(r.Outcomes)))
	for _, o := range r.Outcomes {
		b = append(b, byte(o.Code))
		b = attr.AppendText(b, o.Message)
		b = appendOptional(b, o.Old)
		b = appendOptional(b, o.New)
		b = binary.AppendUvarint(b, uint64(len(o.Sizes)))
		for _, n := range o.Sizes {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

// appendOptional appends bytes that may be nil; those of an item never are empty.
func appendOptional(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// DecodeResult reads what Apply returned; it shares the memory.
func DecodeResult(b []byte) (*Result, error) {
	r := attr.NewReader(b)
	res := &Result{Code: Code(r.Byte()), Repeated: r.Byte() == 1, Message: r.Text(), ID: r.Uint(), Key: r.Bytes(), Count: int(r.Uint())}
	for range r.Count() {
		o := Outcome{Code: Code(r.Byte()), Message: r.Text()}
		if o.Old = r.Bytes(); len(o.Old) == 0 {
			o.Old = nil
		}
		if o.New = r.Bytes(); len(o.New) == 0 {
			o.New = nil
		}
		for range r.Count() {
			o.Sizes = append(o.Sizes, int(r.Uint()))
		}
		res.Outcomes = append(res.Outcomes, o)
	}
	if r.Err() != nil {
		return nil, fmt.Errorf("reading the result of a command: %w", r.Err())
	}
	return res, nil
}
