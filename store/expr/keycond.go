package expr

import "github.com/banyanhq/banyan/store/attr"

// KeyTest is one test of a key condition: an attribute against one value, or two with OpBetween.
type KeyTest struct {
	Name   string
	Op     Op // OpEqual, OpLess, OpLessEqual, OpGreater, OpGreaterEqual, OpBetween or OpBeginsWith
	Values []attr.Value
}

// KeyTests takes a bound key condition apart: tests joined by AND.
func KeyTests(n *Node) ([]KeyTest, error) {
	tests, err := keyTests(n, nil)
	if err != nil {
		return nil, in(KeyCondition, err)
	}
	for i, t := range tests {
		for _, other := range tests[:i] {
			if other.Name == t.Name {
				return nil, in(KeyCondition, errorf("KeyConditionExpressions must only contain one condition per key"))
			}
		}
	}
	return tests, nil
}

var mirrored = map[Op]Op{OpEqual: OpEqual, OpLess: OpGreater, OpLessEqual: OpGreaterEqual, OpGreater: OpLess, OpGreaterEqual: OpLessEqual}

func keyTests(n *Node, tests []KeyTest) ([]KeyTest, error) {
	if n.Op == OpAnd {
		var err error
		for _, a := range n.Args {
			if tests, err = keyTests(a, tests); err != nil {
				return nil, err
			}
		}
		return tests, nil
	}
	args, op := n.Args, n.Op
	switch op {
	case OpEqual, OpLess, OpLessEqual, OpGreater, OpGreaterEqual:
		if args[0].Op == OpValue && args[1].Op == OpPath {
			args, op = []*Node{args[1], args[0]}, mirrored[op]
		}
	case OpBetween, OpBeginsWith:
	default:
		return nil, errorf("Invalid operator used in KeyConditionExpression: %s", opNames[op])
	}
	if args[0].Op == OpSize || args[1].Op == OpSize {
		return nil, errorf("KeyConditionExpressions cannot contain nested operations")
	}
	if args[0].Op != OpPath {
		return nil, errorf("Invalid condition in KeyConditionExpression: No key attribute specified")
	}
	if len(args[0].Path) > 1 {
		return nil, errorf("KeyConditionExpressions cannot have conditions on nested attributes")
	}
	t := KeyTest{Name: args[0].Path[0].Name, Op: op}
	for _, a := range args[1:] {
		if a.Op != OpValue {
			return nil, errorf("Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
		}
		t.Values = append(t.Values, a.Value)
	}
	return append(tests, t), nil
}
