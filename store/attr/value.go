// Package attr holds the values that items are made of: the ten kinds of the DynamoDB data model, decimal numbers of 38
// digits, a compact form for storage, an encoding of keys that keeps their order, and the sizes that limits go by.
//
// It is pure: bytes and values in, bytes and values out. Strings of a value may share memory with what it was decoded from;
// who keeps a value longer than that encodes it.
package attr

import (
	"slices"
	"strings"
)

// Kind of a value.
type Kind uint8

const (
	// None is the kind of a value that is not there.
	None Kind = iota
	String
	Number
	Binary
	Bool
	Null
	Map
	List
	StringSet
	NumberSet
	BinarySet
)

var kindNames = [...]string{"", "S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}

// String is the kind's name on the wire, such as SS.
func (k Kind) String() string { return kindNames[k] }

// Word is the kind's name as some messages have it, such as STRING_SET.
func (k Kind) Word() string {
	return [...]string{"", "STRING", "NUMBER", "BINARY", "BOOLEAN", "NULL", "MAP", "LIST", "STRING_SET", "NUMBER_SET", "BINARY_SET"}[k]
}

// KindOf is the kind of a name on the wire; None if there is none of that name.
func KindOf(name string) Kind {
	for k, n := range kindNames {
		if n == name {
			return Kind(k)
		}
	}
	return None
}

// Element is the kind of what a set of this kind holds, None if it is no set.
func (k Kind) Element() Kind {
	switch k {
	case StringSet:
		return String
	case NumberSet:
		return Number
	case BinarySet:
		return Binary
	}
	return None
}

// SetOf is the kind of the set that holds values of kind k, None if there is none.
func SetOf(k Kind) Kind {
	switch k {
	case String:
		return StringSet
	case Number:
		return NumberSet
	case Binary:
		return BinarySet
	}
	return None
}

// Value is one attribute's value. The zero value is one that is not there.
type Value struct {
	Kind Kind
	// Bool of a Bool.
	Bool bool
	// Text is the bytes of a String or a Binary, and of a Number its encoding (see ParseNumber).
	Text string
	// List has the members of a List in order, and those of a set sorted and each once.
	List []Value
	// Map of a Map.
	Map Item
}

// Field is one attribute of an item or a map.
type Field struct {
	Name  string
	Value Value
}

// Item is a set of attributes, sorted by name.
type Item []Field

// Get returns the attribute of that name, of kind None if there is none.
func (it Item) Get(name string) Value {
	if i, ok := it.find(name); ok {
		return it[i].Value
	}
	return Value{}
}

// Has says whether there is an attribute of that name.
func (it Item) Has(name string) bool {
	_, ok := it.find(name)
	return ok
}

func (it Item) find(name string) (int, bool) {
	if len(it) <= 8 {
		for i := range it {
			if it[i].Name >= name {
				return i, it[i].Name == name
			}
		}
		return len(it), false
	}
	return slices.BinarySearchFunc(it, name, func(f Field, n string) int { return strings.Compare(f.Name, n) })
}

// With returns the item with the attribute set; the receiver's memory may be used.
func (it Item) With(name string, v Value) Item {
	i, ok := it.find(name)
	if ok {
		it[i].Value = v
		return it
	}
	return slices.Insert(it, i, Field{name, v})
}

// Without returns the item without the attribute; the receiver's memory is used.
func (it Item) Without(name string) Item {
	if i, ok := it.find(name); ok {
		return slices.Delete(it, i, i+1)
	}
	return it
}

// Sort puts attributes in order that were appended in any; of two with one name the later stays.
func (it Item) Sort() Item {
	sorted := true
	for i := 1; i < len(it); i++ {
		if it[i-1].Name >= it[i].Name {
			sorted = false
			break
		}
	}
	if sorted {
		return it
	}
	slices.SortStableFunc(it, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	out := it[:0]
	for _, f := range it {
		if n := len(out); n > 0 && out[n-1].Name == f.Name {
			out[n-1] = f
			continue
		}
		out = append(out, f)
	}
	return out
}

// Clone copies the item as deep as updates change it: maps and lists, not texts.
func (it Item) Clone() Item {
	if it == nil {
		return nil
	}
	out := make(Item, len(it), len(it)+2)
	for i, f := range it {
		out[i] = Field{f.Name, f.Value.Clone()}
	}
	return out
}

// Clone copies a value like Item.Clone.
func (v Value) Clone() Value {
	if v.List != nil {
		list := make([]Value, len(v.List))
		for i := range v.List {
			list[i] = v.List[i].Clone()
		}
		v.List = list
	}
	v.Map = v.Map.Clone()
	return v
}

// Equal says whether both hold the same: of numbers the value counts, of sets the members.
func Equal(a, b Value) bool {
	if a.Kind != b.Kind || a.Text != b.Text || a.Bool != b.Bool {
		return false
	}
	return slices.EqualFunc(a.List, b.List, Equal) && EqualItems(a.Map, b.Map)
}

// EqualItems says whether both have the same attributes with equal values.
func EqualItems(a, b Item) bool {
	return slices.EqualFunc(a, b, func(x, y Field) bool { return x.Name == y.Name && Equal(x.Value, y.Value) })
}

// Compare orders two strings, numbers or binaries of one kind; ok is false for anything else.
func Compare(a, b Value) (order int, ok bool) {
	if a.Kind != b.Kind || (a.Kind != String && a.Kind != Number && a.Kind != Binary) {
		return 0, false
	}
	return strings.Compare(a.Text, b.Text), true
}

// NewSet makes a set of values of one kind, sorted; ok is false if one is there twice.
func NewSet(kind Kind, members []Value) (v Value, ok bool) {
	slices.SortFunc(members, func(a, b Value) int { return strings.Compare(a.Text, b.Text) })
	for i := 1; i < len(members); i++ {
		if members[i].Text == members[i-1].Text {
			return Value{}, false
		}
	}
	return Value{Kind: kind, List: members}, true
}

// Union of two sets of one kind.
func Union(a, b Value) Value {
	out := Value{Kind: a.Kind, List: make([]Value, 0, len(a.List)+len(b.List))}
	i, j := 0, 0
	for i < len(a.List) || j < len(b.List) {
		switch {
		case j == len(b.List) || (i < len(a.List) && a.List[i].Text < b.List[j].Text):
			out.List = append(out.List, a.List[i])
			i++
		case i == len(a.List) || b.List[j].Text < a.List[i].Text:
			out.List = append(out.List, b.List[j])
			j++
		default:
			out.List = append(out.List, a.List[i])
			i++
			j++
		}
	}
	return out
}

// Difference of two sets of one kind: of kind None when nothing is left.
func Difference(a, b Value) Value {
	out := Value{Kind: a.Kind}
	for _, m := range a.List {
		if !Contains(b, m) {
			out.List = append(out.List, m)
		}
	}
	if len(out.List) == 0 {
		return Value{}
	}
	return out
}

// Contains says whether a set has the member.
func Contains(set, member Value) bool {
	_, ok := slices.BinarySearchFunc(set.List, member.Text, func(v Value, t string) int { return strings.Compare(v.Text, t) })
	return ok && member.Kind == set.Kind.Element()
}

// Depth is how deep maps and lists are nested: 0 for a scalar.
func (v Value) Depth() int {
	deepest := 0
	switch v.Kind {
	case List:
		for _, m := range v.List {
			deepest = max(deepest, m.Depth())
		}
	case Map:
		for _, f := range v.Map {
			deepest = max(deepest, f.Value.Depth())
		}
	default:
		return 0
	}
	return deepest + 1
}
