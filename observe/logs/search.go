package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/observe/segment"
)

// Entry is a line that was found.
type Entry struct {
	Time    time.Time         `json:"time"`
	Labels  map[string]string `json:"labels"`
	Level   string            `json:"level,omitempty"`
	TraceID string            `json:"trace_id,omitempty"`
	Line    string            `json:"line"`
	Fields  map[string]string `json:"fields,omitempty"`
	// Position tells lines of one instant apart: a search goes on behind it.
	Position string `json:"position"`
}

// NewEntry is the record as an entry.
func NewEntry(r *segment.Record) Entry {
	e := Entry{Time: time.Unix(0, r.Time).UTC(), Labels: r.Stream.Map(), Line: r.Body, Position: fmt.Sprintf("%d-%d", r.Time, r.Seq)}
	for _, f := range r.Fields {
		if e.Fields == nil {
			e.Fields = make(map[string]string, len(r.Fields))
		}
		if _, known := e.Fields[f.Name]; !known {
			e.Fields[f.Name] = f.Value
		}
	}
	e.Level, _ = r.Field(FieldLevel)
	e.TraceID, _ = r.Field(FieldTrace)
	return e
}

// String is the entry as it is shown to people. Bytes that are no text, and control characters, are shown as escapes.
func (e Entry) String() string {
	source := cmp.Or(e.Labels[LabelReplica], e.Labels[LabelService])
	if source == "" {
		source = labelsText(e.Labels)
	}
	return fmt.Sprintf("%s %s %s %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), source, cmp.Or(e.Labels[LabelStream], "-"), Printable(e.Line))
}

func labelsText(labels map[string]string) string {
	if len(labels) == 0 {
		return "-"
	}
	return segment.NewStream(labels).String()
}

// Printable returns s with control characters and bytes that are no UTF-8 as escapes, so that a line can do nothing to a terminal.
func Printable(s string) string {
	clean := utf8.ValidString(s)
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= ' ' && s[i] != 0x7f || s[i] == '\t'
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\t' || strconv.IsPrint(r):
			b.WriteString(s[:n])
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// Bounds on answers.
const (
	MaxEntries = 10000
	maxBuckets = 2000
	maxGroups  = 50
)

// Search says what is searched for.
type Search struct {
	// From and To bound the time; From is in it, To is not. Zero: no bound.
	From, To time.Time
	Filter   segment.Filter
	// Limit of entries; at most MaxEntries. Default 100.
	Limit int
	// Ascending begins with the oldest, else with the newest.
	Ascending bool
	// After goes on behind the entry of this position.
	After string
}

func (s Search) query() (segment.Query, error) {
	q := segment.Query{Filter: s.Filter, Limit: min(cmp.Or(s.Limit, 100), MaxEntries), Ascending: s.Ascending}
	if !s.From.IsZero() {
		q.From = s.From.UnixNano()
	}
	if !s.To.IsZero() {
		q.To = s.To.UnixNano()
	}
	if s.After != "" {
		at, seq, _ := strings.Cut(s.After, "-")
		if strings.HasPrefix(s.After, "-") { // a time before 1970
			at, seq, _ = strings.Cut(s.After[1:], "-")
			at = "-" + at
		}
		t, err1 := strconv.ParseInt(at, 10, 64)
		n, err2 := strconv.ParseUint(seq, 10, 64)
		if err1 != nil || err2 != nil {
			return q, fmt.Errorf("position %q: not one of an entry", s.After)
		}
		q.After = &segment.Position{Time: t, Seq: n}
	}
	return q, nil
}

// Search finds entries, in the order of the search.
func (l *Logs) Search(ctx context.Context, s Search) ([]Entry, segment.SearchStats, error) {
	q, err := s.query()
	if err != nil {
		return nil, segment.SearchStats{}, err
	}
	records, stats, err := l.store.Search(ctx, q)
	if err != nil {
		return nil, stats, fmt.Errorf("searching the logs: %w", err)
	}
	entries := make([]Entry, len(records))
	for i := range records {
		entries[i] = NewEntry(&records[i])
	}
	return entries, stats, nil
}

// Bar of a histogram: what came in a span of time.
type Bar struct {
	Start  time.Time        `json:"start"`
	Count  int64            `json:"count"`
	Groups map[string]int64 `json:"groups,omitempty"`
}

// Histogram counts entries by spans of step, from the one that has From on, and in each by the values of a field or label (by, if not
// ""). From and To are required; there are at most 2000 spans. Values beyond the fifty most frequent are counted as "(other)", and
// entries without the field as "(none)".
func (l *Logs) Histogram(ctx context.Context, s Search, step time.Duration, by string) ([]Bar, error) {
	if step <= 0 || s.From.IsZero() || s.To.IsZero() || !s.From.Before(s.To) {
		return nil, fmt.Errorf("a histogram needs two instants and a step")
	}
	start := s.From.Truncate(step)
	n := int(s.To.Sub(start)/step) + 1
	if n > maxBuckets {
		return nil, fmt.Errorf("%d spans of %s: %d at most can be counted", n, step, maxBuckets)
	}
	q, err := s.query()
	if err != nil {
		return nil, err
	}
	var workers []*tally
	_, err = l.store.Scan(ctx, q, func() func(segment.Row) bool {
		t := &tally{counts: make([]int64, n), groups: map[string][]int64{}}
		workers = append(workers, t)
		return func(r segment.Row) bool {
			t.add(int((r.Time()-start.UnixNano())/int64(step)), r, by)
			return true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("counting log lines: %w", err)
	}
	total := &tally{counts: make([]int64, n), groups: map[string][]int64{}}
	for _, t := range workers {
		total.merge(t)
	}
	return total.bars(start, step), nil
}

// tally counts by span and group.
type tally struct {
	counts []int64
	groups map[string][]int64
}

const (
	groupNone  = "(none)"
	groupOther = "(other)"
	// maxTallied groups are counted apart before the rest goes together: the most frequent ones are among them unless
	// there are very many.
	maxTallied = 1000
)

func (t *tally) add(i int, r segment.Row, by string) {
	if i < 0 || i >= len(t.counts) {
		return
	}
	t.counts[i]++
	if by == "" {
		return
	}
	v, ok := r.Field(by)
	if !ok {
		v = groupNone
	}
	g := t.groups[v]
	if g == nil {
		if len(t.groups) >= maxTallied {
			v = groupOther
			g = t.groups[v]
		}
		if g == nil {
			g = make([]int64, len(t.counts))
			t.groups[strings.Clone(v)] = g
		}
	}
	g[i]++
}

func (t *tally) merge(other *tally) {
	for i, n := range other.counts {
		t.counts[i] += n
	}
	for v, counts := range other.groups {
		if t.groups[v] == nil {
			t.groups[v] = make([]int64, len(t.counts))
		}
		for i, n := range counts {
			t.groups[v][i] += n
		}
	}
}

func (t *tally) bars(start time.Time, step time.Duration) []Bar {
	sums := map[string]int64{}
	var names []string
	for v, counts := range t.groups {
		for _, n := range counts {
			sums[v] += n
		}
		names = append(names, v)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	bars := make([]Bar, len(t.counts))
	for i := range bars {
		bars[i] = Bar{Start: start.Add(time.Duration(i) * step), Count: t.counts[i]}
		for rank, v := range names {
			n := t.groups[v][i]
			if n == 0 {
				continue
			}
			if bars[i].Groups == nil {
				bars[i].Groups = map[string]int64{}
			}
			if rank >= maxGroups {
				v = groupOther
			}
			bars[i].Groups[v] += n
		}
	}
	return bars
}

// Follow gives to each the entries that are stored from now on, in order of time among those that came together, until ctx or the store ends, or
// each returns an error. It returns each's error, else nil. A slow follower falls behind and misses nothing.
func (l *Logs) Follow(ctx context.Context, filter segment.Filter, each func(Entry) error) error {
	return l.FollowRecords(ctx, filter, func(records []segment.Record) error {
		for i := range records {
			if err := each(NewEntry(&records[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// FollowRecords is Follow for records, some at a time.
func (l *Logs) FollowRecords(ctx context.Context, filter segment.Filter, each func([]segment.Record) error) error {
	last := l.store.Last()
	for {
		changed := l.store.Changed()
		upTo := l.store.Last()
		if err := l.between(ctx, filter, last+1, upTo, each); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		last = upTo
		select {
		case <-changed:
		case <-l.store.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

const followBatch = 1000

// between gives the records with these numbers to each.
func (l *Logs) between(ctx context.Context, filter segment.Filter, from, to uint64, each func([]segment.Record) error) error {
	var after *segment.Position
	for from <= to {
		records, _, err := l.store.Search(ctx, segment.Query{
			From: -1 << 62, Filter: filter, Limit: followBatch, Ascending: true, MinSeq: from, After: after,
		})
		if err != nil {
			return fmt.Errorf("following the logs: %w", err)
		}
		full := len(records) == followBatch
		if full {
			r := records[len(records)-1]
			after = &segment.Position{Time: r.Time, Seq: r.Seq}
		}
		// What was stored meanwhile comes with the next ones, once.
		records = slices.DeleteFunc(records, func(r segment.Record) bool { return r.Seq > to })
		if len(records) > 0 {
			if err := each(records); err != nil {
				return err
			}
		}
		if !full {
			return nil
		}
	}
	return nil
}
