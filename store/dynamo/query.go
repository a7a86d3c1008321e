package dynamo

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// readChecks checks what Query and Scan have in common.
func (q *request) readChecks() *constraints {
	c := q.common()
	c.name(q.index, "indexName")
	c.enum(q.sel, "select", selectSet)
	c.atLeast(q.limit, "limit", 1)
	return c
}

func (a *API) query(ctx context.Context, q *request, out []byte) ([]byte, error) {
	if err := q.readChecks().err(); err != nil {
		return out, err
	}
	x, err := a.bind(q)
	if err != nil {
		return out, err
	}
	if x.key == nil {
		if q.keyConditions != nil {
			return out, invalidf("Conditions can be of length 1 or 2 only")
		}
		return out, invalidf("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	t, index, err := a.find(q)
	if err != nil {
		return out, err
	}
	g, err := keyRange(t, index, x.key)
	if err != nil {
		return out, err
	}
	if err := checkFilter(t, index, x.filter, q.queryFilter != nil); err != nil {
		return out, err
	}
	g.Backward = !q.forward
	if q.startSet {
		data, ok := shard.StartKey(t, index, q.start)
		if !ok {
			return out, invalidf("The provided starting key is invalid")
		}
		if !g.Start(data) {
			return out, invalidf("The provided starting key is outside query boundaries based on provided conditions")
		}
	}
	return a.read(ctx, q, g, x, out)
}

// keyRange is the range that a key condition means.
func keyRange(t *shard.Table, x *shard.Index, condition *expr.Node) (*shard.Range, error) {
	tests, err := expr.KeyTests(condition)
	if err != nil {
		return nil, err
	}
	if len(tests) > 2 {
		return nil, invalidf("Conditions can be of length 1 or 2 only")
	}
	key := t.Key
	if x != nil {
		key = x.Key
	}
	at := slices.IndexFunc(tests, func(k expr.KeyTest) bool { return k.Name == key.Hash.Name })
	if at < 0 {
		return nil, invalidf("Query condition missed key schema element: %s", key.Hash.Name)
	}
	hash := tests[at]
	if hash.Op != expr.OpEqual {
		return nil, invalidf("Query key condition not supported")
	}
	if hash.Values[0].Kind != key.Hash.Kind {
		return nil, wrongf("Condition parameter type does not match schema type")
	}
	if err := emptyKeyValue(hash.Values[0], key.Hash.Name); err != nil {
		return nil, err
	}
	g := shard.Partition(t, x, hash.Values[0])
	if len(tests) == 1 {
		return g, nil
	}
	test := tests[1-at]
	if key.Range.Kind == attr.None {
		return nil, invalidf("Query key condition not supported")
	}
	if test.Name != key.Range.Name {
		return nil, invalidf("Query condition missed key schema element: %s", key.Range.Name)
	}
	for _, v := range test.Values {
		if v.Kind != key.Range.Kind {
			return nil, wrongf("Condition parameter type does not match schema type")
		}
		if test.Op != expr.OpBeginsWith {
			if err := emptyKeyValue(v, key.Range.Name); err != nil {
				return nil, err
			}
		}
	}
	g.Restrict(test)
	return g, nil
}

func emptyKeyValue(v attr.Value, name string) error {
	if v.Text == "" {
		return invalidf("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", name)
	}
	return nil
}

// checkFilter refuses a query's filter on attributes of the key.
func checkFilter(t *shard.Table, x *shard.Index, filter *expr.Node, legacy bool) error {
	if filter == nil {
		return nil
	}
	key := t.Key
	if x != nil {
		key = x.Key
	}
	found := ""
	filter.Names(func(name string) {
		if key.Has(name) && found == "" {
			found = name
		}
	})
	switch {
	case found == "":
		return nil
	case legacy:
		return invalidf("QueryFilter can only contain non-primary key attributes: Primary key attribute: %s", found)
	}
	return invalidf("Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", found)
}

func (a *API) scan(ctx context.Context, q *request, out []byte) ([]byte, error) {
	c := q.readChecks()
	c.atLeast(q.segment, "segment", 0)
	c.atMost(q.segment, "segment", maxSegments-1)
	c.atLeast(q.segments, "totalSegments", 1)
	c.atMost(q.segments, "totalSegments", maxSegments)
	if err := c.err(); err != nil {
		return out, err
	}
	switch {
	case q.segment.set && !q.segments.set:
		return out, invalidf("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case q.segments.set && !q.segment.set:
		return out, invalidf("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case q.segment.set && q.segment.n >= q.segments.n:
		return out, invalidf("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d",
			q.segment.n, q.segments.n)
	}
	x, err := a.bind(q)
	if err != nil {
		return out, err
	}
	t, index, err := a.find(q)
	if err != nil {
		return out, err
	}
	segment, total := int(q.segment.n), 1
	if q.segments.set {
		total = int(q.segments.n)
	}
	g := shard.Segment(t, index, segment, total)
	if q.startSet {
		data, ok := shard.StartKey(t, index, q.start)
		if !ok {
			return out, invalidf("The provided starting key is invalid: The provided key element does not match the schema")
		}
		if !g.Start(data) {
			return out, invalidf("The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: %d Segment: %d",
				total, segment)
		}
	}
	return a.read(ctx, q, g, x, out)
}

// read reads a range and appends the answer of Query or Scan.
func (a *API) read(ctx context.Context, q *request, g *shard.Range, x expressions, out []byte) ([]byte, error) {
	if err := q.selection(g, x.projection); err != nil {
		return out, err
	}
	g.Limit, g.Filter = int(min(q.limit.n, 1<<31-1)), x.filter
	count := q.sel.s == "COUNT"
	out = append(out, '{')
	if !count {
		out = append(out, `"Items":[`...)
	}
	partition := g.Partition()
	at := func(s shard.Span) (pebble.Reader, error) { return a.store.Read(ctx, s.Lower, s.Upper, q.consistent) }
	p, out, err := a.readItems(at, g, x.projection, count, out)
	if err != nil {
		return out, err
	}
	if !count {
		out = append(out, `],`...)
	}
	// What an eventually consistent read of an index or of a whole table shows may reach the disk a moment later.
	if partition != nil || q.consistent {
		if err := a.store.Durable(ctx, partition); err != nil {
			return out, err
		}
	}
	out = strconv.AppendInt(append(out, `"Count":`...), int64(p.Count), 10)
	out = strconv.AppendInt(append(out, `,"ScannedCount":`...), int64(p.Scanned), 10)
	if p.Last != nil {
		out = wire.AppendItem(append(out, `,"LastEvaluatedKey":`...), p.Last)
	}
	if wanted(q.capacity) {
		c := capacity{table: g.Table, read: true}
		c.addRead(g.Index, p.Bytes, q.consistent, 1)
		for _, size := range p.Fetched {
			c.addRead(nil, size, q.consistent, 1)
		}
		out = c.append(append(out, `,"ConsumedCapacity":`...), q.capacity.s)
	}
	return append(out, '}'), nil
}

func (a *API) readItems(at func(shard.Span) (pebble.Reader, error), g *shard.Range, projection []expr.Path, count bool, out []byte) (shard.Page, []byte, error) {
	first := true
	p, err := g.Read(at, func(item []byte) (err error) {
		if count {
			return nil
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out, err = appendProjected(out, item, projection)
		return err
	})
	return p, out, err
}

// selection checks what is to be returned, and has whole items be fetched where an index lacks something of them.
func (q *request) selection(g *shard.Range, projection []expr.Path) error {
	t, x := g.Table, g.Index
	what := "ProjectionExpression"
	if q.attributesSet {
		what = "AttributesToGet"
	}
	switch {
	case q.sel.s == "ALL_PROJECTED_ATTRIBUTES" && x == nil:
		return wrongf("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
	case q.sel.s == "SPECIFIC_ATTRIBUTES" && projection == nil:
		return wrongf("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
	case projection != nil && q.sel.set && q.sel.s == "COUNT":
		return wrongf("Cannot specify the %s when choosing to get only the Count", what)
	case projection != nil && q.sel.set && q.sel.s != "SPECIFIC_ATTRIBUTES":
		return wrongf("Cannot specify the %s when choosing to get %s", what, q.sel.s)
	}
	if x == nil {
		return nil
	}
	if q.consistent && !x.Local {
		return invalidf("Consistent reads are not supported on global secondary indexes")
	}
	if q.sel.s == "ALL_ATTRIBUTES" && x.Projection != "ALL" {
		if !x.Local {
			return wrongf("Select type ALL_ATTRIBUTES is not supported for global secondary index %s because its projection type is not ALL", x.Name)
		}
		g.Whole = true
	}
	var missing []string
	for _, p := range projection {
		if !t.Projects(x, p[0].Name) {
			missing = append(missing, p[0].Name)
		}
	}
	if len(missing) > 0 {
		if !x.Local {
			return wrongf("Global secondary index %s does not project [%s]", x.Name, strings.Join(missing, ", "))
		}
		g.Whole = true
	}
	return nil
}
