package expr

import (
	"strings"

	"github.com/banyanhq/banyan/store/attr"
)

// Find returns what lies at a path of an item, of kind None if nothing does.
func Find(it attr.Item, p Path) attr.Value {
	v := it.Get(p[0].Name)
	for _, s := range p[1:] {
		switch {
		case s.Index < 0 && v.Kind == attr.Map:
			v = v.Map.Get(s.Name)
		case s.Index >= 0 && v.Kind == attr.List && s.Index < len(v.List):
			v = v.List[s.Index]
		default:
			return attr.Value{}
		}
	}
	return v
}

// True evaluates a bound condition for an item. nil is always true. What is not there, or has another type, makes every
// comparison false but <>.
func (n *Node) True(it attr.Item) bool {
	if n == nil {
		return true
	}
	switch n.Op {
	case OpAnd:
		for _, a := range n.Args {
			if !a.True(it) {
				return false
			}
		}
		return true
	case OpOr:
		for _, a := range n.Args {
			if a.True(it) {
				return true
			}
		}
		return false
	case OpNot:
		return !n.Args[0].True(it)
	case OpExists:
		return Find(it, n.Args[0].Path).Kind != attr.None
	case OpNotExists:
		return Find(it, n.Args[0].Path).Kind == attr.None
	}
	left := n.Args[0].operand(it)
	switch n.Op {
	case OpIn:
		for _, a := range n.Args[1:] {
			if v := a.operand(it); v.Kind != attr.None && attr.Equal(left, v) {
				return true
			}
		}
		return false
	case OpBetween:
		low, ok1 := attr.Compare(left, n.Args[1].operand(it))
		high, ok2 := attr.Compare(left, n.Args[2].operand(it))
		return ok1 && ok2 && low >= 0 && high <= 0
	}
	right := n.Args[1].operand(it)
	switch n.Op {
	case OpEqual:
		return left.Kind != attr.None && attr.Equal(left, right)
	case OpNotEqual:
		return left.Kind == attr.None || right.Kind == attr.None || !attr.Equal(left, right)
	case OpType:
		return left.Kind != attr.None && left.Kind.String() == right.Text
	case OpBeginsWith:
		return left.Kind == right.Kind && (left.Kind == attr.String || left.Kind == attr.Binary) && strings.HasPrefix(left.Text, right.Text)
	case OpContains:
		return contains(left, right)
	}
	order, ok := attr.Compare(left, right)
	if !ok {
		return false
	}
	switch n.Op {
	case OpLess:
		return order < 0
	case OpLessEqual:
		return order <= 0
	case OpGreater:
		return order > 0
	case OpGreaterEqual:
		return order >= 0
	}
	return false
}

func contains(v, part attr.Value) bool {
	switch v.Kind {
	case attr.String, attr.Binary:
		return part.Kind == v.Kind && strings.Contains(v.Text, part.Text)
	case attr.StringSet, attr.NumberSet, attr.BinarySet:
		return attr.Contains(v, part)
	case attr.List:
		for _, m := range v.List {
			if attr.Equal(m, part) {
				return true
			}
		}
	}
	return false
}

// operand is the value of a path, a literal or size().
func (n *Node) operand(it attr.Item) attr.Value {
	switch n.Op {
	case OpPath:
		return Find(it, n.Path)
	case OpValue:
		return n.Value
	case OpSize:
		return sizeOf(n.Args[0].operand(it))
	}
	return attr.Value{}
}

func sizeOf(v attr.Value) attr.Value {
	size := 0
	switch v.Kind {
	case attr.String:
		size = len(v.Text)
	case attr.Binary:
		size = len(v.Text)
	case attr.Map:
		size = len(v.Map)
	case attr.List, attr.StringSet, attr.NumberSet, attr.BinarySet:
		size = len(v.List)
	default:
		return attr.Value{}
	}
	return attr.Value{Kind: attr.Number, Text: attr.FromInt(int64(size))}
}

// Project returns what of the item lies at the paths: of maps the named members, of lists the chosen ones in order. The result
// shares memory with the item.
func Project(it attr.Item, paths []Path) attr.Item {
	v, _ := project(attr.Value{Kind: attr.Map, Map: it}, paths)
	return v.Map
}

func project(v attr.Value, paths []Path) (attr.Value, bool) {
	var rest []Path
	switch v.Kind {
	case attr.Map:
		out := attr.Value{Kind: attr.Map, Map: attr.Item{}}
		for _, f := range v.Map {
			whole, some := false, false
			rest = rest[:0]
			for _, p := range paths {
				if p[0].Index < 0 && p[0].Name == f.Name {
					some = true
					whole = whole || len(p) == 1
					rest = append(rest, p[1:])
				}
			}
			member, ok := f.Value, whole
			if some && !whole {
				member, ok = project(f.Value, append([]Path(nil), rest...))
			}
			if ok {
				out.Map = append(out.Map, attr.Field{Name: f.Name, Value: member})
			}
		}
		return out, len(out.Map) > 0
	case attr.List:
		out := attr.Value{Kind: attr.List, List: []attr.Value{}}
		for i, m := range v.List {
			whole, some := false, false
			rest = rest[:0]
			for _, p := range paths {
				if p[0].Index == i {
					some = true
					whole = whole || len(p) == 1
					rest = append(rest, p[1:])
				}
			}
			member, ok := m, whole
			if some && !whole {
				member, ok = project(m, append([]Path(nil), rest...))
			}
			if ok {
				out.List = append(out.List, member)
			}
		}
		return out, len(out.List) > 0
	}
	return attr.Value{}, false
}
