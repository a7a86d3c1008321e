package expr

import (
	"encoding/binary"

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

// ReadNode reads what AppendNode appended. The reader knows of errors.
func ReadNode(r *attr.Reader) *Node { return readNode(r, 0) }

func readNode(r *attr.Reader, depth int) *Node {
	n := &Node{Op: Op(r.Byte())}
	switch {
	case n.Op == 0 || r.Err() != nil || depth > 2*maxDepth:
		return nil
	case n.Op == OpPath:
		n.Path = ReadPath(r)
	case n.Op == OpValue:
		n.Value = r.Value()
	default:
		for range r.Count() {
			a := readNode(r, depth+1)
			if a == nil {
				return nil
			}
			n.Args = append(n.Args, a)
		}
	}
	return n
}

// ReadPath reads what AppendPath appended.
func ReadPath(r *attr.Reader) Path {
	var p Path
	for range r.Count() {
		s := Step{Index: int(r.Uint()) - 1}
		if s.Index < 0 {
			s.Name = r.Text()
		}
		p = append(p, s)
	}
	return p
}

// ReadUpdate reads what AppendUpdate appended.
func ReadUpdate(r *attr.Reader) *Update {
	var u Update
	for _, list := range []*[]Assign{&u.Set, &u.Add, &u.Delete} {
		for range r.Count() {
			a := Assign{Path: ReadPath(r)}
			a.Value = ReadNode(r)
			*list = append(*list, a)
		}
	}
	for range r.Count() {
		u.Remove = append(u.Remove, ReadPath(r))
	}
	return &u
}
