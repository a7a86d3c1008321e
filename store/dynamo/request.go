package dynamo

import (
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/wire"
)

// text is a parameter that may be left out.
type text struct {
	s   string
	set bool
}

// number is a parameter that may be left out.
type number struct {
	n   int64
	set bool
}

// request has the parameters that operations on items take, as they came.
type request struct {
	table, index                               text
	key, item, start                           attr.Item
	keySet, itemSet, startSet                  bool
	consistent, forward                        bool
	returnValues, onFailure, capacity, metrics text
	sel                                        text
	limit, segment, segments                   number

	condition, update, projection, filter, keyCondition text
	names, values                                       attr.Item
	namesSet, valuesSet                                 bool

	// The older parameters, as JSON; nil: not given.
	expected, updates, keyConditions, queryFilter, scanFilter []byte
	operator                                                  text
	attributes                                                []string
	attributesSet                                             bool
}

// decodeRequest reads the parameters of an operation on items.
func decodeRequest(r *wire.Reader, q *request) error {
	q.forward = true
	return r.Object("Unexpected value type in payload", func(key string) error {
		if r.Null() {
			return nil
		}
		return q.parameter(r, key)
	})
}

func (q *request) parameter(r *wire.Reader, key string) (err error) {
	str := func(t *text) error {
		t.s, err = r.String()
		t.set = true
		return err
	}
	integer := func(n *number) error {
		n.n, err = r.Int()
		n.set = true
		return err
	}
	item := func(it *attr.Item, set *bool) error {
		*set = true
		*it, err = r.Item()
		return err
	}
	raw := func(b *[]byte) error {
		*b, err = r.Raw()
		return err
	}
	switch key {
	case "TableName":
		err = str(&q.table)
		q.table.s = tableName(q.table.s)
		return err
	case "IndexName":
		return str(&q.index)
	case "Key":
		q.keySet = true
		q.key, err = r.Key()
		return err
	case "Item":
		return item(&q.item, &q.itemSet)
	case "ExclusiveStartKey":
		return item(&q.start, &q.startSet)
	case "ExpressionAttributeValues":
		return item(&q.values, &q.valuesSet)
	case "ExpressionAttributeNames":
		q.namesSet = true
		return r.Object("Unexpected field type", func(name string) error {
			s, err := r.String()
			q.names = append(q.names, attr.Field{Name: name, Value: attr.Value{Kind: attr.String, Text: s}})
			return err
		})
	case "ConsistentRead":
		q.consistent, err = r.Bool()
		return err
	case "ScanIndexForward":
		q.forward, err = r.Bool()
		return err
	case "ReturnValues":
		return str(&q.returnValues)
	case "ReturnValuesOnConditionCheckFailure":
		return str(&q.onFailure)
	case "ReturnConsumedCapacity":
		return str(&q.capacity)
	case "ReturnItemCollectionMetrics":
		return str(&q.metrics)
	case "Select":
		return str(&q.sel)
	case "Limit":
		return integer(&q.limit)
	case "Segment":
		return integer(&q.segment)
	case "TotalSegments":
		return integer(&q.segments)
	case "ConditionExpression":
		return str(&q.condition)
	case "UpdateExpression":
		return str(&q.update)
	case "ProjectionExpression":
		return str(&q.projection)
	case "FilterExpression":
		return str(&q.filter)
	case "KeyConditionExpression":
		return str(&q.keyCondition)
	case "Expected":
		return raw(&q.expected)
	case "AttributeUpdates":
		return raw(&q.updates)
	case "KeyConditions":
		return raw(&q.keyConditions)
	case "QueryFilter":
		return raw(&q.queryFilter)
	case "ScanFilter":
		return raw(&q.scanFilter)
	case "ConditionalOperator":
		return str(&q.operator)
	case "AttributesToGet":
		q.attributesSet = true
		return r.Array(func(int) error {
			s, err := r.String()
			q.attributes = append(q.attributes, s)
			return err
		})
	}
	return r.Skip()
}

// tableName is the name within an ARN, or the name itself.
func tableName(s string) string {
	if rest, ok := strings.CutPrefix(s, "arn:"); ok {
		if _, name, ok := strings.Cut(rest, ":table/"); ok {
			name, _, _ = strings.Cut(name, "/")
			return name
		}
	}
	return s
}

// constraints collects what is wrong with single parameters.
type constraints struct{ problems []string }

func (c *constraints) add(value, at, constraint string) {
	if len(c.problems) < 10 {
		c.problems = append(c.problems, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, at, constraint))
	}
}

func (c *constraints) err() error {
	switch n := len(c.problems); n {
	case 0:
		return nil
	case 1:
		return invalidf("1 validation error detected: %s", c.problems[0])
	default:
		return invalidf("%d validation errors detected: %s", n, strings.Join(c.problems, "; "))
	}
}

func quoted(s string) string { return "'" + s + "'" }

func (c *constraints) notNull(set bool, at string) {
	if !set {
		c.add("null", at, "Member must not be null")
	}
}

func (c *constraints) enum(t text, at, values string) {
	if !t.set {
		return
	}
	for v := range strings.SplitSeq(strings.Trim(values, "[]"), ", ") {
		if v == t.s {
			return
		}
	}
	c.add(quoted(t.s), at, "Member must satisfy enum value set: "+values)
}

func (c *constraints) atLeast(n number, at string, least int64) {
	if n.set && n.n < least {
		c.add(quoted(fmt.Sprint(n.n)), at, fmt.Sprintf("Member must have value greater than or equal to %d", least))
	}
}

func (c *constraints) atMost(n number, at string, most int64) {
	if n.set && n.n > most {
		c.add(quoted(fmt.Sprint(n.n)), at, fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
}

const namePattern = "[a-zA-Z0-9_.-]+"

// name checks the name of a table or an index.
func (c *constraints) name(t text, at string) {
	if !t.set {
		return
	}
	if !validName(t.s) {
		c.add(quoted(t.s), at, "Member must satisfy regular expression pattern: "+namePattern)
	}
	if len(t.s) < 3 {
		c.add(quoted(t.s), at, "Member must have length greater than or equal to 3")
	}
	if len(t.s) > 255 {
		c.add(quoted(t.s), at, "Member must have length less than or equal to 255")
	}
}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

// Values that parameters may have, in the order of DynamoDB's messages.
const (
	returnValueSet   = "[ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"
	onFailureSet     = "[ALL_OLD, NONE]"
	capacitySet      = "[INDEXES, TOTAL, NONE]"
	metricsSet       = "[SIZE, NONE]"
	selectSet        = "[SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]"
	operatorSet      = "[OR, AND]"
	maxSegments      = 1_000_000
	maxTransaction   = 100
	maxTransactBytes = 4 << 20
)

// common checks the parameters that several operations have. An enum that is not set passes.
func (q *request) common() *constraints {
	c := &constraints{}
	if q.table.set {
		c.name(q.table, "tableName")
	} else {
		c.notNull(false, "tableName")
	}
	c.enum(q.returnValues, "returnValues", returnValueSet)
	c.enum(q.onFailure, "returnValuesOnConditionCheckFailure", onFailureSet)
	c.enum(q.capacity, "returnConsumedCapacity", capacitySet)
	c.enum(q.metrics, "returnItemCollectionMetrics", metricsSet)
	c.enum(q.operator, "conditionalOperator", operatorSet)
	return c
}
