package expr

import "github.com/banyanhq/banyan/store/attr"

// legacyOps are the comparison operators of the older parameters: what they mean, and how many values they take.
var legacyOps = map[string]struct {
	op       Op
	min, max int
	kinds    string // that the values may have, by the letters of their names; empty: any
}{
	"EQ": {OpEqual, 1, 1, ""}, "NE": {OpNotEqual, 1, 1, ""},
	"LT": {OpLess, 1, 1, "SNB"}, "LE": {OpLessEqual, 1, 1, "SNB"}, "GT": {OpGreater, 1, 1, "SNB"}, "GE": {OpGreaterEqual, 1, 1, "SNB"},
	"BETWEEN": {OpBetween, 2, 2, "SNB"}, "IN": {OpIn, 1, 100, "SNB"}, "NULL": {OpNotExists, 0, 0, ""}, "NOT_NULL": {OpExists, 0, 0, ""},
	"CONTAINS": {OpContains, 1, 1, "SNB"}, "NOT_CONTAINS": {OpContains, 1, 1, "SNB"}, "BEGINS_WITH": {OpBeginsWith, 1, 1, "SB"},
}

// LegacyOperators are the names of the older comparison operators, in the order in which messages have them.
const LegacyOperators = "[IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]"

// LegacyOperator says whether there is an older operator of that name.
func LegacyOperator(name string) bool { return legacyOps[name].op != 0 }

// Legacy is the condition that one older comparison means, of an attribute of the item (never one within it).
func Legacy(attribute, operator string, values []attr.Value) (*Node, error) {
	o := legacyOps[operator]
	if len(values) < o.min || len(values) > o.max {
		return nil, errorf("One or more parameter values were invalid: Invalid number of argument(s) for the %s ComparisonOperator", operator)
	}
	for _, v := range values {
		if o.kinds == "" {
			continue
		}
		ok := false
		for i := range len(o.kinds) {
			ok = ok || v.Kind.String() == o.kinds[i:i+1]
		}
		if !ok {
			return nil, errorf("One or more parameter values were invalid: ComparisonOperator %s is not valid for %s AttributeValue type", operator, v.Kind)
		}
		if v.Kind != values[0].Kind {
			return nil, errorf("One or more parameter values were invalid: AttributeValues inside AttributeValueList must be of same type")
		}
	}
	if o.op == OpBetween {
		if order, ok := attr.Compare(values[0], values[1]); ok && order > 0 {
			return nil, errorf("The BETWEEN condition was provided a range where the lower bound is greater than the upper bound")
		}
	}
	n := &Node{Op: o.op, Args: []*Node{{Op: OpPath, Path: Path{{Name: attribute, Index: -1}}}}}
	for _, v := range values {
		n.Args = append(n.Args, &Node{Op: OpValue, Value: v})
	}
	if operator == "NOT_CONTAINS" {
		n = &Node{Op: OpNot, Args: []*Node{n}}
	}
	return n, nil
}

// Join is all of the conditions, or with or any of them; nil if there is none.
func Join(nodes []*Node, or bool) *Node {
	switch {
	case len(nodes) == 0:
		return nil
	case len(nodes) == 1:
		return nodes[0]
	case or:
		return &Node{Op: OpOr, Args: nodes}
	}
	return &Node{Op: OpAnd, Args: nodes}
}

// LegacyAction adds what one older attribute update means to u. v is of kind None where no value was given.
func (u *Update) LegacyAction(attribute, action string, v attr.Value) error {
	path := Path{{Name: attribute, Index: -1}}
	assign := Assign{path, &Node{Op: OpValue, Value: v}}
	switch {
	case action == "DELETE" && v.Kind == attr.None:
		u.Remove = append(u.Remove, path)
	case v.Kind == attr.None:
		return errorf("One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified")
	case action == "PUT":
		u.Set = append(u.Set, assign)
	case action == "ADD":
		if v.Kind != attr.Number && v.Kind.Element() == attr.None {
			return errorf("One or more parameter values were invalid: ADD action is not supported for the type %s", v.Kind)
		}
		u.Add = append(u.Add, assign)
	default:
		if v.Kind.Element() == attr.None {
			return errorf("One or more parameter values were invalid: DELETE action with value is not supported for the type %s", v.Kind)
		}
		u.Delete = append(u.Delete, assign)
	}
	return nil
}
