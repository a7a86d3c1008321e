package dynamo

import (
	"context"
	"fmt"
	"time"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// Change of one item, for those who have no client.
type Change struct {
	// Sequence grows with each change of a table, whatever streams it has had.
	Sequence uint64
	// At is when it happened, to the millisecond.
	At time.Time
	// Kind is INSERT, MODIFY or REMOVE.
	Kind string
	// Key is the item's partition key; empty where that is no string.
	Key string
	// Record is the change as GetRecords has it, in JSON.
	Record []byte
}

// Changes returns up to limit changes of a table behind a sequence number, oldest first, of all streams that it has had in the
// last day. Those that are returned are on disk.
func (a *API) Changes(ctx context.Context, table string, behind uint64, limit int) ([]Change, error) {
	t := a.store.Table(table)
	if t == nil {
		return nil, &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: Table: " + table + " not found"}
	}
	homes := t.Homes()
	if len(homes) > 1 {
		return nil, fmt.Errorf("the changes of table %s are in %d streams, for it is spread: that is not supported", table, len(homes))
	}
	db, err := a.store.Read(ctx, homes[0].Key(), nil, true)
	if err != nil {
		return nil, err
	}
	var all []Change
	for _, s := range t.Streams {
		found, err := shard.ChangesAt(db, homes[0], s.ID, behind+1, limit-len(all), shard.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range found {
			record, err := a.appendRecord(nil, &found[i], s.View)
			if err != nil {
				return nil, err
			}
			key, err := attr.DecodeItem(found[i].Key)
			if err != nil {
				return nil, err
			}
			c := Change{Sequence: found[i].Sequence, At: time.UnixMilli(found[i].Instant), Kind: found[i].Name, Record: record}
			if v := key.Get(t.Key.Hash.Name); v.Kind == attr.String {
				c.Key = v.Text
			}
			all = append(all, c)
		}
		if len(all) >= limit {
			break
		}
	}
	if len(all) > 0 {
		err = a.store.Durable(ctx, nil)
	}
	return all, err
}
