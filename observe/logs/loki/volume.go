package loki

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

const (
	defaultVolumes = 100       // series of an answer about volumes, as in Loki
	maxVolumes     = 1_000_000 // sums that a request about volumes may hold: series times steps
)

// volumeQuery asks how many bytes of lines there are, by labels.
type volumeQuery struct {
	filter segment.Filter
	names  []string // of the labels to group by; nil: all that a stream has
	each   bool     // a series for each label by its name alone, not for each set of labels with their values
	limit  int      // of series
	from   time.Time
	to     time.Time
	step   time.Duration // of the sums
}

// volumeQuery reads the parameters of index/volume and index/volume_range.
func (s *Server) volumeQuery(r *http.Request) (q volumeQuery, err error) {
	if q.from, q.to, err = s.span(r, time.Hour); err != nil {
		return q, err
	}
	q.step = max(q.to.Sub(q.from), 1)
	var matched []string
	if q.filter, matched, err = matchedLabels(r.FormValue("query")); err != nil {
		return q, err
	}
	q.names = matched
	if text := r.FormValue("targetLabels"); text != "" {
		q.names = strings.Split(text, ",")
		for _, name := range q.names {
			// Streams without the label are left out, unless the query says something of it.
			if !slices.Contains(matched, name) {
				q.filter = segment.And(q.filter, segment.Label(name, func(v string) bool { return v != "" }))
			}
		}
	}
	switch by := r.FormValue("aggregateBy"); by {
	case "", "series":
	case "labels":
		q.each = true
	default:
		return q, fmt.Errorf("aggregateBy: 'series' or 'labels' is expected, not %.60q", by)
	}
	q.limit, err = count(r, "limit", defaultVolumes, maxSeries)
	return q, err
}

// matchedLabels reads a selector, and says which labels it speaks of; nil if of none.
func matchedLabels(query string) (segment.Filter, []string, error) {
	filter, err := selected(query)
	if err != nil || query == "" {
		return filter, nil, err
	}
	ts, err := tokens(query)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	err = (&parser{tokens: ts}).matchers(func(name, _, _ string) error {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	})
	return filter, names, err
}

// count reads a number that bounds an answer.
func count(r *http.Request, name string, otherwise, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s: a number up to %d is expected", name, most)
	}
	return cmp.Or(n, otherwise), nil
}

// groups are the series that a stream counts in, by their labels.
func (q *volumeQuery) groups(s *segment.Stream) (all []map[string]string) {
	labels := map[string]string{}
	for _, l := range s.Labels() {
		if q.names == nil || slices.Contains(q.names, l.Name) {
			labels[l.Name] = l.Value
		}
	}
	if !q.each {
		return []map[string]string{labels}
	}
	for name := range labels {
		all = append(all, map[string]string{name: ""})
	}
	return all
}

// volume is a series of sums of bytes, by the number of their step; steps without a line are missing.
type volume struct {
	key    string
	labels map[string]string
	total  int64
	steps  map[int64]int64
}

// volumes adds up what one of the scanning goroutines sees.
type volumes struct {
	query  *volumeQuery
	series map[string]*volume
	of     map[*segment.Stream][]*volume
	held   int
}

func (v *volumes) add(row segment.Row) bool {
	in, known := v.of[row.Stream()]
	if !known {
		for _, labels := range v.query.groups(row.Stream()) {
			key := keyOf(labels)
			if v.series[key] == nil {
				v.series[key] = &volume{key: key, labels: labels, steps: map[int64]int64{}}
			}
			in = append(in, v.series[key])
		}
		v.of[row.Stream()] = in
	}
	step, n := (row.Time()-v.query.from.UnixNano())/int64(v.query.step), int64(len(row.Body()))
	for _, one := range in {
		if _, there := one.steps[step]; !there {
			v.held++
		}
		one.steps[step] += n
		one.total += n
	}
	return v.held <= maxVolumes
}

// volumes are the largest series of a query, the largest first.
func (s *Server) volumes(r *http.Request, q *volumeQuery) ([]*volume, error) {
	var workers []*volumes
	_, err := s.logs.Store().Scan(r.Context(), segment.Query{From: q.from.UnixNano(), To: q.to.UnixNano(), Filter: q.filter}, func() func(segment.Row) bool {
		v := &volumes{query: q, series: map[string]*volume{}, of: map[*segment.Stream][]*volume{}}
		workers = append(workers, v)
		return v.add
	})
	if err != nil {
		return nil, fmt.Errorf("adding up: %w", err)
	}
	total := map[string]*volume{}
	for _, w := range workers {
		if w.held > maxVolumes {
			return nil, errors.New("too many sums: ask for fewer labels, or a longer step")
		}
		for key, one := range w.series {
			t := total[key]
			if t == nil {
				total[key] = one
				continue
			}
			t.total += one.total
			for step, n := range one.steps {
				t.steps[step] += n
			}
		}
	}
	var all []*volume
	for _, one := range total {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *volume) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.key, b.key)) })
	return all[:min(len(all), q.limit)], nil
}

// volume answers how many bytes of lines there are in the whole of a time, counted line by line: Loki's own answer is an estimate by chunks.
func (s *Server) volume(r *http.Request) (any, error) {
	q, err := s.volumeQuery(r)
	if err != nil {
		return nil, err
	}
	all, err := s.volumes(r, &q)
	if err != nil {
		return nil, err
	}
	result := []any{}
	for _, v := range all {
		result = append(result, map[string]any{"metric": v.labels, "value": [2]any{seconds(q.to), strconv.FormatInt(v.total, 10)}})
	}
	return success("vector", result), nil
}

// volumeRange answers the same for each step. A sum stands at the end of its step, as Loki has it, or at that of the time, if it is earlier.
func (s *Server) volumeRange(r *http.Request) (any, error) {
	q, err := s.volumeQuery(r)
	if err != nil {
		return nil, err
	}
	if q.step, err = stepOf(r.FormValue("step"), q.from, q.to); err != nil {
		return nil, err
	}
	if n := int64(q.to.Sub(q.from)/q.step) + 1; n > maxSteps {
		return nil, fmt.Errorf("%d steps: %d at most are answered", n, maxSteps)
	}
	all, err := s.volumes(r, &q)
	if err != nil {
		return nil, err
	}
	result := []any{}
	for _, v := range all {
		steps := make([]int64, 0, len(v.steps))
		for step := range v.steps {
			steps = append(steps, step)
		}
		slices.Sort(steps)
		values := [][2]any{}
		for _, step := range steps {
			at := q.from.Add(time.Duration(step+1) * q.step)
			if at.After(q.to) {
				at = q.to
			}
			values = append(values, [2]any{seconds(at), strconv.FormatInt(v.steps[step], 10)})
		}
		result = append(result, map[string]any{"metric": v.labels, "values": values})
	}
	return success("matrix", result), nil
}

// seconds since 1970, as Prometheus's API writes instants.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
