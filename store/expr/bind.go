package expr

import (
	"strings"

	"github.com/banyanhq/banyan/store/attr"
)

// Kinds of expressions, as messages name them.
const (
	Condition    = "ConditionExpression"
	Filter       = "FilterExpression"
	KeyCondition = "KeyConditionExpression"
	Projection   = "ProjectionExpression"
	UpdateKind   = "UpdateExpression"
)

// Binder puts names and values in the place of the placeholders of one request's expressions, checks their types, and knows which
// placeholders nothing used.
type Binder struct {
	names, values         attr.Item
	usedNames, usedValues []bool
}

// NewBinder checks the keys of ExpressionAttributeNames (whose values are Strings) and ExpressionAttributeValues.
func NewBinder(names, values attr.Item) (*Binder, error) {
	for _, f := range names {
		if !placeholder(f.Name, '#') {
			return nil, errorf("ExpressionAttributeNames contains invalid key: Syntax error; key: \"%s\"", f.Name)
		}
		if f.Value.Text == "" {
			return nil, errorf("ExpressionAttributeNames contains invalid value: Empty attribute name; key: %s", f.Name)
		}
		if len(f.Value.Text) > 65535 {
			return nil, errorf("ExpressionAttributeNames contains invalid value: Attribute name is too long; key: %s", f.Name)
		}
	}
	for _, f := range values {
		if !placeholder(f.Name, ':') {
			return nil, errorf("ExpressionAttributeValues contains invalid key: Syntax error; key: \"%s\"", f.Name)
		}
	}
	return &Binder{names, values, make([]bool, len(names)), make([]bool, len(values))}, nil
}

func placeholder(s string, mark byte) bool {
	if len(s) < 2 || s[0] != mark {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !letter(s[i]) && !digit(s[i]) {
			return false
		}
	}
	return true
}

// Unused fails if there are placeholders that no expression used.
func (b *Binder) Unused() error {
	for _, all := range []struct {
		what  string
		items attr.Item
		used  []bool
	}{{"ExpressionAttributeNames", b.names, b.usedNames}, {"ExpressionAttributeValues", b.values, b.usedValues}} {
		var unused []string
		for i, used := range all.used {
			if !used {
				unused = append(unused, all.items[i].Name)
			}
		}
		if len(unused) > 0 {
			return errorf("Value provided in %s unused in expressions: keys: {%s}", all.what, strings.Join(unused, ", "))
		}
	}
	return nil
}

// find is where a placeholder stands, -1 if nowhere.
func find(items attr.Item, name string) int {
	for i := range items {
		if items[i].Name == name {
			return i
		}
	}
	return -1
}

// Path resolves the names of a path.
func (b *Binder) Path(p Path) (Path, error) {
	for i := range p {
		if p[i].Name == "" || p[i].Name[0] != '#' {
			continue
		}
		out := append(Path(nil), p...)
		for j := i; j < len(out); j++ {
			if name := out[j].Name; name != "" && name[0] == '#' {
				at := find(b.names, name)
				if at < 0 {
					return nil, errorf("An expression attribute name used in the document path is not defined; attribute name: %s", name)
				}
				b.usedNames[at] = true
				out[j].Name = b.names[at].Value.Text
			}
		}
		return out, nil
	}
	return p, nil
}

// Paths resolves the paths of a projection, none of which may lie within another.
func (b *Binder) Paths(kind string, paths []Path) (out []Path, err error) {
	for _, p := range paths {
		if p, err = b.Path(p); err != nil {
			return nil, in(kind, err)
		}
		out = append(out, p)
	}
	return out, in(kind, overlaps(out))
}

// Condition binds a condition of the kind.
func (b *Binder) Condition(kind string, n *Node) (*Node, error) {
	bound, err := b.node(n)
	return bound, in(kind, err)
}

func (b *Binder) node(n *Node) (*Node, error) {
	out := &Node{Op: n.Op}
	var err error
	switch n.Op {
	case OpPath:
		out.Path, err = b.Path(n.Path)
		return out, err
	case OpValue:
		at := find(b.values, n.Name)
		if at < 0 {
			return nil, errorf("An expression attribute value used in expression is not defined; attribute value: %s", n.Name)
		}
		b.usedValues[at] = true
		out.Value = b.values[at].Value
		return out, nil
	}
	out.Args = make([]*Node, len(n.Args))
	for i, a := range n.Args {
		if out.Args[i], err = b.node(a); err != nil {
			return nil, err
		}
	}
	return out, check(out)
}

// check says what is wrong with the types of the operands of a bound node, as far as they are known.
func check(n *Node) error {
	name := opNames[n.Op]
	wrongType := func(a *Node) error {
		return errorf("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", name, a.Value.Kind)
	}
	literal := func(a *Node) bool { return a.Op == OpValue }
	switch n.Op {
	case OpEqual, OpNotEqual, OpLess, OpLessEqual, OpGreater, OpGreaterEqual, OpBetween, OpIn:
		for _, a := range n.Args {
			if a.Op != OpPath && a.Op != OpValue && a.Op != OpSize {
				return errorf("The function is not allowed to be used this way in an expression; function: %s", opNames[a.Op])
			}
			ordered := a.Value.Kind == attr.String || a.Value.Kind == attr.Number || a.Value.Kind == attr.Binary
			if n.Op != OpEqual && n.Op != OpNotEqual && n.Op != OpIn && literal(a) && !ordered {
				return wrongType(a)
			}
		}
		if n.Op != OpBetween && n.Op != OpIn && samePath(n.Args[0], n.Args[1]) {
			return errorf("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s",
				name, n.Args[0].Path)
		}
		if n.Op == OpBetween && literal(n.Args[1]) && literal(n.Args[2]) {
			return checkBounds(n.Args[1].Value, n.Args[2].Value)
		}
	case OpSize:
		switch a := n.Args[0]; {
		case literal(a) && (a.Value.Kind == attr.Number || a.Value.Kind == attr.Bool || a.Value.Kind == attr.Null):
			return wrongType(a)
		}
	case OpType:
		a := n.Args[1]
		if !literal(a) || a.Value.Kind != attr.String {
			if literal(a) {
				return wrongType(a)
			}
			return errorf("Incorrect operand type for operator or function; operator or function: attribute_type, operand type: PATH")
		}
		if attr.KindOf(a.Value.Text) == attr.None {
			return errorf("Invalid attribute type name found; type: %s, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}", a.Value.Text)
		}
	case OpBeginsWith:
		for _, a := range n.Args {
			if literal(a) && a.Value.Kind != attr.String && a.Value.Kind != attr.Binary {
				return wrongType(a)
			}
		}
		return checkDistinct(n)
	case OpContains:
		return checkDistinct(n)
	case OpPlus, OpMinus:
		for _, a := range n.Args {
			if (literal(a) && a.Value.Kind != attr.Number) || a.Op == OpListAppend {
				return wrongType(a)
			}
		}
	case OpListAppend:
		for _, a := range n.Args {
			if literal(a) && a.Value.Kind != attr.List {
				return wrongType(a)
			}
		}
	}
	return nil
}

func checkDistinct(n *Node) error {
	if samePath(n.Args[0], n.Args[1]) {
		return errorf("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s",
			opNames[n.Op], n.Args[0].Path)
	}
	return nil
}

func checkBounds(low, high attr.Value) error {
	order, ok := attr.Compare(low, high)
	if !ok {
		return errorf("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: %s, upper bound operand: %s",
			describe(low), describe(high))
	}
	if order > 0 {
		return errorf("The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: %s, upper bound operand: %s",
			describe(low), describe(high))
	}
	return nil
}

func samePath(a, b *Node) bool {
	return a.Op == OpPath && b.Op == OpPath && len(a.Path) == len(b.Path) && within(a.Path, b.Path)
}

// within says whether p is outer or lies in it.
func within(outer, p Path) bool {
	if len(p) < len(outer) {
		return false
	}
	for i := range outer {
		if outer[i] != p[i] {
			return false
		}
	}
	return true
}

// overlaps fails if a path lies within another, or if two take one value once for a map and once for a list.
func overlaps(paths []Path) error {
	for i, a := range paths {
		for _, b := range paths[:i] {
			if within(a, b) || within(b, a) {
				return errorf("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", b, a)
			}
			for k := range min(len(a), len(b)) {
				if a[k] == b[k] {
					continue
				}
				if (a[k].Index < 0) != (b[k].Index < 0) {
					return errorf("Two document paths conflict with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", b, a)
				}
				break
			}
		}
	}
	return nil
}

// Update binds an update.
func (b *Binder) Update(u *Update) (*Update, error) {
	out := &Update{}
	var paths []Path
	assign := func(all []Assign) (bound []Assign, err error) {
		for _, a := range all {
			if a.Path, err = b.Path(a.Path); err != nil {
				return nil, err
			}
			if a.Value, err = b.node(a.Value); err != nil {
				return nil, err
			}
			bound, paths = append(bound, a), append(paths, a.Path)
		}
		return bound, nil
	}
	var err error
	if out.Set, err = assign(u.Set); err != nil {
		return nil, in(UpdateKind, err)
	}
	for _, p := range u.Remove {
		if p, err = b.Path(p); err != nil {
			return nil, in(UpdateKind, err)
		}
		out.Remove, paths = append(out.Remove, p), append(paths, p)
	}
	if out.Add, err = assign(u.Add); err != nil {
		return nil, in(UpdateKind, err)
	}
	if out.Delete, err = assign(u.Delete); err != nil {
		return nil, in(UpdateKind, err)
	}
	if err := overlaps(paths); err != nil {
		return nil, in(UpdateKind, err)
	}
	return out, in(UpdateKind, out.checkKinds())
}

// checkKinds checks the operands of ADD and DELETE.
func (u *Update) checkKinds() error {
	for _, a := range u.Add {
		if k := a.Value.Value.Kind; k != attr.Number && k.Element() == attr.None {
			return errorf("Incorrect operand type for operator or function; operator: ADD, operand type: %s, typeSet: ALLOWED_FOR_ADD_OPERAND", k.Word())
		}
	}
	for _, a := range u.Delete {
		if k := a.Value.Value.Kind; k.Element() == attr.None {
			return errorf("Incorrect operand type for operator or function; operator: DELETE, operand type: %s, typeSet: ALLOWED_FOR_DELETE_OPERAND", k.Word())
		}
	}
	return nil
}

// Paths are all that the update touches.
func (u *Update) Paths() (all []Path) {
	for _, list := range [][]Assign{u.Set, u.Add, u.Delete} {
		for _, a := range list {
			all = append(all, a.Path)
		}
	}
	return append(all, u.Remove...)
}

// OnlyRemoves says that the update takes something away and adds nothing, so that it makes no item where there is none.
func (u *Update) OnlyRemoves() bool {
	return len(u.Set)+len(u.Add) == 0 && len(u.Remove)+len(u.Delete) > 0
}

// Names calls visit for the first step of each path of a bound condition.
func (n *Node) Names(visit func(string)) {
	if n.Op == OpPath {
		visit(n.Path[0].Name)
	}
	for _, a := range n.Args {
		a.Names(visit)
	}
}
