package expr

import (
	"cmp"
	"slices"

	"github.com/banyanhq/banyan/store/attr"
)

// What an update fails with when the item is not as it takes it to be.
var (
	ErrNoAttribute = &Error{"The provided expression refers to an attribute that does not exist in the item"}
	ErrPath        = &Error{"The document path provided in the update expression is invalid for update"}
	ErrOperand     = &Error{"An operand in the update expression has an incorrect data type"}
)

// Apply returns the item as a bound update leaves it; the item itself is not changed. Every operand is taken from the item as it
// was before.
func (u *Update) Apply(it attr.Item) (attr.Item, error) {
	type change struct {
		path  Path
		value attr.Value
	}
	changes := make([]change, 0, len(u.Set)+len(u.Add)+len(u.Delete))
	var removals []Path
	for _, a := range u.Set {
		v, err := a.Value.compute(it)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{a.Path, v})
	}
	for _, a := range u.Add {
		v, err := add(Find(it, a.Path), a.Value.Value)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{a.Path, v})
	}
	for _, a := range u.Delete {
		old, gone := Find(it, a.Path), a.Value.Value
		switch {
		case old.Kind == attr.None:
			continue
		case old.Kind != gone.Kind:
			return nil, ErrOperand
		}
		if v := attr.Difference(old, gone); v.Kind == attr.None {
			removals = append(removals, a.Path)
		} else {
			changes = append(changes, change{a.Path, v})
		}
	}
	removals = append(removals, u.Remove...)
	// Elements that are put behind a list's end come in the order of their indexes, and those that go leave the indexes of
	// others as they are.
	slices.SortStableFunc(changes, func(a, b change) int { return comparePaths(a.path, b.path) })
	slices.SortStableFunc(removals, func(a, b Path) int { return comparePaths(b, a) })
	out := it.Clone()
	for _, c := range changes {
		root := attr.Value{Kind: attr.Map, Map: out}
		if err := set(&root, c.path, c.value); err != nil {
			return nil, err
		}
		out = root.Map
	}
	for _, p := range removals {
		root := attr.Value{Kind: attr.Map, Map: out}
		if err := remove(&root, p); err != nil {
			return nil, err
		}
		out = root.Map
	}
	return out, nil
}

func comparePaths(a, b Path) int {
	return slices.CompareFunc(a, b, func(x, y Step) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Index, y.Index)) })
}

// compute is the value of the right side of SET.
func (n *Node) compute(it attr.Item) (attr.Value, error) {
	switch n.Op {
	case OpPath:
		if v := Find(it, n.Path); v.Kind != attr.None {
			return v.Clone(), nil
		}
		return attr.Value{}, ErrNoAttribute
	case OpValue:
		return n.Value.Clone(), nil
	case OpIfNotExists:
		if v := Find(it, n.Args[0].Path); v.Kind != attr.None {
			return v.Clone(), nil
		}
		return n.Args[1].compute(it)
	}
	left, err := n.Args[0].compute(it)
	if err != nil {
		return attr.Value{}, err
	}
	right, err := n.Args[1].compute(it)
	if err != nil {
		return attr.Value{}, err
	}
	if n.Op == OpListAppend {
		if left.Kind != attr.List || right.Kind != attr.List {
			return attr.Value{}, ErrOperand
		}
		return attr.Value{Kind: attr.List, List: append(left.List, right.List...)}, nil
	}
	if left.Kind != attr.Number || right.Kind != attr.Number {
		return attr.Value{}, ErrOperand
	}
	return sum(left, right, n.Op == OpMinus)
}

func sum(a, b attr.Value, minus bool) (attr.Value, error) {
	text, err := attr.Add(a.Text, b.Text, minus)
	if err != nil {
		return attr.Value{}, &Error{err.Error()}
	}
	return attr.Value{Kind: attr.Number, Text: text}, nil
}

func add(old, v attr.Value) (attr.Value, error) {
	switch {
	case old.Kind == attr.None:
		return v.Clone(), nil
	case old.Kind != v.Kind:
		return attr.Value{}, ErrOperand
	case v.Kind == attr.Number:
		return sum(old, v, false)
	}
	return attr.Union(old, v), nil
}

// set puts a value at a path below v, all of which but the last step must be there.
func set(v *attr.Value, p Path, value attr.Value) error {
	s := p[0]
	switch {
	case s.Index < 0 && v.Kind == attr.Map:
		if len(p) == 1 {
			v.Map = v.Map.With(s.Name, value)
			return nil
		}
		for i := range v.Map {
			if v.Map[i].Name == s.Name {
				return set(&v.Map[i].Value, p[1:], value)
			}
		}
	case s.Index >= 0 && v.Kind == attr.List:
		switch {
		case s.Index < len(v.List) && len(p) > 1:
			return set(&v.List[s.Index], p[1:], value)
		case len(p) > 1:
		case s.Index < len(v.List):
			v.List[s.Index] = value
			return nil
		default:
			v.List = append(v.List, value)
			return nil
		}
	}
	return ErrPath
}

// remove takes away what lies at a path below v. That the last step is not there is no error.
func remove(v *attr.Value, p Path) error {
	s := p[0]
	switch {
	case s.Index < 0 && v.Kind == attr.Map:
		if len(p) == 1 {
			v.Map = v.Map.Without(s.Name)
			return nil
		}
		for i := range v.Map {
			if v.Map[i].Name == s.Name {
				return remove(&v.Map[i].Value, p[1:])
			}
		}
	case s.Index >= 0 && v.Kind == attr.List:
		switch {
		case s.Index >= len(v.List) && len(p) == 1:
			return nil
		case s.Index >= len(v.List):
		case len(p) == 1:
			v.List = slices.Delete(v.List, s.Index, s.Index+1)
			return nil
		default:
			return remove(&v.List[s.Index], p[1:])
		}
	}
	return ErrPath
}
