package cache

import (
	"strings"

	"github.com/banyanhq/banyan/cache/resp"
)

var bitFieldCommands = []command{
	{name: "bitfield", arity: -2, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).bitField},
	{name: "bitfield_ro", arity: -2, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).bitField},
}

// fieldOp is one of the operations of BITFIELD.
type fieldOp struct {
	verb     string // GET, SET, INCRBY
	signed   bool
	bits, at int
	value    int64
	overflow string // WRAP, SAT, FAIL
}

// fieldOps parses the operations, and returns how many bits they reach that write; -1: none does.
func (k *call) fieldOps() (ops []fieldOp, reach int, ok bool) {
	overflow, reach := "WRAP", -1
	for i := 2; i < len(k.args); {
		left := len(k.args) - i - 1
		op := fieldOp{verb: strings.ToUpper(k.arg(i)), overflow: overflow}
		switch {
		case op.verb == "OVERFLOW" && left >= 1:
			if overflow = strings.ToUpper(k.arg(i + 1)); overflow != "WRAP" && overflow != "SAT" && overflow != "FAIL" {
				k.fail("ERR Invalid OVERFLOW type specified")
				return nil, 0, false
			}
			i += 2
			continue
		case op.verb == "GET" && left >= 2:
		case (op.verb == "SET" || op.verb == "INCRBY") && left >= 3:
		default:
			k.syntax()
			return nil, 0, false
		}
		if !k.fieldType(i+1, &op) || !k.fieldOffset(i+2, &op) {
			return nil, 0, false
		}
		i += 3
		if op.verb != "GET" {
			if op.value, ok = k.intArg(i); !ok {
				return nil, 0, false
			}
			i++
			reach = max(reach, op.at+op.bits)
		}
		ops = append(ops, op)
	}
	if reach >= 0 && k.cmd.name == "bitfield_ro" {
		k.fail("ERR BITFIELD_RO only supports the GET subcommand")
		return nil, 0, false
	}
	return ops, reach, true
}

func (k *call) fieldType(i int, op *fieldOp) bool {
	if t := k.args[i]; len(t) > 1 && (t[0] == 'i' || t[0] == 'u') {
		op.signed = t[0] == 'i'
		n, ok := resp.ParseInt(t[1:])
		if op.bits = int(n); ok && n >= 1 && (n <= 63 || n == 64 && op.signed) {
			return true
		}
	}
	k.fail("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
	return false
}

func (k *call) fieldOffset(i int, op *fieldOp) bool {
	text, times := k.args[i], int64(1)
	if len(text) > 0 && text[0] == '#' {
		text, times = text[1:], int64(op.bits)
	}
	n, ok := resp.ParseInt(text)
	if !ok || n < 0 || n > int64(k.s.set.maxBulk)*8/times || (n*times+int64(op.bits)-1)>>3 >= int64(k.s.set.maxBulk) {
		k.fail("ERR bit offset is not an integer or out of range")
		return false
	}
	op.at = int(n * times)
	return true
}

func (k *call) bitField() {
	ops, reach, ok := k.fieldOps()
	if !ok {
		return
	}
	key := k.args[1]
	e, there, ok := k.find(key)
	if !ok || !k.fits(key, 0) {
		return
	}
	var b []byte
	if there {
		b = e.Bytes()
	}
	if reach >= 0 {
		var err error
		if b, err = k.db.Extend(key, (reach+7)/8); err != nil {
			k.wrongType()
			return
		}
	}
	changed, from, to := false, len(b), 0 // the bytes that were written to
	k.array(len(ops))
	for _, op := range ops {
		was := op.read(b)
		if op.verb == "GET" {
			k.int64(was)
			continue
		}
		value, fits := op.target(was)
		if !fits && op.overflow == "FAIL" {
			k.null()
			continue
		}
		op.write(b, value)
		changed, from, to = true, min(from, op.at>>3), max(to, (op.at+op.bits+7)>>3)
		if op.verb == "SET" {
			k.int64(was)
		} else {
			k.int64(value)
		}
	}
	if reach >= 0 {
		k.db.Rewrote(key, from, max(to-from, 0)) // it may have become longer either way
	}
	if changed {
		k.changed(key, classString, "setbit")
	}
}

// read returns the field's value; bits behind the string are 0.
func (op *fieldOp) read(b []byte) int64 {
	var v uint64
	for i := op.at; i < op.at+op.bits; i++ {
		v <<= 1
		if i>>3 < len(b) {
			v |= uint64(b[i>>3] >> (7 - i&7) & 1)
		}
	}
	return op.fold(v)
}

func (op *fieldOp) write(b []byte, value int64) {
	for i := range op.bits {
		at := op.at + i
		mask := byte(0x80) >> (at & 7)
		b[at>>3] &^= mask
		if uint64(value)>>(op.bits-1-i)&1 == 1 {
			b[at>>3] |= mask
		}
	}
}

// fold makes the low bits of v a value of the field's type.
func (op *fieldOp) fold(v uint64) int64 {
	unused := 64 - op.bits
	if op.signed {
		return int64(v<<unused) >> unused
	}
	return int64(v << unused >> unused)
}

// target is what is to be written, and whether that was without an overflow.
func (op *fieldOp) target(was int64) (value int64, fits bool) {
	sum := op.value
	carried := 0 // the sum is beyond 64 bits, above or below
	if op.verb == "INCRBY" {
		sum = was + op.value
		switch {
		case op.value > 0 && sum < was:
			carried = 1
		case op.value < 0 && sum > was:
			carried = -1
		}
	}
	least, most := int64(0), int64(1)<<(op.bits-1)-1
	if op.signed {
		least = -most - 1
	} else {
		most = most<<1 | 1
	}
	switch {
	case carried > 0 || carried == 0 && sum > most:
		value = most
	case carried < 0 || sum < least:
		value = least
		if op.verb == "SET" && !op.signed { // a negative number is a large one without a sign
			value = most
		}
	default:
		return sum, true
	}
	if op.overflow != "SAT" {
		value = op.fold(uint64(sum))
	}
	return value, false
}
