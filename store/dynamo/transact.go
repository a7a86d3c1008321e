package dynamo

import (
	"context"
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// decodeTransaction reads the items of a transaction: objects with one of the kinds in each.
func decodeTransaction(r *wire.Reader, kinds string, visit func(kind string, q *request)) error {
	return r.Array(func(int) error {
		q := &request{}
		kind, n := "", 0
		err := r.Object("Unexpected value type in payload", func(key string) error {
			if r.Null() {
				return nil
			}
			if !strings.Contains(kinds, "["+key+"]") {
				return r.Skip()
			}
			kind = key
			n++
			return decodeRequest(r, q)
		})
		if err == nil && n != 1 {
			err = invalidf("TransactItems can only contain one of Check, Put, Update or Delete")
		}
		visit(kind, q)
		return err
	})
}

func checkCount(n int) error {
	if n < 1 || n > maxTransaction {
		word := fmt.Sprintf("Member must have length less than or equal to %d", maxTransaction)
		if n < 1 {
			word = "Member must have length greater than or equal to 1"
		}
		var c constraints
		c.add("'[]'", "transactItems", word)
		return c.err()
	}
	return nil
}

func (a *API) transactWriteItems(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var o batchOptions
	var kinds []string
	var parts []*request
	err := o.decode(r, "TransactItems", func() error {
		return decodeTransaction(r, "[Put][Update][Delete][ConditionCheck]", func(kind string, q *request) {
			kinds, parts = append(kinds, kind), append(parts, q)
		})
	})
	if err != nil {
		return out, err
	}
	if err := o.check("transactItems"); err != nil {
		return out, err
	}
	if err := checkCount(len(parts)); err != nil {
		return out, err
	}
	tables, writes, err := a.transactWrites(&o, kinds, parts)
	if err != nil {
		return out, err
	}
	a.noteTables(ctx, tables)
	res, err := a.propose(ctx, tables, &shard.Writes{Token: o.token.s, Digest: digest(writes), Atomic: true, All: writes})
	if err != nil {
		return out, err
	}
	if len(res.Outcomes) > 0 && res.Code != shard.OK {
		return out, cancelled(res)
	}
	if err := failed(res, tables[0].Name); err != nil {
		return out, err
	}
	out = append(out, '{')
	capacities := writeCapacities(tables, res, 2)
	if res.Repeated { // which is charged as reads
		for _, c := range capacities {
			c.read = true
		}
	}
	if wanted(o.capacity) {
		out = append(out, appendCapacities(nil, o.capacity, capacities)[1:]...)
	}
	if o.metrics.s == "SIZE" {
		more, err := a.appendCollections(nil, o.metrics, tables, writes)
		if err != nil {
			return out, err
		}
		out = append(comma(out), more[1:]...)
	}
	return append(out, '}'), nil
}

// transactWrites checks the items of a transaction.
func (a *API) transactWrites(o *batchOptions, kinds []string, parts []*request) ([]*shard.Table, []shard.Write, error) {
	tables := make([]*shard.Table, len(parts))
	writes := make([]shard.Write, len(parts))
	reasons := make([]Reason, len(parts))
	seen := map[string]bool{}
	size, wrong := 0, false
	for i, q := range parts {
		c := q.common()
		member := fmt.Sprintf("transactItems.%d.member.%s%s.", i+1, strings.ToLower(kinds[i][:1]), kinds[i][1:])
		c.notNull(kinds[i] != "Put" || q.itemSet, member+"item")
		c.notNull(kinds[i] == "Put" || q.keySet, member+"key")
		c.notNull(kinds[i] != "Update" || q.update.set, member+"updateExpression")
		c.notNull(kinds[i] != "ConditionCheck" || q.condition.set, member+"conditionExpression")
		if err := c.err(); err != nil {
			return nil, nil, err
		}
		q.capacity, q.returnValues = o.capacity, text{}
		var err error
		switch kinds[i] {
		case "Put":
			writes[i], err = a.put(q)
		case "Update":
			writes[i], err = a.update(q)
		case "Delete":
			writes[i], err = a.delete(q)
		default:
			writes[i], err = a.keyed(q, shard.Write{Action: shard.Check, Item: q.key})
		}
		reasons[i].Code = "None"
		if err != nil {
			e, ok := a.asError(err)
			if !ok || e.Code != "ValidationException" || strings.HasPrefix(e.Message, "Invalid ") {
				return nil, nil, err
			}
			// What is wrong with one item for its table is a reason for which the whole is cancelled.
			reasons[i] = Reason{Code: "ValidationError", Message: e.Message}
			wrong = true
			continue
		}
		if tables[i] = a.store.Table(q.table.s); tables[i] == nil {
			return nil, nil, errNoTable
		}
		size += writes[i].Item.Size()
		data := string(tables[i].DataKey(writes[i].Item))
		if seen[data] {
			return nil, nil, invalidf("Transaction request cannot include multiple operations on one item")
		}
		seen[data] = true
	}
	if size > maxTransactBytes {
		return nil, nil, invalidf("Collection size of items in transaction exceeds the limit of %d bytes", maxTransactBytes)
	}
	if wrong {
		return nil, nil, cancellation(reasons)
	}
	return tables, writes, nil
}

// cancelled is the error of a transaction that was not carried out.
func cancelled(res *shard.Result) error {
	reasons := make([]Reason, len(res.Outcomes))
	for i, o := range res.Outcomes {
		switch o.Code {
		case shard.OK:
			reasons[i] = Reason{Code: "None"}
		case shard.ConditionFailed:
			reasons[i] = Reason{Code: "ConditionalCheckFailed", Message: o.Message, Item: o.Old}
		case shard.Conflict:
			reasons[i] = Reason{Code: "TransactionConflict", Message: o.Message}
		case shard.NoTable:
			return errNoTable
		default:
			reasons[i] = Reason{Code: "ValidationError", Message: o.Message}
		}
	}
	return cancellation(reasons)
}

func cancellation(reasons []Reason) error {
	codes := make([]string, len(reasons))
	for i, r := range reasons {
		codes[i] = r.Code
	}
	return &Error{Code: "TransactionCanceledException", Reasons: reasons,
		Message: "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]"}
}

func (a *API) transactGetItems(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var o batchOptions
	var parts []*request
	err := o.decode(r, "TransactItems", func() error {
		return decodeTransaction(r, "[Get]", func(_ string, q *request) { parts = append(parts, q) })
	})
	if err != nil {
		return out, err
	}
	if err := o.check("transactItems"); err != nil {
		return out, err
	}
	if err := checkCount(len(parts)); err != nil {
		return out, err
	}
	tables := make([]*shard.Table, len(parts))
	plans := make([]expressions, len(parts))
	seen := map[string]bool{}
	for i, q := range parts {
		c := q.common()
		c.notNull(q.keySet, fmt.Sprintf("transactItems.%d.member.get.key", i+1))
		if err := c.err(); err != nil {
			return out, err
		}
		if plans[i], err = a.bind(q); err != nil {
			return out, err
		}
		if tables[i], _, err = a.find(q); err != nil {
			return out, err
		}
		if err := checkKey(tables[i], q.key); err != nil {
			return out, err
		}
		data := string(tables[i].DataKey(q.key))
		if seen[data] {
			return out, invalidf("Transaction request cannot include multiple operations on one item")
		}
		seen[data] = true
	}
	for _, table := range tables {
		a.note(ctx, reads, table.Name)
	}
	checks := make([]shard.Write, len(parts))
	for i, q := range parts {
		checks[i] = shard.Write{Action: shard.Check, Table: tables[i].ID, Item: q.key, Home: tables[i].Home(q.key), Wants: shard.WantOld}
	}
	res, err := a.store.Together(ctx, checks)
	if err != nil {
		return out, err
	}
	if res.Code != shard.OK && len(res.Outcomes) > 0 {
		return out, cancelled(res)
	}
	if err := failed(res, tables[0].Name); err != nil {
		return out, err
	}
	out = append(out, `{"Responses":[`...)
	by := map[*shard.Table]*capacity{}
	var all []*capacity
	for i := range parts {
		c := by[tables[i]]
		if c == nil {
			c = &capacity{table: tables[i], read: true, transact: true}
			by[tables[i]] = c
			all = append(all, c)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		size := 0
		if item := res.Outcomes[i].Old; item != nil {
			if size, err = attr.EncodedSize(item); err == nil {
				out, err = appendProjected(append(out, `"Item":`...), item, plans[i].projection)
			}
			if err != nil {
				return out, err
			}
		}
		c.addRead(nil, size, true, 2)
		out = append(out, '}')
	}
	out = append(out, ']')
	return append(appendCapacities(out, o.capacity, all), '}'), nil
}
