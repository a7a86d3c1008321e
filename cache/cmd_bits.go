package cache

import (
	"bytes"
	"math/bits"
	"slices"

	"github.com/banyanhq/banyan/cache/resp"
)

var bitCommands = []command{
	{name: "setbit", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).setBit},
	{name: "getbit", arity: 3, flags: "readonly fast", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).getBit},
	{name: "bitcount", arity: -2, flags: "readonly", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).bitCount},
	{name: "bitpos", arity: -3, flags: "readonly", first: 1, last: 1, step: 1, groups: "bitmap", run: (*call).bitPos},
	{name: "bitop", arity: -4, flags: "write denyoom", first: 2, last: -1, step: 1, groups: "bitmap", run: (*call).bitOp},
}

// bitArg parses the number of a bit.
func (k *call) bitArg(i int) (int, bool) {
	n, ok := resp.ParseInt(k.args[i])
	if !ok || n < 0 || n>>3 >= int64(k.s.set.maxBulk) {
		k.fail("ERR bit offset is not an integer or out of range")
		return 0, false
	}
	return int(n), true
}

func (k *call) setBit() {
	key := k.args[1]
	at, ok := k.bitArg(2)
	if !ok {
		return
	}
	on, ok := resp.ParseInt(k.args[3])
	if !ok || on&^1 != 0 {
		k.fail("ERR bit is not an integer or out of range")
		return
	}
	if !k.fits(key, 0) {
		return
	}
	b, err := k.db.Extend(key, at>>3+1)
	if err != nil {
		k.wrongType()
		return
	}
	mask := byte(0x80) >> (at & 7)
	was := b[at>>3]&mask != 0
	b[at>>3] &^= mask
	if on == 1 {
		b[at>>3] |= mask
	}
	k.db.Rewrote(key, at>>3, 1)
	k.changed(key, classString, "setbit")
	k.bool(was)
}

func (k *call) getBit() {
	at, ok := k.bitArg(2)
	if !ok {
		return
	}
	e, there, ok := k.get(k.args[1])
	if !ok {
		return
	}
	k.bool(there && at>>3 < len(e.Bytes()) && e.Bytes()[at>>3]&(0x80>>(at&7)) != 0)
}

// bitRange parses the range of BITCOUNT and BITPOS that begins at an argument: in bits, the end not included.
func (k *call) bitRange(i, n int) (from, to int, ok bool) {
	var ends [2]int64
	for j := range ends {
		if ends[j] = -1; i+j < len(k.args) {
			if ends[j], ok = k.intArg(i + j); !ok {
				return 0, 0, false
			}
		}
	}
	unit := 8
	if i+2 < len(k.args) {
		switch {
		case k.is(i+2, "BIT"):
			unit = 1
		case !k.is(i+2, "BYTE"):
			k.syntax()
			return 0, 0, false
		}
	}
	total := int64(n * 8 / unit)
	if ends[0] < 0 && ends[1] < 0 && ends[0] > ends[1] && k.cmd.name == "bitcount" {
		return 0, 0, true
	}
	for j := range ends {
		if ends[j] < 0 {
			ends[j] = max(ends[j]+total, 0)
		}
	}
	ends[1] = min(ends[1], total-1)
	if ends[0] > ends[1] {
		return 0, 0, true
	}
	return int(ends[0]) * unit, (int(ends[1]) + 1) * unit, true
}

// countBits counts the ones from one bit to another.
func countBits(b []byte, from, to int) int {
	n := 0
	for ; from < to && from&7 != 0; from++ {
		n += int(b[from>>3] >> (7 - from&7) & 1)
	}
	for ; to > from && to&7 != 0; to-- {
		n += int(b[(to-1)>>3] >> (7 - (to-1)&7) & 1)
	}
	for _, x := range b[from>>3 : to>>3] {
		n += bits.OnesCount8(x)
	}
	return n
}

func (k *call) bitCount() {
	e, there, ok := k.get(k.args[1])
	if !ok {
		return
	}
	if !there {
		k.int(0)
		return
	}
	if len(k.args) == 3 || len(k.args) > 5 {
		k.syntax()
		return
	}
	b := e.Bytes()
	from, to := 0, len(b)*8
	if len(k.args) > 3 {
		if from, to, ok = k.bitRange(2, len(b)); !ok {
			return
		}
	}
	k.int(countBits(b, from, to))
}

func (k *call) bitPos() {
	bit, ok := k.intArg(2)
	if !ok {
		return
	}
	if bit&^1 != 0 {
		k.fail("ERR The bit argument must be 1 or 0.")
		return
	}
	if len(k.args) > 6 {
		k.syntax()
		return
	}
	e, there, ok := k.get(k.args[1])
	if !ok {
		return
	}
	if !there {
		k.int(-int(bit))
		return
	}
	b := e.Bytes()
	from, to, ok := 0, len(b)*8, true
	if len(k.args) > 3 {
		from, to, ok = k.bitRange(3, len(b))
	}
	if !ok {
		return
	}
	for i := from; i < to; i++ {
		if i&7 == 0 && to-i >= 8 && b[i>>3] == byte(255*(1-bit)) {
			i += 7
			continue
		}
		if int64(b[i>>3]>>(7-i&7)&1) == bit {
			k.int(i)
			return
		}
	}
	if bit == 0 && len(k.args) < 5 && to > from { // zeros follow behind a string whose end was not given
		k.int(to)
		return
	}
	k.int(-1)
}

func (k *call) bitOp() {
	op := bytes.ToUpper(k.args[1])
	if !slices.Contains([]string{"AND", "OR", "XOR", "NOT"}, string(op)) {
		k.syntax()
		return
	}
	if string(op) == "NOT" && len(k.args) != 4 {
		k.fail("ERR BITOP NOT must be called with a single source key.")
		return
	}
	var sources [][]byte
	longest := 0
	for _, key := range k.args[3:] {
		e, there, ok := k.get(key)
		if !ok {
			return
		}
		var b []byte
		if there {
			b = e.Bytes()
		}
		sources = append(sources, b)
		longest = max(longest, len(b))
	}
	out := make([]byte, longest)
	for i := range out {
		for j, b := range sources {
			var x byte
			if i < len(b) {
				x = b[i]
			}
			switch {
			case string(op) == "NOT":
				out[i] = ^x
			case j == 0:
				out[i] = x
			case string(op) == "AND":
				out[i] &= x
			case string(op) == "OR":
				out[i] |= x
			default:
				out[i] ^= x
			}
		}
	}
	target := k.args[2]
	if !k.fits(target, 0) {
		return
	}
	if longest == 0 {
		if k.db.Delete(target) {
			k.deleted(target)
		}
	} else {
		k.db.SetString(target, out, 0)
		k.changed(target, classString, "set")
	}
	k.int(longest)
}
