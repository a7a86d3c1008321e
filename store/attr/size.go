package attr

// MaxItemSize is the largest size of an item, names and values together.
const MaxItemSize = 400 << 10

// Size of an item by DynamoDB's rules (Developer Guide, "DynamoDB item sizes and formats"): names and strings by their bytes, a
// number by half of its digits and one byte, two if it is negative, a boolean or null one byte, a list or map three bytes and one for
// each member.
func (it Item) Size() int {
	n := 0
	for _, f := range it {
		n += len(f.Name) + f.Value.Size()
	}
	return n
}

// Size of a value, see Item.Size.
func (v Value) Size() int {
	switch v.Kind {
	case String, Binary:
		return len(v.Text)
	case Number:
		return numberSize(v.Text)
	case Bool, Null:
		return 1
	case Map:
		return 3 + len(v.Map) + v.Map.Size()
	case List:
		n := 3 + len(v.List)
		for _, m := range v.List {
			n += m.Size()
		}
		return n
	}
	n := 0
	for _, m := range v.List {
		n += m.Size()
	}
	return n
}

// numberSize counts the pairs of digits, of which the encoding has a byte each.
func numberSize(encoded string) int {
	if len(encoded) < 4 {
		return 1
	}
	n := len(encoded) - 3 + 1
	if encoded[0] == signNegative {
		n++
	}
	return n
}

// EncodedSize is the size of an item in the compact form, without taking it apart into values.
func EncodedSize(b []byte) (int, error) {
	r := Reader{b: b}
	n := r.itemSize(0)
	return n, r.err
}

func (r *Reader) itemSize(depth int) int {
	n := 0
	for range r.Count() {
		n += len(r.Text())
		n += r.valueSize(depth)
		if r.err != nil {
			return 0
		}
	}
	return n
}

func (r *Reader) valueSize(depth int) int {
	kind := Kind(r.Byte() &^ trueBit)
	switch kind {
	case Bool, Null:
		return 1
	case String, Binary:
		return len(r.Text())
	case Number:
		return numberSize(r.Text())
	case Map, List:
		if depth >= maxNesting {
			r.Fail()
			return 0
		}
		members := *r
		count := members.Count()
		if kind == Map {
			return 3 + count + r.itemSize(depth+1)
		}
		n := 3 + count
		for range r.Count() {
			n += r.valueSize(depth + 1)
			if r.err != nil {
				return 0
			}
		}
		return n
	case StringSet, NumberSet, BinarySet:
		n := 0
		for range r.Count() {
			text := r.Text()
			if kind == NumberSet {
				n += numberSize(text)
			} else {
				n += len(text)
			}
		}
		return n
	}
	r.Fail()
	return 0
}
