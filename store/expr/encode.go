package expr

import (
	"encoding/binary"
	"math"

	"github.com/banyanhq/banyan/store/attr"
)

// AppendNode appends a bound condition, which may be nil, in a compact form.
func AppendNode(dst []byte, n *Node) []byte {
	if n == nil {
		return append(dst, 0)
	}
	dst = append(dst, byte(n.Op))
	switch n.Op {
	case OpPath:
		return AppendPath(dst, n.Path)
	case OpValue:
		return attr.AppendValue(dst, n.Value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(n.Args)))
	for _, a := range n.Args {
		dst = AppendNode(dst, a)
	}
	return dst
}

// AppendPath appends a path in a compact form.
func AppendPath(dst []byte, p Path) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	for _, s := range p {
		dst = binary.AppendUvarint(dst, uint64(s.Index+1))
		if s.Index < 0 {
			dst = attr.AppendText(dst, s.Name)
		}
	}
	return dst
}

// AppendUpdate appends a bound update in a compact form.
func AppendUpdate(dst []byte, u *Update) []byte {
	for _, list := range [][]Assign{u.Set, u.Add, u.Delete} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, a := range list {
			dst = AppendNode(AppendPath(dst, a.Path), a.Value)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(u.Remove)))
	for _, p := range u.Remove {
		dst = AppendPath(dst, p)
	}
	return dst
}

// ReadNode reads what AppendNode appended: a condition, or nil. The reader knows of errors, and what it has none of can be evaluated.
func ReadNode(r *attr.Reader) *Node { return readChecked(r, (*Node).isCondition) }

// readChecked reads a tree that is to be of a kind.
func readChecked(r *attr.Reader, is func(*Node) bool) *Node {
	n := readNode(r, 0)
	if n != nil && !is(n) {
		r.Fail()
	}
	if r.Err() != nil {
		return nil
	}
	return n
}

func readNode(r *attr.Reader, depth int) *Node {
	n := &Node{Op: Op(r.Byte())}
	switch {
	case r.Err() != nil || n.Op == 0:
		return nil
	case depth > 2*maxDepth:
		r.Fail()
		return nil
	case n.Op == OpPath:
		n.Path = ReadPath(r)
	case n.Op == OpValue:
		n.Value = r.Value()
	default:
		for range r.Count() {
			a := readNode(r, depth+1)
			if a == nil {
				r.Fail() // nil is for a whole tree alone
				return nil
			}
			n.Args = append(n.Args, a)
		}
	}
	return n
}

// isCondition says whether True can evaluate a tree.
func (n *Node) isCondition() bool {
	switch n.Op {
	case OpAnd, OpOr:
		return n.args(0, -1, (*Node).isCondition)
	case OpNot:
		return n.args(1, 1, (*Node).isCondition)
	case OpExists, OpNotExists:
		return n.args(1, 1, (*Node).isPath)
	case OpBetween:
		return n.args(3, 3, (*Node).isOperand)
	case OpIn:
		return n.args(1, -1, (*Node).isOperand)
	case OpEqual, OpNotEqual, OpLess, OpLessEqual, OpGreater, OpGreaterEqual, OpType, OpBeginsWith, OpContains:
		return n.args(2, 2, (*Node).isOperand)
	}
	return false
}

// isOperand says whether a tree is one side of a comparison.
func (n *Node) isOperand() bool {
	return n.isPath() || n.isValue() || n.Op == OpSize && n.args(1, 1, (*Node).isOperand)
}

// isComputed says whether a tree is the right side of a SET.
func (n *Node) isComputed() bool {
	switch n.Op {
	case OpIfNotExists:
		return n.args(2, 2, (*Node).isComputed) && n.Args[0].isPath()
	case OpListAppend, OpPlus, OpMinus:
		return n.args(2, 2, (*Node).isComputed)
	}
	return n.isPath() || n.isValue()
}

func (n *Node) isPath() bool  { return n.Op == OpPath }
func (n *Node) isValue() bool { return n.Op == OpValue }

// args says whether there are as many as there should be, at most any number if that is -1, and all are of a kind.
func (n *Node) args(least, most int, are func(*Node) bool) bool {
	if len(n.Args) < least || most >= 0 && len(n.Args) > most {
		return false
	}
	for _, a := range n.Args {
		if !are(a) {
			return false
		}
	}
	return true
}

// ReadPath reads what AppendPath appended. Its first step is by name.
func ReadPath(r *attr.Reader) Path {
	var p Path
	for range r.Count() {
		index := r.Uint()
		if index > math.MaxInt32 || index > 0 && len(p) == 0 {
			r.Fail()
			return nil
		}
		s := Step{Index: int(index) - 1}
		if s.Index < 0 {
			s.Name = r.Text()
		}
		if r.Err() != nil {
			return nil
		}
		p = append(p, s)
	}
	if len(p) == 0 {
		r.Fail()
	}
	return p
}

// ReadUpdate reads what AppendUpdate appended. The reader knows of errors, and what it has none of can be applied.
func ReadUpdate(r *attr.Reader) *Update {
	var u Update
	for i, list := range []*[]Assign{&u.Set, &u.Add, &u.Delete} {
		is := (*Node).isComputed
		if i > 0 {
			is = (*Node).isValue
		}
		for range r.Count() {
			a := Assign{Path: ReadPath(r)}
			if a.Value = readChecked(r, is); a.Value == nil {
				r.Fail()
				return &u
			}
			*list = append(*list, a)
		}
	}
	for range r.Count() {
		p := ReadPath(r)
		if r.Err() != nil {
			break
		}
		u.Remove = append(u.Remove, p)
	}
	return &u
}
