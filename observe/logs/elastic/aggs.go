package elastic

import (
	"encoding/json"
	"math"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// Bounds on aggregations.
const (
	maxBuckets  = 65535 // as search.max_buckets
	maxAggs     = 50
	maxAggDepth = 5
)

// aggregation is one that was asked for.
type aggregation struct {
	name, kind, field string
	step              time.Duration
	size              int
	minimum           int64
	filter            segment.Filter
	ascending         bool
	byKey             bool
	missing           string
	subs              []*aggregation
}

func (c *compiler) aggregations(asked map[string]json.RawMessage, depth int) ([]*aggregation, error) {
	if depth > maxAggDepth || len(asked) > maxAggs {
		return nil, badRequest("illegal_argument_exception", "too many aggregations, or nested too deep")
	}
	var all []*aggregation
	for name, data := range asked {
		var parts map[string]json.RawMessage
		if err := parse(data, &parts); err != nil {
			return nil, err
		}
		a := &aggregation{name: name}
		for kind, body := range parts {
			var err error
			switch kind {
			case "aggs", "aggregations":
				var subs map[string]json.RawMessage
				if err = parse(body, &subs); err == nil {
					a.subs, err = c.aggregations(subs, depth+1)
				}
			case "meta":
			default:
				if a.kind != "" {
					return nil, badRequest("parsing_exception", "aggregation %s has two kinds", name)
				}
				a.kind = kind
				err = a.read(c, body)
			}
			if err != nil {
				return nil, err
			}
		}
		if a.kind == "" {
			return nil, badRequest("parsing_exception", "aggregation %s has no kind", name)
		}
		all = append(all, a)
	}
	return all, nil
}

func (a *aggregation) read(c *compiler, body json.RawMessage) error {
	if a.kind == "filter" {
		f, err := c.query(body, false, 0)
		a.filter = f
		return err
	}
	var v struct {
		Field    string
		Size     *int
		Minimum  *int64 `json:"min_doc_count"`
		Fixed    string `json:"fixed_interval"`
		Calendar string `json:"calendar_interval"`
		Interval string
		Order    json.RawMessage
		Missing  string
		Script   json.RawMessage
	}
	if err := parse(body, &v); err != nil {
		return err
	}
	if v.Script != nil {
		return unsupported("a script")
	}
	if v.Field == "" {
		return badRequest("parsing_exception", "aggregation %s needs a field", a.name)
	}
	a.field, a.size, a.missing = fieldName(v.Field), 10, v.Missing
	if v.Size != nil {
		a.size = *v.Size
	}
	if a.size < 1 || a.size > maxBuckets {
		return badRequest("illegal_argument_exception", "[size] must be between 1 and %d", maxBuckets)
	}
	switch a.kind {
	case "terms":
		a.minimum = 1
		order := strings.NewReplacer(" ", "", "[", "", "]", "", "{", "", "}", "", `"`, "").Replace(string(v.Order))
		switch order {
		case "", "_count:desc", "_count:desc,_key:asc":
		case "_count:asc":
			a.ascending = true
		case "_key:asc", "_term:asc":
			a.byKey, a.ascending = true, true
		case "_key:desc", "_term:desc":
			a.byKey = true
		default:
			return unsupported("an order by " + order)
		}
	case "date_histogram":
		if v.Field != "@timestamp" {
			return unsupported("a date_histogram of " + v.Field)
		}
		step, err := interval(v.Fixed, v.Calendar, v.Interval)
		if err != nil {
			return err
		}
		a.step = step
	case "avg", "sum", "min", "max", "stats", "value_count":
	default:
		return unsupported("the aggregation " + a.kind)
	}
	if v.Minimum != nil {
		a.minimum = *v.Minimum
	}
	return nil
}

// bucket holds what was counted of the documents that fell in it, for each aggregation in it.
type bucket struct {
	count int64
	parts []part
}

type part struct {
	terms map[string]*bucket
	times map[int64]*bucket
	one   *bucket // of a filter
	stats numbers
}

type numbers struct {
	n             int64
	sum, min, max float64
}

func newBucket(aggs []*aggregation) *bucket {
	b := &bucket{parts: make([]part, len(aggs))}
	for i, a := range aggs {
		switch a.kind {
		case "terms":
			b.parts[i].terms = map[string]*bucket{}
		case "date_histogram":
			b.parts[i].times = map[int64]*bucket{}
		case "filter":
			b.parts[i].one = newBucket(a.subs)
		}
		b.parts[i].stats = numbers{min: math.Inf(1), max: math.Inf(-1)}
	}
	return b
}

// add counts a document. made counts the buckets.
func (b *bucket) add(aggs []*aggregation, r segment.Row, made *atomic.Int64) {
	b.count++
	for i, a := range aggs {
		p := &b.parts[i]
		switch a.kind {
		case "terms":
			v, ok := value(a.field, r)
			if !ok {
				if v = a.missing; v == "" {
					continue
				}
			}
			sub := p.terms[v]
			if sub == nil {
				if made.Add(1) > maxBuckets {
					return
				}
				sub = newBucket(a.subs)
				p.terms[strings.Clone(v)] = sub
			}
			sub.add(a.subs, r, made)
		case "date_histogram":
			at := r.Time()
			key := at - at%int64(a.step)
			if at%int64(a.step) < 0 {
				key -= int64(a.step)
			}
			sub := p.times[key]
			if sub == nil {
				if made.Add(1) > maxBuckets {
					return
				}
				sub = newBucket(a.subs)
				p.times[key] = sub
			}
			sub.add(a.subs, r, made)
		case "filter":
			if segment.Wants(a.filter, r) {
				p.one.add(a.subs, r, made)
			}
		default:
			if v, ok := value(a.field, r); ok {
				p.stats.add(a.kind, v)
			}
		}
	}
}

func value(field string, r segment.Row) (string, bool) { return r.Field(field) }

func (s *numbers) add(kind, v string) {
	n, ok := logs.Number(v)
	if kind != "value_count" && (!ok || math.IsInf(n, 0)) {
		return
	}
	s.n++
	s.sum += n
	s.min, s.max = min(s.min, n), max(s.max, n)
}

func (b *bucket) merge(aggs []*aggregation, other *bucket) {
	b.count += other.count
	for i, a := range aggs {
		p, q := &b.parts[i], &other.parts[i]
		for k, sub := range q.terms {
			if p.terms[k] == nil {
				p.terms[k] = newBucket(a.subs)
			}
			p.terms[k].merge(a.subs, sub)
		}
		for k, sub := range q.times {
			if p.times[k] == nil {
				p.times[k] = newBucket(a.subs)
			}
			p.times[k].merge(a.subs, sub)
		}
		if p.one != nil {
			p.one.merge(a.subs, q.one)
		}
		p.stats.n += q.stats.n
		p.stats.sum += q.stats.sum
		p.stats.min, p.stats.max = min(p.stats.min, q.stats.min), max(p.stats.max, q.stats.max)
	}
}

func (b *bucket) answer(aggs []*aggregation) (map[string]any, error) {
	out := map[string]any{}
	for i, a := range aggs {
		p := &b.parts[i]
		var err error
		switch a.kind {
		case "terms":
			out[a.name], err = a.termsAnswer(p)
		case "date_histogram":
			out[a.name], err = a.timesAnswer(p)
		case "filter":
			out[a.name], err = p.one.fields(a.subs)
		default:
			out[a.name] = p.stats.answer(a.kind)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fields is a bucket as it is answered: its count and what is in it.
func (b *bucket) fields(aggs []*aggregation) (map[string]any, error) {
	out, err := b.answer(aggs)
	if err != nil {
		return nil, err
	}
	out["doc_count"] = b.count
	return out, nil
}

func (a *aggregation) termsAnswer(p *part) (any, error) {
	keys := make([]string, 0, len(p.terms))
	total := int64(0)
	for k, sub := range p.terms {
		total += sub.count
		if sub.count >= a.minimum {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		m, n := p.terms[keys[i]].count, p.terms[keys[j]].count
		if a.byKey || m == n {
			if a.byKey && !a.ascending {
				return keys[i] > keys[j]
			}
			return keys[i] < keys[j]
		}
		return (m > n) != a.ascending
	})
	buckets := []any{}
	for _, k := range keys[:min(len(keys), a.size)] {
		sub := p.terms[k]
		fields, err := sub.fields(a.subs)
		if err != nil {
			return nil, err
		}
		fields["key"] = k
		total -= sub.count
		buckets = append(buckets, fields)
	}
	return map[string]any{"doc_count_error_upper_bound": 0, "sum_other_doc_count": total, "buckets": buckets}, nil
}

func (a *aggregation) timesAnswer(p *part) (any, error) {
	keys := make([]int64, 0, len(p.times))
	for k := range p.times {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	buckets := []any{}
	add := func(key int64, b *bucket) error {
		fields, err := b.fields(a.subs)
		if err != nil {
			return err
		}
		fields["key"] = key / 1e6
		fields["key_as_string"] = time.Unix(0, key).UTC().Format("2006-01-02T15:04:05.000Z")
		if len(buckets) >= maxBuckets {
			return badRequest("too_many_buckets_exception", "more than %d buckets", maxBuckets)
		}
		buckets = append(buckets, fields)
		return nil
	}
	for i, k := range keys {
		if i > 0 && a.minimum == 0 { // spans without documents are answered, too
			for gap := keys[i-1] + int64(a.step); gap < k; gap += int64(a.step) {
				if err := add(gap, newBucket(a.subs)); err != nil {
					return nil, err
				}
			}
		}
		if p.times[k].count >= a.minimum {
			if err := add(k, p.times[k]); err != nil {
				return nil, err
			}
		}
	}
	return map[string]any{"buckets": buckets}, nil
}

func (s *numbers) answer(kind string) any {
	number := func(v float64) any {
		if s.n == 0 {
			return nil
		}
		return v
	}
	switch kind {
	case "value_count":
		return map[string]any{"value": s.n}
	case "sum":
		return map[string]any{"value": s.sum}
	case "avg":
		return map[string]any{"value": number(s.sum / float64(s.n))}
	case "min":
		return map[string]any{"value": number(s.min)}
	case "max":
		return map[string]any{"value": number(s.max)}
	}
	return map[string]any{"count": s.n, "sum": s.sum, "min": number(s.min), "max": number(s.max), "avg": number(s.sum / max(float64(s.n), 1))}
}
