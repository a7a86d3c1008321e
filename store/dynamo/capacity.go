package dynamo

import (
	"math"
	"strconv"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

func wanted(t text) bool { return t.s == "TOTAL" || t.s == "INDEXES" }

// capacity is what a request uses of a table and its indexes, in the units that DynamoDB charges: 4 KiB of reading, half of that for
// a read that need not be consistent, and 1 KiB of writing; twice as much in a transaction.
type capacity struct {
	table *shard.Table
	read  bool
	// transact has the answer say reads and writes apart.
	transact bool
	own      float64
	indexes  map[string]float64
}

func (c *capacity) add(x *shard.Index, units float64) {
	if x == nil {
		c.own += units
		return
	}
	if c.indexes == nil {
		c.indexes = map[string]float64{}
	}
	c.indexes[x.Name] += units
}

func (c *capacity) addRead(x *shard.Index, size int, consistent bool, factor float64) {
	units := math.Max(1, math.Ceil(float64(size)/4096)) * factor
	if !consistent {
		units /= 2
	}
	c.add(x, units)
}

// addWrite adds what the sizes of an outcome ask for.
func (c *capacity) addWrite(sizes []int, factor float64) {
	for i, size := range sizes {
		units := math.Ceil(float64(size)/1024) * factor
		switch {
		case i == 0:
			c.add(nil, units)
		case size > 0 && i <= len(c.table.Indexes):
			c.add(&c.table.Indexes[i-1], units)
		}
	}
}

func (c *capacity) total() float64 {
	sum := c.own
	for _, u := range c.indexes {
		sum += u
	}
	return sum
}

func (c *capacity) appendUnits(out []byte, units float64) []byte {
	out = append(out, `{"CapacityUnits":`...)
	out = strconv.AppendFloat(out, units, 'f', 1, 64)
	return append(c.appendKind(out, units), '}')
}

func (c *capacity) appendKind(out []byte, units float64) []byte {
	if !c.transact {
		return out
	}
	kind := `,"WriteCapacityUnits":`
	if c.read {
		kind = `,"ReadCapacityUnits":`
	}
	return strconv.AppendFloat(append(out, kind...), units, 'f', 1, 64)
}

// append appends a ConsumedCapacity in the detail that was asked for.
func (c *capacity) append(out []byte, detail string) []byte {
	out = append(out, `{"TableName":`...)
	out = wire.AppendString(out, c.table.Name)
	out = append(out, `,"CapacityUnits":`...)
	out = strconv.AppendFloat(out, c.total(), 'f', 1, 64)
	out = c.appendKind(out, c.total())
	if detail == "INDEXES" {
		out = c.appendUnits(append(out, `,"Table":`...), c.own)
		for _, kind := range []struct {
			field string
			local bool
		}{{"GlobalSecondaryIndexes", false}, {"LocalSecondaryIndexes", true}} {
			first := true
			for i := range c.table.Indexes {
				x := &c.table.Indexes[i]
				units, ok := c.indexes[x.Name]
				if !ok || x.Local != kind.local {
					continue
				}
				if first {
					out = append(out, `,"`+kind.field+`":{`...)
				} else {
					out = append(out, ',')
				}
				first = false
				out = append(wire.AppendString(out, x.Name), ':')
				out = c.appendUnits(out, units)
			}
			if !first {
				out = append(out, '}')
			}
		}
	}
	return append(out, '}')
}

// appendCollection appends the ItemCollectionMetrics of an item: its partition key, and bounds of the size of all items that have it.
func (a *API) appendCollection(out []byte, t *shard.Table, it attr.Item) ([]byte, error) {
	size, err := a.store.DiskUsage(t.Collection(it))
	if err != nil {
		return out, err
	}
	gib := float64(size) / (1 << 30)
	key := attr.Item{{Name: t.Key.Hash.Name, Value: it.Get(t.Key.Hash.Name)}}
	out = wire.AppendItem(append(out, `{"ItemCollectionKey":`...), key)
	out = strconv.AppendFloat(append(out, `,"SizeEstimateRangeGB":[`...), math.Floor(gib), 'f', 1, 64)
	out = strconv.AppendFloat(append(out, ','), math.Floor(gib)+1, 'f', 1, 64)
	return append(out, `]}`...), nil
}
