package liveview

import (
	"time"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/stats"
)

// maxColumns bounds what is kept of a run: a longer one is kept in wider columns.
const maxColumns = 256

// View is a run as far as it was seen. Its zero value is one of which nothing was. It is not safe for concurrent use.
type View struct {
	// Colour adds colours, which only repeat what the signs say.
	Colour bool

	last    load.Progress
	seen    bool
	width   time.Duration // of a column
	columns []column
}

// column is a stretch of the run. Its rates are means, its latencies those of all its requests.
type column struct {
	looks                   int
	due, sent, done, failed float64 // sums over the looks
	latency                 *stats.Histogram
}

func (c *column) add(o *column) {
	c.looks += o.looks
	c.due += o.due
	c.sent += o.sent
	c.done += o.done
	c.failed += o.failed
	switch {
	case o.latency == nil:
	case c.latency == nil:
		c.latency = o.latency
	default:
		merged := c.latency.Clone()
		if merged.Merge(o.latency) == nil { // of another precision: left out of a passing look
			c.latency = merged
		}
	}
}

// mean of a sum over the looks of the column.
func (c *column) mean(sum float64) float64 {
	if c.looks == 0 {
		return 0
	}
	return sum / float64(c.looks)
}

// Add takes the next look at the run.
func (v *View) Add(p load.Progress) {
	v.last, v.seen = p, true
	if v.width == 0 {
		v.width = time.Second
	}
	at := max(p.Elapsed-1, 0) // what is seen at the end of a second belongs to it
	for int(at/v.width) >= maxColumns {
		v.columns = merged(v.columns, 2)
		v.width *= 2
	}
	i := int(at / v.width)
	for len(v.columns) <= i {
		v.columns = append(v.columns, column{})
	}
	one := column{looks: 1, due: p.Offered, sent: p.Sent, done: p.Completed, failed: p.Failed}
	if p.Recent != nil && p.Recent.Count() > 0 {
		one.latency = p.Recent
	}
	v.columns[i].add(&one)
}

// merged makes one of each k neighbours, in memory of its own.
func merged(columns []column, k int) []column {
	out := make([]column, 0, (len(columns)+k-1)/k)
	for i := range columns {
		if i%k == 0 {
			out = append(out, column{})
		}
		out[len(out)-1].add(&columns[i])
	}
	return out
}

// scaled returns the run as at most n columns, so wide that the whole of its planned length would fit, and how many cells
// of those n each takes, 1 or more.
func (v *View) scaled(n int) (columns []column, cells int) {
	all := max(int((v.last.Length+v.width-1)/v.width), len(v.columns), 1)
	if all <= n {
		return v.columns, n / all
	}
	return merged(v.columns, (all+n-1)/n), 1
}
