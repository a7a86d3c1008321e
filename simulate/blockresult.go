package simulate

import (
	"fmt"
	"strings"
)

// BlockResult is what happened at a cache, table, queue, topic or function beside what its nodes' ServiceResult tells.
// Counts are sums over replications; what does not apply is 0.
type BlockResult struct {
	// Block as in 'uses', such as caches.products.
	Block string `json:"block"`
	// Rate of operations, messages published or invocations a second.
	Rate Estimate `json:"rate"`
	// HitRatio of a cache: lookups that found what they looked for.
	HitRatio Estimate `json:"hit_ratio,omitzero"`
	// Busiest is the share of a cache's operations that the busiest of its Nodes has; left out where it has one. The nodes of a
	// cluster are its primaries.
	Busiest Estimate `json:"busiest_share,omitzero"`
	Nodes   int      `json:"nodes,omitempty"`
	// Writes is the share of a table's operations that wrote.
	Writes Estimate `json:"writes,omitzero"`
	// Read and Write are how long a table's operations of either kind took on average.
	Read  Span `json:"read,omitzero"`
	Write Span `json:"write,omitzero"`
	// Syncs is how often a log was forced to the disk a second.
	Syncs Estimate `json:"syncs,omitzero"`
	// Backlog is the mean number of messages that waited, Handled the mean time from a message's being published to its
	// being handled.
	Backlog Estimate `json:"backlog,omitzero"`
	Handled Span     `json:"handled,omitzero"`
	// Instances of a function that were ready, on average.
	Instances Estimate `json:"instances,omitzero"`

	Operations  int64 `json:"operations"`
	Unavailable int64 `json:"unavailable,omitempty"` // operations that no node could answer
	Published   int64 `json:"published,omitempty"`
	Delivered   int64 `json:"delivered,omitempty"`
	Redelivered int64 `json:"redelivered,omitempty"`
	Dead        int64 `json:"dead,omitempty"`    // messages that were given up
	Refused     int64 `json:"refused,omitempty"` // messages that the queue had no room for
	Expired     int64 `json:"expired,omitempty"` // messages that nobody took in their time to live
	Done        int64 `json:"done,omitempty"`
	ColdStarts  int64 `json:"cold_starts,omitempty"`

	// Outlook of a queue in the first replication: where it would be going after the end, if all stayed as in the last minute.
	Outlook string `json:"outlook,omitempty"`

	kind    blockKind
	service int32
}

type blockSamples struct{ rate, hits, busiest, writes, read, write, syncs, backlog, handled sample }

func (r *Result) newBlocks(m *Model) {
	for i := range m.blocks {
		b := &m.blocks[i]
		out := BlockResult{Block: b.name, kind: b.kind, service: b.service}
		if b.kind == blockCache && b.nodes > 1 {
			out.Nodes = b.nodes
		}
		r.Blocks = append(r.Blocks, out)
	}
	r.samples.blocks = make([]blockSamples, len(m.blocks))
}

func (r *BlockResult) count(c *blockCount) {
	r.Operations += c.Operations
	r.Unavailable += c.Unavailable
	r.Published += c.Published
	r.Delivered += c.Delivered
	r.Redelivered += c.Redelivered
	r.Dead += c.Dead
	r.Refused += c.Refused
	r.Expired += c.Expired
	r.Done += c.Done
	r.ColdStarts += c.ColdStarts
}

func (s *blockSamples) add(c *blockCount, seconds float64) {
	s.rate.add(float64(c.Operations) / seconds)
	s.syncs.add(float64(c.Syncs) / seconds)
	s.backlog.add(c.backlogArea / seconds)
	if n := c.Hits + c.Misses; n > 0 {
		s.hits.add(float64(c.Hits) / float64(n))
	}
	if c.Operations > 0 {
		s.busiest.add(c.busiest())
	}
	if c.Operations > 0 {
		s.writes.add(float64(c.Writes) / float64(c.Operations))
	}
	if c.ReadsDone > 0 {
		s.read.add(float64(c.readTook) / float64(c.ReadsDone))
	}
	if c.WritesDone > 0 {
		s.write.add(float64(c.writeTook) / float64(c.WritesDone))
	}
	if c.Done > 0 {
		s.handled.add(float64(c.sojourn) / float64(c.Done))
	}
}

func (r *BlockResult) complete(s *blockSamples) {
	r.Rate = estimate(&s.rate, 1)
	switch r.kind {
	case blockCache:
		r.HitRatio, r.Busiest = estimate(&s.hits, 1), estimate(&s.busiest, 1)
	case blockTable:
		r.Writes, r.Syncs = estimate(&s.writes, 1), estimate(&s.syncs, 1)
		r.Read, r.Write = span(&s.read), span(&s.write)
	case blockQueue, blockTopic:
		r.Syncs, r.Backlog, r.Handled = estimate(&s.syncs, 1), estimate(&s.backlog, 1), span(&s.handled)
	}
}

// writeBlocks says of each block what matters for its kind.
func (r *Result) writeBlocks(b *strings.Builder) {
	for i := range r.Blocks {
		k := &r.Blocks[i]
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%s: %s", k.Block, plusMinus(k.Rate.Value, k.Rate.HalfWidth, "%.2f")+"/s")
		for _, word := range k.words() {
			b.WriteString(", " + word)
		}
		b.WriteByte('\n')
	}
}

// words are the figures that matter for a block's kind.
func (r *BlockResult) words() (words []string) {
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch r.kind {
	case blockCache:
		add("%s hits", percent(r.HitRatio))
		if r.Nodes > 1 {
			add("the busiest of %d nodes has %s of it", r.Nodes, percent(r.Busiest))
		}
	case blockTable:
		add("%s writes", percent(r.Writes))
		if r.Read.Value > 0 {
			add("a read takes %s", r.Read)
		}
		if r.Write.Value > 0 {
			add("a write takes %s", r.Write)
		}
		add("%.1f fsyncs/s", r.Syncs.Value)
	case blockQueue, blockTopic:
		add("%s waiting", plusMinus(r.Backlog.Value, r.Backlog.HalfWidth, "%.2f"))
		if r.Done > 0 {
			add("handled %s after they came", r.Handled)
		}
		add("%d delivered again", r.Redelivered)
		if r.Dead > 0 {
			add("%d dead", r.Dead)
		}
		if r.Refused > 0 {
			add("%d refused", r.Refused)
		}
		if r.Expired > 0 {
			add("%d expired", r.Expired)
		}
		if r.Outlook != "" {
			add("at the end: %s", r.Outlook)
		}
	case blockFunction:
		add("%s instances", plusMinus(r.Instances.Value, r.Instances.HalfWidth, "%.2f"))
		add("%d cold starts", r.ColdStarts)
	}
	if r.Unavailable > 0 {
		add("%d not answered", r.Unavailable)
	}
	return words
}
