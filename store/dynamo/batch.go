package dynamo

import (
	"context"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// Limits of batches.
const (
	maxBatchGet    = 100
	maxBatchWrite  = 25
	maxBatchAnswer = 16 << 20
)

// batchOptions are the parameters that batches and transactions have beside their items.
type batchOptions struct {
	capacity, metrics, token text
	itemsSet                 bool
}

// decode reads a batch; items reads the parameter of that name.
func (o *batchOptions) decode(r *wire.Reader, name string, items func() error) error {
	err := r.Object("Unexpected value type in payload", func(key string) (err error) {
		if r.Null() {
			return nil
		}
		str := func(t *text) error {
			t.set = true
			t.s, err = r.String()
			return err
		}
		switch key {
		case name:
			o.itemsSet = true
			return items()
		case "ReturnConsumedCapacity":
			return str(&o.capacity)
		case "ReturnItemCollectionMetrics":
			return str(&o.metrics)
		case "ClientRequestToken":
			return str(&o.token)
		}
		return r.Skip()
	})
	if err == nil {
		err = r.End()
	}
	return err
}

func (o *batchOptions) check(items string) error {
	var c constraints
	c.notNull(o.itemsSet, items)
	c.enum(o.capacity, "returnConsumedCapacity", capacitySet)
	c.enum(o.metrics, "returnItemCollectionMetrics", metricsSet)
	if o.token.set && len(o.token.s) > 36 {
		c.add(quoted(o.token.s), "clientRequestToken", "Member must have length less than or equal to 36")
	}
	if o.token.set && o.token.s == "" {
		c.add(quoted(o.token.s), "clientRequestToken", "Member must have length greater than or equal to 1")
	}
	return c.err()
}

// tableKeys are the keys that a BatchGetItem asks for in one table.
type tableKeys struct {
	q    request // the projection and so on
	keys []attr.Item
}

func (a *API) batchGetItem(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var o batchOptions
	var tables []*tableKeys
	err := o.decode(r, "RequestItems", func() error {
		return r.Object("Unexpected field type", func(name string) error {
			k := &tableKeys{}
			k.q.table = text{tableName(name), true}
			tables = append(tables, k)
			return k.decode(r)
		})
	})
	if err != nil {
		return out, err
	}
	if err := o.check("requestItems"); err != nil {
		return out, err
	}
	n := 0
	for _, k := range tables {
		n += len(k.keys)
	}
	switch {
	case n == 0:
		return out, invalidf("The requestItems parameter is required for BatchGetItem")
	case n > maxBatchGet:
		return out, invalidf("Too many items requested for the BatchGetItem call")
	}
	return a.batchGet(ctx, &o, tables, out)
}

func (k *tableKeys) decode(r *wire.Reader) error {
	return r.Object("Unexpected value type in payload", func(key string) error {
		if r.Null() {
			return nil
		}
		if key != "Keys" {
			return k.q.parameter(r, key)
		}
		return r.Array(func(int) error {
			it, err := r.Item()
			k.keys = append(k.keys, it)
			return err
		})
	})
}

func (a *API) batchGet(ctx context.Context, o *batchOptions, tables []*tableKeys, out []byte) ([]byte, error) {
	var all []*capacity
	plans := make([]expressions, len(tables))
	found := make([]*shard.Table, len(tables))
	for i, k := range tables {
		var err error
		if err := k.q.common().err(); err != nil {
			return out, err
		}
		if plans[i], err = a.bind(&k.q); err != nil {
			return out, err
		}
		if found[i], _, err = a.find(&k.q); err != nil {
			return out, err
		}
		a.note(ctx, reads, found[i].Name)
		seen := map[string]bool{}
		for _, key := range k.keys {
			if err := checkKey(found[i], key); err != nil {
				return out, err
			}
			data := string(found[i].DataKey(key))
			if seen[data] {
				return out, invalidf("Provided list of item keys contains duplicates")
			}
			seen[data] = true
		}
	}
	start := len(out)
	out = append(out, `{"Responses":{`...)
	left := make([][]attr.Item, len(tables))
	for i, k := range tables {
		out = append(wire.AppendString(comma(out), found[i].Name), `:[`...)
		c := &capacity{table: found[i], read: true}
		all = append(all, c)
		first := true
		for j, key := range k.keys {
			if len(out)-start > maxBatchAnswer {
				left[i] = k.keys[j:]
				break
			}
			data := found[i].DataKey(key)
			r, err := a.store.Read(ctx, data, nil, k.q.consistent)
			if err != nil {
				return out, err
			}
			err = shard.Get(r, data, func(item []byte) error {
				size, err := attr.EncodedSize(item)
				if item == nil {
					size, err = 0, nil
				}
				c.addRead(nil, size, k.q.consistent, 1)
				if item == nil || err != nil {
					return err
				}
				if !first {
					out = append(out, ',')
				}
				first = false
				out, err = appendProjected(out, item, plans[i].projection)
				return err
			})
			if err == nil {
				err = a.store.Durable(ctx, data)
			}
			if err != nil {
				return out, err
			}
		}
		out = append(out, ']')
	}
	out = append(out, `},"UnprocessedKeys":{`...)
	for i, keys := range left {
		if len(keys) > 0 {
			out = append(wire.AppendString(comma(out), found[i].Name), ':')
			out = tables[i].q.appendKeys(out, keys)
		}
	}
	out = append(out, '}')
	return append(appendCapacities(out, o.capacity, all), '}'), nil
}

// appendKeys appends what has to be asked for again, with the parameters that it was asked for by.
func (q *request) appendKeys(out []byte, keys []attr.Item) []byte {
	out = append(out, `{"Keys":[`...)
	for i, k := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendItem(out, k)
	}
	out = append(out, ']')
	if q.consistent {
		out = append(out, `,"ConsistentRead":true`...)
	}
	if q.projection.set {
		out = wire.AppendString(append(out, `,"ProjectionExpression":`...), q.projection.s)
	}
	for i, f := range q.names {
		mark := byte(',')
		if i == 0 {
			out, mark = append(out, `,"ExpressionAttributeNames":`...), '{'
		}
		out = append(wire.AppendString(append(out, mark), f.Name), ':')
		out = wire.AppendString(out, f.Value.Text)
	}
	if len(q.names) > 0 {
		out = append(out, '}')
	}
	for i, name := range q.attributes {
		mark := byte(',')
		if i == 0 {
			out, mark = append(out, `,"AttributesToGet":`...), '['
		}
		out = wire.AppendString(append(out, mark), name)
	}
	if len(q.attributes) > 0 {
		out = append(out, ']')
	}
	return append(out, '}')
}

func appendCapacities(out []byte, detail text, all []*capacity) []byte {
	if !wanted(detail) {
		return out
	}
	out = append(out, `,"ConsumedCapacity":[`...)
	for i, c := range all {
		if i > 0 {
			out = append(out, ',')
		}
		out = c.append(out, detail.s)
	}
	return append(out, ']')
}

func (a *API) batchWriteItem(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var o batchOptions
	type part struct {
		q   request
		put bool
	}
	var parts []*part
	err := o.decode(r, "RequestItems", func() error {
		return r.Object("Unexpected field type", func(name string) error {
			before := len(parts)
			err := r.Array(func(int) error {
				p := &part{}
				p.q.table = text{tableName(name), true}
				parts = append(parts, p)
				kinds := 0
				err := r.Object("Unexpected value type in payload", func(kind string) error {
					if r.Null() {
						return nil
					}
					if kind != "PutRequest" && kind != "DeleteRequest" {
						return r.Skip()
					}
					kinds++
					p.put = kind == "PutRequest"
					return r.Object("Unexpected value type in payload", func(key string) error { return p.q.parameter(r, key) })
				})
				if err == nil && kinds != 1 {
					err = invalidf("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
					if kinds == 0 {
						err = wrongf("A write request must contain a PutRequest or a DeleteRequest")
					}
				}
				return err
			})
			if err == nil && len(parts) == before {
				err = invalidf("The batch write request list for a table cannot be null or empty")
			}
			return err
		})
	})
	if err != nil {
		return out, err
	}
	if err := o.check("requestItems"); err != nil {
		return out, err
	}
	switch {
	case len(parts) == 0:
		return out, invalidf("The batch write request list for a table cannot be null or empty")
	case len(parts) > maxBatchWrite:
		return out, invalidf("Too many items requested for the BatchWriteItem call")
	}
	tables := make([]*shard.Table, len(parts))
	writes := make([]shard.Write, len(parts))
	seen := map[string]bool{}
	for i, p := range parts {
		if err := p.q.common().err(); err != nil {
			return out, err
		}
		p.q.capacity = o.capacity
		if p.put {
			writes[i], err = a.put(&p.q)
		} else {
			writes[i], err = a.delete(&p.q)
		}
		if err != nil {
			return out, err
		}
		if tables[i] = a.store.Table(p.q.table.s); tables[i] == nil {
			return out, errNoTable
		}
		data := string(tables[i].DataKey(writes[i].Item))
		if seen[data] {
			return out, invalidf("Provided list of item keys contains duplicates")
		}
		seen[data] = true
	}
	a.noteTables(ctx, tables)
	res, err := a.propose(ctx, tables, &shard.Writes{All: writes})
	if err == nil {
		err = failed(res, tables[0].Name)
	}
	if err != nil {
		return out, err
	}
	out = append(out, `{"UnprocessedItems":{}`...)
	if out, err = a.appendCollections(out, o.metrics, tables, writes); err != nil {
		return out, err
	}
	return append(appendCapacities(out, o.capacity, writeCapacities(tables, res, 1)), '}'), nil
}

// writeCapacities are what the writes of a command used, by table.
func writeCapacities(tables []*shard.Table, res *shard.Result, factor float64) (all []*capacity) {
	by := map[*shard.Table]*capacity{}
	for i, t := range tables {
		c := by[t]
		if c == nil {
			c = &capacity{table: t, transact: factor > 1}
			by[t] = c
			all = append(all, c)
		}
		if i < len(res.Outcomes) {
			c.addWrite(res.Outcomes[i].Sizes, factor)
		}
	}
	return all
}

// appendCollections appends the ItemCollectionMetrics of several writes, by table.
func (a *API) appendCollections(out []byte, asked text, tables []*shard.Table, writes []shard.Write) (_ []byte, err error) {
	if asked.s != "SIZE" {
		return out, nil
	}
	out = append(out, `,"ItemCollectionMetrics":{`...)
	done := map[*shard.Table]bool{}
	for _, t := range tables {
		if done[t] || !hasLocal(t) {
			continue
		}
		done[t] = true
		out = append(wire.AppendString(comma(out), t.Name), `:[`...)
		seen := map[string]bool{}
		for j, w := range writes {
			lower, _ := t.Collection(w.Item)
			if tables[j] != t || seen[string(lower)] || w.Action == shard.Check {
				continue
			}
			if len(seen) > 0 {
				out = append(out, ',')
			}
			seen[string(lower)] = true
			if out, err = a.appendCollection(out, t, writes[j].Item); err != nil {
				return out, err
			}
		}
		out = append(out, ']')
	}
	return append(out, '}'), nil
}
