package segment

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Position is a record's place in the order of a search: by time, then by number.
type Position struct {
	Time int64
	Seq  uint64
}

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Time, q.Time), cmp.Compare(p.Seq, q.Seq))
}

// Query says what a search is after.
type Query struct {
	// From and To bound the time, in nanoseconds since 1970: From is in it, To is not. A To of 0: no bound.
	From, To int64
	// Filter says which. Default: all.
	Filter Filter
	// Limit is how many records Search returns at most. Required there.
	Limit int
	// Ascending searches from the oldest on; else from the newest back.
	Ascending bool
	// After leaves out what comes before a position and the position itself, in the order of the search.
	After *Position
	// MinSeq leaves out records with smaller numbers.
	MinSeq uint64
}

// SearchStats say what a search did.
type SearchStats struct {
	Blocks  int64 // in the segments that the time touches
	Skipped int64 // not read, because of their words, streams or times
	Rows    int64 // held against the filter
	Damaged int64 // blocks that could not be read
	Took    time.Duration
}

// unit of a search: a block of a segment, or records of a head.
type unit struct {
	seg              *segFile
	block            int
	records          []Record
	minTime, maxTime int64
}

const headUnit = 4096 // records of the head in one unit

// search is one in progress.
type search struct {
	store    *Store
	q        Query
	hashes   []uint64
	units    []unit
	verdicts sync.Map // *Stream to verdict
	blocks   atomic.Int64
	rows     atomic.Int64
	damaged  atomic.Int64
	read     atomic.Int64
}

// plan finds the units that may have what is wanted, in the order in which they are to be read.
func (s *Store) plan(ctx context.Context, q Query) (*search, error) {
	if q.To == 0 {
		q.To = math.MaxInt64
	}
	if q.Filter == nil {
		q.Filter = All()
	}
	if s.cfg.Retain > 0 {
		q.From = max(q.From, s.cfg.Now().Add(-s.cfg.Retain).UnixNano())
	}
	if q.After != nil && q.Ascending {
		q.From = max(q.From, q.After.Time)
	} else if q.After != nil && q.After.Time < math.MaxInt64 {
		q.To = min(q.To, q.After.Time+1)
	}
	se := &search{store: s, q: q}
	q.Filter.hashes(func(h uint64) {
		if !slices.Contains(se.hashes, h) {
			se.hashes = append(se.hashes, h)
		}
	})
	s.mu.RLock()
	segments, heads := s.segments, [][]Record{s.sealing, s.head}
	s.mu.RUnlock()
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, seg := range segments {
		if seg.MaxTime < q.From || seg.MinTime >= q.To {
			continue
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			units, err := se.candidates(seg)
			mu.Lock()
			se.units = append(se.units, units...)
			mu.Unlock()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, head := range heads {
		for part := range slices.Chunk(head, headUnit) {
			u := unit{records: part, minTime: math.MaxInt64, maxTime: math.MinInt64}
			for i := range part {
				u.minTime, u.maxTime = min(u.minTime, part[i].Time), max(u.maxTime, part[i].Time)
			}
			if u.maxTime >= q.From && u.minTime < q.To && part[len(part)-1].Seq >= q.MinSeq {
				se.units = append(se.units, u)
			}
		}
	}
	slices.SortFunc(se.units, func(a, b unit) int {
		if q.Ascending {
			return cmp.Compare(a.minTime, b.minTime)
		}
		return cmp.Compare(b.maxTime, a.maxTime)
	})
	return se, nil
}

// candidates returns the blocks of a segment that may have what is wanted.
func (se *search) candidates(seg *segFile) ([]unit, error) {
	wanted := make([]bool, len(seg.streams))
	for i, stream := range seg.streams {
		wanted[i] = se.verdict(stream) != never
	}
	rows, err := seg.wordRows(se.store, se.hashes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // retention took it meanwhile
	} else if err != nil {
		return nil, err
	}
	var units []unit
	for i, b := range seg.blocks {
		se.blocks.Add(1)
		if b.maxTime < se.q.From || b.minTime >= se.q.To || b.maxSeq < se.q.MinSeq || !slices.Contains(wanted[b.first:b.last+1], true) {
			continue
		}
		may := len(se.hashes) == 0 || se.q.Filter.block(func(h uint64) bool {
			row := rows[h]
			return row == nil || bloomHas(row, i, h)
		})
		if may {
			units = append(units, unit{seg: seg, block: i, minTime: b.minTime, maxTime: b.maxTime})
		}
	}
	return units, nil
}

func (se *search) verdict(s *Stream) verdict {
	if v, ok := se.verdicts.Load(s); ok {
		return v.(verdict)
	}
	v := se.q.Filter.stream(s)
	se.verdicts.Store(s, v)
	return v
}

// wordRows reads the rows of the matrix that the hashes need. One that is damaged is left out: any block may have its words.
func (s *segFile) wordRows(store *Store, hashes []uint64) (map[uint64][]byte, error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	f, err := store.cfg.FS.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows := make(map[uint64][]byte, len(hashes))
	width := rowBytes(len(s.blocks))
	for _, h := range hashes {
		row := make([]byte, width)
		if _, err := f.ReadAt(row, s.matrix+int64(bloomRow(h, s.rows))*int64(width)); err != nil {
			return nil, err
		}
		if !rowIntact(row) {
			store.damage("the words of a segment are damaged: searches read all of it", s.File, errSegment)
			continue
		}
		rows[h] = row
	}
	return rows, nil
}

// run has workers take the units in order; each gives the wanted rows of a unit to its visitor. enough says before a unit is
// read that nothing in it or after it is wanted any more.
func (se *search) run(ctx context.Context, enough func(unit) bool, visitor func() func(Row) bool) error {
	var next atomic.Int64
	var stop atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), max(1, len(se.units))) {
		visit := visitor()
		group.Go(func() error {
			for !stop.Load() {
				if err := ctx.Err(); err != nil {
					return err
				}
				i := int(next.Add(1)) - 1
				if i >= len(se.units) || enough(se.units[i]) {
					return nil
				}
				if err := se.visit(se.units[i], func(r Row) bool {
					if !visit(r) {
						stop.Store(true)
						return false
					}
					return true
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (se *search) visit(u unit, each func(Row) bool) error {
	if u.seg == nil {
		for i := range u.records {
			if r := (recordRow{&u.records[i]}); se.wants(r) && !each(r) {
				break
			}
		}
		se.rows.Add(int64(len(u.records)))
		return nil
	}
	se.read.Add(1)
	f, err := se.store.cfg.FS.Open(u.seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // retention took it meanwhile
	} else if err != nil {
		return err
	}
	defer f.Close()
	b, err := u.seg.read(f, u.block)
	if errors.Is(err, errBlock) {
		se.damaged.Add(1)
		se.store.damage("a block is damaged, and its records are left out", u.seg.File, err)
		return nil
	} else if err != nil {
		return err
	}
	se.rows.Add(int64(b.rows))
	row := &blockRow{block: b}
	for row.i = range b.rows {
		if se.wants(row) && b.err == nil && !each(row) {
			break
		}
	}
	if b.err != nil {
		se.damaged.Add(1)
		se.store.damage("a column is damaged, and records are left out", u.seg.File, b.err)
	}
	return nil
}

func (se *search) wants(r Row) bool {
	q := &se.q
	t := r.Time()
	if t < q.From || t >= q.To || r.Seq() < q.MinSeq {
		return false
	}
	if q.After != nil {
		c := Position{t, r.Seq()}.compare(*q.After)
		if q.Ascending && c <= 0 || !q.Ascending && c >= 0 {
			return false
		}
	}
	switch se.verdict(r.Stream()) {
	case never:
		return false
	case always:
		return true
	}
	return q.Filter.match(r)
}

func (se *search) stats(began time.Time) SearchStats {
	blocks := se.blocks.Load()
	return SearchStats{Blocks: blocks, Skipped: blocks - se.read.Load(), Rows: se.rows.Load(), Damaged: se.damaged.Load(), Took: time.Since(began)}
}

// Search returns the first Limit records that are wanted, in order.
func (s *Store) Search(ctx context.Context, q Query) ([]Record, SearchStats, error) {
	began := time.Now()
	if q.Limit <= 0 {
		return nil, SearchStats{}, nil
	}
	se, err := s.plan(ctx, q)
	if err != nil {
		return nil, SearchStats{}, err
	}
	top := &firsts{limit: q.Limit, ascending: q.Ascending}
	err = se.run(ctx, top.enough, func() func(Row) bool { return top.offer })
	records := top.records
	slices.SortFunc(records, func(a, b Record) int {
		c := Position{a.Time, a.Seq}.compare(Position{b.Time, b.Seq})
		if !q.Ascending {
			c = -c
		}
		return c
	})
	return records, se.stats(began), err
}

// Scan gives all records that are wanted to visitors, in no order. Each of the goroutines that read has a visitor of its own, which
// it gets from visitor, called before the first of them begins. A visitor that returns false ends the scan.
func (s *Store) Scan(ctx context.Context, q Query, visitor func() func(Row) bool) (SearchStats, error) {
	began := time.Now()
	se, err := s.plan(ctx, q)
	if err != nil {
		return SearchStats{}, err
	}
	err = se.run(ctx, func(unit) bool { return false }, visitor)
	return se.stats(began), err
}

// Streams returns the streams that may have records in the time, of which the filter does not know from the labels that it wants
// none of them.
func (s *Store) Streams(from, to int64, filter Filter) []*Stream {
	if to == 0 {
		to = math.MaxInt64
	}
	if filter == nil {
		filter = All()
	}
	s.mu.RLock()
	segments, heads := s.segments, [][]Record{s.sealing, s.head}
	s.mu.RUnlock()
	found := map[string]*Stream{}
	for _, seg := range segments {
		for _, b := range seg.blocks {
			if b.maxTime >= from && b.minTime < to {
				for _, stream := range seg.streams[b.first : b.last+1] {
					found[stream.key] = stream
				}
			}
		}
	}
	for _, head := range heads {
		for i := range head {
			if head[i].Time >= from && head[i].Time < to && (i == 0 || head[i].Stream != head[i-1].Stream) {
				found[head[i].Stream.key] = head[i].Stream
			}
		}
	}
	var streams []*Stream
	for _, stream := range found {
		if filter.stream(stream) != never {
			streams = append(streams, stream)
		}
	}
	slices.SortFunc(streams, func(a, b *Stream) int { return cmp.Compare(a.key, b.key) })
	return streams
}

// firsts keeps the first records of those that are offered.
type firsts struct {
	limit     int
	ascending bool
	mu        sync.Mutex
	records   []Record // a heap, the last in the order at its top
}

func (f *firsts) Len() int { return len(f.records) }
func (f *firsts) Less(i, j int) bool {
	a, b := &f.records[i], &f.records[j]
	return f.before(Position{b.Time, b.Seq}, Position{a.Time, a.Seq})
}
func (f *firsts) Swap(i, j int) { f.records[i], f.records[j] = f.records[j], f.records[i] }
func (f *firsts) Push(x any)    { f.records = append(f.records, x.(Record)) }
func (f *firsts) Pop() any {
	last := f.records[len(f.records)-1]
	f.records = f.records[:len(f.records)-1]
	return last
}

// before reports whether p comes before q in the order.
func (f *firsts) before(p, q Position) bool {
	c := p.compare(q)
	return f.ascending && c < 0 || !f.ascending && c > 0
}

func (f *firsts) offer(r Row) bool {
	p := Position{r.Time(), r.Seq()}
	f.mu.Lock()
	wanted := len(f.records) < f.limit || f.before(p, Position{f.records[0].Time, f.records[0].Seq})
	f.mu.Unlock()
	if !wanted {
		return true
	}
	record := r.Record()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.records) < f.limit {
		heap.Push(f, record)
	} else if f.before(p, Position{f.records[0].Time, f.records[0].Seq}) {
		f.records[0] = record
		heap.Fix(f, 0)
	}
	return true
}

func (f *firsts) enough(u unit) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.records) < f.limit {
		return false
	}
	if f.ascending {
		return u.minTime > f.records[0].Time
	}
	return u.maxTime < f.records[0].Time
}
