package dynamo

import (
	"sort"
	"strings"
	"sync"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/wire"
)

// parsed keeps the trees of expressions, for clients send the same ones again and again.
type parsed[T any] struct {
	parse func(string) (T, error)
	mu    sync.RWMutex
	trees map[string]T
}

// maxParsed trees are kept; when there are more, all are forgotten, which costs little and can't be made to cost much.
const maxParsed = 2048

func (p *parsed[T]) get(kind, text string) (T, error) {
	p.mu.RLock()
	tree, ok := p.trees[text]
	p.mu.RUnlock()
	if ok {
		return tree, nil
	}
	text = strings.Clone(text) // the tree outlives the request
	tree, err := p.parse(text)
	if err != nil {
		var none T
		return none, invalidf("Invalid %s: %s", kind, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trees) >= maxParsed || p.trees == nil {
		p.trees = map[string]T{}
	}
	p.trees[text] = tree
	return tree, nil
}

// expressions of a request, bound: what is nil was not given.
type expressions struct {
	condition, filter, key *expr.Node
	update                 *expr.Update
	projection             []expr.Path
}

// bind parses and binds all expressions of a request, or translates its older parameters.
func (a *API) bind(q *request) (x expressions, err error) {
	if err := q.mixed(); err != nil {
		return x, err
	}
	given := q.condition.set || q.update.set || q.projection.set || q.filter.set || q.keyCondition.set
	if !given {
		if err := q.withoutExpressions(); err != nil {
			return x, err
		}
		return a.legacy(q)
	}
	if q.namesSet && len(q.names) == 0 {
		return x, invalidf("ExpressionAttributeNames must not be empty")
	}
	if q.valuesSet && len(q.values) == 0 {
		return x, invalidf("ExpressionAttributeValues must not be empty")
	}
	b, err := expr.NewBinder(q.names, q.values)
	if err != nil {
		return x, err
	}
	for _, c := range []struct {
		kind string
		text text
		to   **expr.Node
	}{{expr.Filter, q.filter, &x.filter}, {expr.Condition, q.condition, &x.condition}, {expr.KeyCondition, q.keyCondition, &x.key}} {
		if !c.text.set {
			continue
		}
		tree, err := a.conditions.get(c.kind, c.text.s)
		if err != nil {
			return x, err
		}
		if *c.to, err = b.Condition(c.kind, tree); err != nil {
			return x, err
		}
	}
	if q.update.set {
		tree, err := a.updates.get(expr.UpdateKind, q.update.s)
		if err != nil {
			return x, err
		}
		if x.update, err = b.Update(tree); err != nil {
			return x, err
		}
	}
	if q.projection.set {
		paths, err := a.projections.get(expr.Projection, q.projection.s)
		if err != nil {
			return x, err
		}
		if x.projection, err = b.Paths(expr.Projection, paths); err != nil {
			return x, err
		}
	}
	return x, b.Unused()
}

// mixed refuses older parameters beside expressions.
func (q *request) mixed() error {
	if !q.attributesSet && q.updates == nil && !q.operator.set && q.expected == nil && q.keyConditions == nil && q.queryFilter == nil && q.scanFilter == nil {
		return nil
	}
	var old, new []string
	for name, set := range map[string]bool{
		"AttributesToGet": q.attributesSet, "AttributeUpdates": q.updates != nil, "ConditionalOperator": q.operator.set, "Expected": q.expected != nil,
		"KeyConditions": q.keyConditions != nil, "QueryFilter": q.queryFilter != nil, "ScanFilter": q.scanFilter != nil,
	} {
		if set {
			old = append(old, name)
		}
	}
	for name, set := range map[string]bool{
		"ConditionExpression": q.condition.set, "FilterExpression": q.filter.set, "KeyConditionExpression": q.keyCondition.set,
		"ProjectionExpression": q.projection.set, "UpdateExpression": q.update.set,
	} {
		if set {
			new = append(new, name)
		}
	}
	if len(new) == 0 {
		return nil
	}
	sort.Strings(old)
	sort.Strings(new)
	return invalidf("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {%s} Expression parameters: {%s}",
		strings.Join(old, ", "), strings.Join(new, ", "))
}

func (q *request) withoutExpressions() error {
	if q.namesSet {
		return invalidf("ExpressionAttributeNames can only be specified when using expressions")
	}
	if q.valuesSet {
		return invalidf("ExpressionAttributeValues can only be specified when using expressions")
	}
	return nil
}

// legacy translates the older parameters.
func (a *API) legacy(q *request) (x expressions, err error) {
	or := q.operator.s == "OR"
	if q.expected != nil {
		if x.condition, err = expected(q.expected, or); err != nil {
			return x, err
		}
	}
	if q.keyConditions != nil {
		if x.key, err = comparisons(q.keyConditions, false); err != nil {
			return x, err
		}
	}
	for _, raw := range [][]byte{q.queryFilter, q.scanFilter} {
		if raw != nil {
			if x.filter, err = comparisons(raw, or); err != nil {
				return x, err
			}
		}
	}
	if q.updates != nil {
		if x.update, err = attributeUpdates(q.updates); err != nil {
			return x, err
		}
	}
	seen := map[string]bool{}
	if q.attributesSet && len(q.attributes) == 0 {
		return x, invalidf("1 validation error detected: Value '[]' at 'attributesToGet' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	for _, name := range q.attributes {
		if seen[name] {
			return x, wrongf("Duplicate value in attribute name: %s", name)
		}
		seen[name] = true
		x.projection = append(x.projection, expr.Path{{Name: name, Index: -1}})
	}
	return x, nil
}

// comparison is one entry of Expected, KeyConditions, QueryFilter or ScanFilter.
type comparison struct {
	operator text
	list     []attr.Value
	listSet  bool
	value    attr.Value
	exists   bool
	existSet bool
}

func readComparisons(raw []byte, visit func(name string, c comparison) error) error {
	r := wire.NewReader(raw)
	return r.Object("Unexpected field type", func(name string) error {
		var c comparison
		err := r.Object("Unexpected value type in payload", func(key string) (err error) {
			if r.Null() {
				return nil
			}
			switch key {
			case "ComparisonOperator":
				c.operator.set = true
				c.operator.s, err = r.String()
			case "AttributeValueList":
				c.listSet = true
				err = r.Array(func(int) error {
					v, err := r.Value()
					c.list = append(c.list, v)
					return err
				})
			case "Value":
				c.value, err = r.Value()
			case "Exists":
				c.existSet = true
				c.exists, err = r.Bool()
			default:
				err = r.Skip()
			}
			return err
		})
		if err != nil {
			return err
		}
		if c.operator.set && !expr.LegacyOperator(c.operator.s) {
			var p constraints
			p.enum(c.operator, "comparisonOperator", expr.LegacyOperators)
			return p.err()
		}
		return visit(name, c)
	})
}

func comparisons(raw []byte, or bool) (*expr.Node, error) {
	var nodes []*expr.Node
	err := readComparisons(raw, func(name string, c comparison) error {
		if !c.operator.set {
			var p constraints
			p.notNull(false, "comparisonOperator")
			return p.err()
		}
		n, err := expr.Legacy(name, c.operator.s, c.list)
		nodes = append(nodes, n)
		return err
	})
	return expr.Join(nodes, or), err
}

func expected(raw []byte, or bool) (*expr.Node, error) {
	var nodes []*expr.Node
	err := readComparisons(raw, func(name string, c comparison) error {
		operator, values := c.operator.s, c.list
		given := c.value.Kind != attr.None
		switch {
		case c.operator.set && c.existSet:
			return wrongf("Exists and ComparisonOperator cannot be used together for Attribute: %s", name)
		case c.operator.set && c.listSet && given:
			return wrongf("Value and AttributeValueList cannot be used together for Attribute: %s", name)
		case c.operator.set && given:
			values = []attr.Value{c.value}
		case c.operator.set:
		case c.listSet:
			return wrongf("AttributeValueList can only be used with a ComparisonOperator for Attribute: %s", name)
		case c.existSet && !c.exists && given:
			return wrongf("Value cannot be used when Exists is false for Attribute: %s", name)
		case c.existSet && !c.exists:
			operator = "NULL"
		case !given:
			word := "null"
			if c.existSet {
				word = "true"
			}
			return wrongf("Value must be provided when Exists is %s for Attribute: %s", word, name)
		default:
			operator, values = "EQ", []attr.Value{c.value}
		}
		n, err := expr.Legacy(name, operator, values)
		nodes = append(nodes, n)
		return err
	})
	return expr.Join(nodes, or), err
}

func attributeUpdates(raw []byte) (*expr.Update, error) {
	u := &expr.Update{}
	r := wire.NewReader(raw)
	err := r.Object("Unexpected field type", func(name string) error {
		action := text{s: "PUT"}
		var v attr.Value
		err := r.Object("Unexpected value type in payload", func(key string) (err error) {
			if r.Null() {
				return nil
			}
			switch key {
			case "Action":
				action.set = true
				action.s, err = r.String()
			case "Value":
				v, err = r.Value()
			default:
				err = r.Skip()
			}
			return err
		})
		if err != nil {
			return err
		}
		var c constraints
		c.enum(action, "attributeUpdates."+name+".member.action", "[ADD, DELETE, PUT]")
		if err := c.err(); err != nil {
			return err
		}
		return u.LegacyAction(name, action.s, v)
	})
	return u, err
}
