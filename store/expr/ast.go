// Package expr is DynamoDB's expression language: conditions, filters, key conditions, updates and projections are parsed into
// trees, checked against the names and values that came with them, and evaluated. The older parameters (Expected, KeyConditions,
// AttributeUpdates and so on) are translated into the same trees. Messages are DynamoDB's own.
//
// An expression goes three ways: parsed, into a tree that a cache may keep; bound (Binder), into a tree with names and values in the
// place of their placeholders; evaluated. Trees are never changed once they are made, and may be shared. Everything here is pure.
package expr

import (
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/store/attr"
)

// Limits of an expression (Developer Guide, "Quotas").
const (
	MaxLength    = 4096 // bytes
	MaxOperators = 300
	maxDepth     = 100 // of nested parentheses, which no quota names
	maxPath      = 32  // steps of a document path
)

// Step of a document path: into a map by name, or into a list by index.
type Step struct {
	Name  string // or a placeholder such as #name
	Index int    // -1: by name
}

// Path of an attribute in a document.
type Path []Step

// Op is what a node does.
type Op uint8

const (
	OpPath  Op = iota + 1 // Path
	OpValue               // Name is the placeholder, such as :v; Value once it is bound
	OpAnd                 // any number of Args
	OpOr
	OpNot
	OpEqual // two Args each
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
	OpBetween // three Args
	OpIn      // the first Arg against the others
	OpExists
	OpNotExists
	OpType
	OpBeginsWith
	OpContains
	OpSize
	OpIfNotExists
	OpListAppend
	OpPlus
	OpMinus
)

var opNames = map[Op]string{
	OpEqual: "=", OpNotEqual: "<>", OpLess: "<", OpLessEqual: "<=", OpGreater: ">", OpGreaterEqual: ">=", OpBetween: "BETWEEN", OpIn: "IN",
	OpAnd: "AND", OpOr: "OR", OpNot: "NOT", OpExists: "attribute_exists", OpNotExists: "attribute_not_exists", OpType: "attribute_type",
	OpBeginsWith: "begins_with", OpContains: "contains", OpSize: "size", OpIfNotExists: "if_not_exists", OpListAppend: "list_append",
	OpPlus: "+", OpMinus: "-",
}

// Node of a tree.
type Node struct {
	Op   Op
	Path Path
	// Name is the placeholder of an OpValue that is not bound.
	Name string
	// Value is that of an OpValue that is bound.
	Value attr.Value
	Args  []*Node
}

// Update is a parsed update expression.
type Update struct {
	Set    []Assign
	Remove []Path
	Add    []Assign // the value is an OpValue
	Delete []Assign // the value is an OpValue
}

// Assign is one action of an update.
type Assign struct {
	Path  Path
	Value *Node
}

// String is the path as messages have it: [a, b, [1]].
func (p Path) String() string {
	parts := make([]string, len(p))
	for i, s := range p {
		if parts[i] = s.Name; s.Index >= 0 {
			parts[i] = fmt.Sprintf("[%d]", s.Index)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Error is what is wrong with an expression, in DynamoDB's words and without the expression's kind before it.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

func errorf(format string, a ...any) error { return &Error{fmt.Sprintf(format, a...)} }

// in puts the kind of an expression before what is wrong with it, such as ConditionExpression.
func in(kind string, err error) error {
	if err == nil {
		return nil
	}
	return errorf("Invalid %s: %s", kind, err)
}

// describe is a value as messages have it: AttributeValue: {S:text}.
func describe(v attr.Value) string {
	text := v.Text
	switch v.Kind {
	case attr.Number:
		text = attr.NumberText(v.Text)
	case attr.Bool:
		text = fmt.Sprint(v.Bool)
	}
	return fmt.Sprintf("AttributeValue: {%s:%s}", v.Kind, text)
}
