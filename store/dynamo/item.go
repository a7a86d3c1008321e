package dynamo

import (
	"context"
	"hash/fnv"
	"slices"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

func (a *API) getItem(ctx context.Context, q *request, out []byte) ([]byte, error) {
	c := q.common()
	c.notNull(q.keySet, "key")
	if err := c.err(); err != nil {
		return out, err
	}
	x, err := a.bind(q)
	if err != nil {
		return out, err
	}
	t := a.store.Table(q.table.s)
	if t == nil {
		return out, errNoTable
	}
	if err := checkKey(t, q.key); err != nil {
		return out, err
	}
	key := t.DataKey(q.key)
	r, err := a.store.Read(ctx, key, nil, q.consistent)
	if err != nil {
		return out, err
	}
	out = append(out, '{')
	size := 0
	err = shard.Get(r, key, func(item []byte) (err error) {
		if item == nil {
			return nil
		}
		if q.capacity.set {
			if size, err = attr.EncodedSize(item); err != nil {
				return err
			}
		}
		out, err = appendProjected(append(out, `"Item":`...), item, x.projection)
		return err
	})
	if err != nil {
		return out, err
	}
	if err := a.store.Durable(ctx, key); err != nil {
		return out, err
	}
	if wanted(q.capacity) {
		cap := capacity{table: t, read: true}
		cap.addRead(nil, size, q.consistent, 1)
		out = cap.append(append(comma(out), `"ConsumedCapacity":`...), q.capacity.s)
	}
	return append(out, '}'), nil
}

// appendProjected appends what a projection leaves of an encoded item; nil leaves all.
func appendProjected(out, item []byte, projection []expr.Path) ([]byte, error) {
	if projection == nil {
		return wire.AppendEncoded(out, item)
	}
	it, err := attr.DecodeItem(item)
	if err != nil {
		return out, err
	}
	return wire.AppendItem(out, expr.Project(it, projection)), nil
}

func (a *API) putItem(ctx context.Context, q *request, out []byte) ([]byte, error) {
	return a.writeItem(ctx, q, q.itemSet, "item", a.put, out)
}

func (a *API) deleteItem(ctx context.Context, q *request, out []byte) ([]byte, error) {
	return a.writeItem(ctx, q, q.keySet, "key", a.delete, out)
}

func (a *API) updateItem(ctx context.Context, q *request, out []byte) ([]byte, error) {
	return a.writeItem(ctx, q, q.keySet, "key", a.update, out)
}

// writeItem carries out an operation that writes one item, and of which a parameter must be given.
func (a *API) writeItem(ctx context.Context, q *request, given bool, at string, check func(*request) (shard.Write, error), out []byte) ([]byte, error) {
	c := q.common()
	c.notNull(given, at)
	if err := c.err(); err != nil {
		return out, err
	}
	w, err := check(q)
	if err != nil {
		return out, err
	}
	return a.write(ctx, q, w, out)
}

// put, delete and update check a request that writes, also as a part of a transaction.
func (a *API) put(q *request) (shard.Write, error) {
	w := shard.Write{Action: shard.Put, Item: q.item}
	if err := q.oldOrNone(); err != nil {
		return w, err
	}
	x, err := a.bind(q)
	if err != nil {
		return w, err
	}
	t, _, err := a.find(q)
	if err != nil {
		return w, err
	}
	w.Table, w.Condition, w.Wants = t.ID, x.condition, wants(q)
	return w, checkItem(t, q.item)
}

func (a *API) delete(q *request) (shard.Write, error) {
	w := shard.Write{Action: shard.Delete, Item: q.key}
	if err := q.oldOrNone(); err != nil {
		return w, err
	}
	return a.keyed(q, w)
}

// oldOrNone checks that what is asked to be returned is the item as it was, or nothing.
func (q *request) oldOrNone() error {
	if s := q.returnValues.s; q.returnValues.set && s != "ALL_OLD" && s != "NONE" {
		return invalidf("Return values set to invalid value")
	}
	return nil
}

func (a *API) update(q *request) (shard.Write, error) {
	w, err := a.keyed(q, shard.Write{Action: shard.Update, Item: q.key})
	if err != nil {
		return w, err
	}
	if w.Update == nil {
		w.Update = &expr.Update{}
	}
	t := a.store.Table(q.table.s)
	if t == nil {
		return w, errNoTable
	}
	for _, p := range w.Update.Paths() {
		if t.Key.Has(p[0].Name) {
			return w, wrongf("Cannot update attribute %s. This attribute is part of the key", p[0].Name)
		}
	}
	return w, nil
}

// keyed completes a write that has a Key.
func (a *API) keyed(q *request, w shard.Write) (shard.Write, error) {
	x, err := a.bind(q)
	if err != nil {
		return w, err
	}
	t, _, err := a.find(q)
	if err != nil {
		return w, err
	}
	w.Table, w.Condition, w.Update, w.Wants = t.ID, x.condition, x.update, wants(q)
	return w, checkKey(t, q.key)
}

// wants is what a write must return for the request to be answered.
func wants(q *request) (w shard.Wants) {
	switch q.returnValues.s {
	case "ALL_OLD", "UPDATED_OLD":
		w |= shard.WantOld
	case "ALL_NEW", "UPDATED_NEW":
		w |= shard.WantNew
	}
	if q.onFailure.s == "ALL_OLD" {
		w |= shard.WantOldOnFailure
	}
	if wanted(q.capacity) {
		w |= shard.WantCapacity
	}
	return w
}

// write carries out one write and appends the answer.
func (a *API) write(ctx context.Context, q *request, w shard.Write, out []byte) ([]byte, error) {
	t := a.store.Table(q.table.s)
	if t == nil {
		return out, errNoTable
	}
	res, err := a.propose(ctx, []*shard.Table{t}, &shard.Writes{Atomic: true, All: []shard.Write{w}})
	if err != nil {
		return out, err
	}
	if res.Code == shard.Conflict {
		return out, &Error{Code: "TransactionConflictException", Message: res.Message}
	}
	if res.Code == shard.ConditionFailed {
		return out, &Error{Code: "ConditionalCheckFailedException", Message: res.Message, Item: res.Outcomes[0].Old}
	}
	if err := failed(res, t.Name); err != nil {
		return out, err
	}
	o := res.Outcomes[0]
	out = append(out, '{')
	image := o.New
	if w.Wants&shard.WantOld != 0 {
		image = o.Old
	}
	if image != nil {
		var touched []expr.Path
		if s := q.returnValues.s; s == "UPDATED_OLD" || s == "UPDATED_NEW" { // which only an update takes
			touched = w.Update.Paths()
		}
		if out, err = appendAttributes(out, image, touched); err != nil {
			return out, err
		}
	}
	if wanted(q.capacity) {
		cap := capacity{table: t}
		cap.addWrite(o.Sizes, 1)
		out = cap.append(append(comma(out), `"ConsumedCapacity":`...), q.capacity.s)
	}
	if q.metrics.s == "SIZE" && hasLocal(t) {
		out = append(comma(out), `"ItemCollectionMetrics":`...)
		if out, err = a.appendCollection(out, t, w.Item); err != nil {
			return out, err
		}
	}
	return append(out, '}'), nil
}

// appendAttributes appends what is returned of an image: the paths that were touched, or with nil all.
func appendAttributes(out, image []byte, touched []expr.Path) ([]byte, error) {
	if touched == nil {
		return wire.AppendEncoded(append(out, `"Attributes":`...), image)
	}
	it, err := attr.DecodeItem(image)
	if err != nil {
		return out, err
	}
	if it = expr.Project(it, touched); len(it) == 0 {
		return out, nil
	}
	return wire.AppendItem(append(out, `"Attributes":`...), it), nil
}

// comma separates what follows from what is there, unless that is the beginning of an object.
func comma(out []byte) []byte {
	if out[len(out)-1] == '{' {
		return out
	}
	return append(out, ',')
}

// propose has writes be carried out, each of an item of the table with its number.
func (a *API) propose(ctx context.Context, tables []*shard.Table, w *shard.Writes) (*shard.Result, error) {
	w.Instant = a.store.Now()
	for i := range w.All {
		w.All[i].Home = tables[i].Home(w.All[i].Item)
	}
	return a.store.Write(ctx, w)
}

// digest of what is written, by which another request with the same token is told. What is returned is no part of it, and neither is
// the order in which the client's maps came.
func digest(writes []shard.Write) uint64 {
	same := slices.Clone(writes)
	for i := range same {
		same[i].Wants = 0
	}
	h := fnv.New64a()
	h.Write(shard.WriteCommand(0, "", 0, same))
	return h.Sum64()
}

func hasLocal(t *shard.Table) bool {
	for i := range t.Indexes {
		if t.Indexes[i].Local {
			return true
		}
	}
	return false
}
