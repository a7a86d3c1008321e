package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// errOverLimit refuses a series; what there was before goes on.
var errOverLimit = errors.New("too many series")

// Offender is a metric of an origin that had more series than it may.
type Offender struct {
	Origin string `json:"origin"`
	Metric string `json:"metric"`
	// Limit in words: which one, and how much it is.
	Limit string `json:"limit"`
	// Refused samples.
	Refused int64 `json:"refused"`
	// Label has the most values among the metric's series, and how many those are: what to drop or to bound.
	Label       string `json:"label,omitempty"`
	LabelValues int    `json:"labelValues,omitempty"`
	// Example is a series that was refused.
	Example string    `json:"example"`
	Since   time.Time `json:"since"`
}

// maxOffenders of one origin are told apart; further ones count under the last.
const maxOffenders = 50

// key identifies a series within an origin by its text as it came: two hashes with random seeds, so that nobody can make
// two series collide, in a tenth of the memory of the text.
type key struct{ a, b uint64 }

// seeds of a cache.
type seeds struct{ a, b maphash.Seed }

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s seeds) key(text []byte) key { return key{maphash.Bytes(s.a, text), maphash.Bytes(s.b, text)} }

// entry is a series that an origin has.
type entry struct {
	ref    storage.SeriesRef
	lset   labels.Labels
	metric *metricCount
	key    key
	seen   uint64 // the round it was seen in last
	timed  bool   // it came with a timestamp of its own: it never goes stale
}

// metricCount is what an origin has of one metric.
type metricCount struct {
	name  string
	n     int
	begun int // since the engine last forgot old series
}

// churn is how many times as many series as an origin may have at once it may begin before the engine forgets old ones: an origin
// whose labels are others at every reading has few at any time, and fills the memory all the same.
const churn = 5

// origin is one source of series, with what it has: the page of a target, a sender. Its owner holds mu while it appends.
type origin struct {
	name  string
	store *Store
	seeds seeds

	mu      sync.Mutex
	entries map[key]*entry
	metrics map[string]*metricCount
	round   uint64
	begun   int   // series, since the engine last forgot old ones
	oldest  int64 // instant in the engine's memory, by which that is known

	series atomic.Int64 // len(entries), for those who do not hold mu

	offendersMu sync.Mutex
	offenders   map[string]*Offender
}

// origin returns the one of a name, a new one the first time.
func (s *Store) origin(name string) *origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origins[name]
	if o == nil {
		o = &origin{name: name, store: s, seeds: newSeeds(), entries: map[key]*entry{}, metrics: map[string]*metricCount{},
			offenders: map[string]*Offender{}}
		s.origins[name] = o
	}
	return o
}

// maxSenders are told apart by name; further ones are one origin.
const maxSenders = 1000

// sender returns the origin of what somebody sent.
func (s *Store) sender(name string) *origin {
	name = sanitizeOrigin(name)
	s.mu.Lock()
	_, known := s.origins[name]
	if !known && len(s.origins) >= maxSenders {
		name = "(others)"
	}
	s.mu.Unlock()
	return s.origin(name)
}

// forget drops an origin that will append no more.
func (s *Store) forget(o *origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.origins[o.name] == o {
		delete(s.origins, o.name)
	}
}

func (s *Store) sortedOrigins() []*origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.origins), func(a, b *origin) int { return cmp.Compare(a.name, b.name) })
}

// Offenders are the metrics that had more series than they may, the worst first.
func (s *Store) Offenders() []Offender {
	var all []Offender
	for _, o := range s.sortedOrigins() {
		o.offendersMu.Lock()
		for _, of := range o.offenders {
			all = append(all, *of)
		}
		o.offendersMu.Unlock()
	}
	slices.SortFunc(all, func(a, b Offender) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Metric, b.Metric))
	})
	return all
}

// check says what is wrong with the labels of a series. The names and values are those of the wire: not to be believed.
func (l Limits) check(lset labels.Labels) error {
	if lset.Len() > l.Labels {
		return fmt.Errorf("%d labels: at most %d are taken", lset.Len(), l.Labels)
	}
	name := lset.Get(model.MetricNameLabel)
	if name == "" {
		return errors.New("a series without a name")
	}
	if dup, is := lset.HasDuplicateLabelNames(); is {
		return fmt.Errorf("label %q stands twice", dup)
	}
	return lset.Validate(func(lb labels.Label) error {
		switch {
		case len(lb.Name) > l.LabelName:
			return fmt.Errorf("label %.40q...: its name has %d bytes: at most %d are taken", lb.Name, len(lb.Name), l.LabelName)
		case len(lb.Value) > l.LabelValue:
			return fmt.Errorf("label %.40q: its value has %d bytes: at most %d are taken", lb.Name, len(lb.Value), l.LabelValue)
		case !model.UTF8Validation.IsValidLabelName(lb.Name) || !model.LabelValue(lb.Value).IsValid():
			return fmt.Errorf("label %.40q: its name must not be empty, and both must be UTF-8", lb.Name)
		}
		return nil
	})
}

// admit makes an entry for a new series, or says why not. The caller holds mu.
func (o *origin) admit(k key, lset labels.Labels) (*entry, error) {
	limits := &o.store.cfg.Limits
	if err := limits.check(lset); err != nil {
		o.store.counts.invalid.Add(1)
		return nil, err
	}
	name := lset.Get(model.MetricNameLabel)
	o.renew()
	m := o.metrics[name]
	var limit string
	switch {
	case len(o.entries) >= limits.SeriesPerTarget:
		limit = fmt.Sprintf("%d series of one target", limits.SeriesPerTarget)
	case m != nil && m.n >= limits.SeriesPerMetric:
		limit = fmt.Sprintf("%d series of one metric and target", limits.SeriesPerMetric)
	case o.begun >= churn*limits.SeriesPerTarget:
		limit = fmt.Sprintf("%d series of one target begun in a few hours", churn*limits.SeriesPerTarget)
	case m != nil && m.begun >= churn*limits.SeriesPerMetric:
		limit = fmt.Sprintf("%d series of one metric and target begun in a few hours", churn*limits.SeriesPerMetric)
	case o.store.db.Head().NumSeries() >= uint64(limits.Series):
		limit = fmt.Sprintf("%d series in all", limits.Series)
	}
	if limit != "" {
		o.store.counts.refused.Add(1)
		o.refuse(name, limit, lset)
		return nil, errOverLimit
	}
	if m == nil {
		m = &metricCount{name: name}
		o.metrics[name] = m
	}
	m.n++
	m.begun++
	o.begun++
	e := &entry{lset: lset, metric: m, key: k}
	o.entries[k] = e
	o.series.Store(int64(len(o.entries)))
	return e, nil
}

// renew counts anew what the origin begins, if the engine has forgotten old series since. The caller holds mu.
func (o *origin) renew() {
	oldest := o.store.db.Head().MinTime()
	forgot := oldest > o.oldest && o.oldest != 0
	o.oldest = oldest
	if !forgot {
		return
	}
	o.begun = len(o.entries)
	for name, m := range o.metrics {
		if m.begun = m.n; m.n == 0 {
			delete(o.metrics, name)
		}
	}
}

// drop forgets a series. The caller holds mu.
func (o *origin) drop(e *entry) {
	delete(o.entries, e.key)
	e.metric.n--
	o.series.Store(int64(len(o.entries)))
}

// refuse counts a sample that was over a limit; at the first of a metric the culprit is looked for and named.
func (o *origin) refuse(metric, limit string, lset labels.Labels) {
	o.offendersMu.Lock()
	defer o.offendersMu.Unlock()
	of := o.offenders[metric]
	if of == nil {
		if len(o.offenders) >= maxOffenders {
			metric = "(others)"
			of = o.offenders[metric]
		}
		if of == nil {
			of = &Offender{Origin: o.name, Metric: metric, Limit: limit, Example: lset.String(), Since: time.Now()}
			if len(of.Example) > 1024 {
				of.Example = of.Example[:1021] + "..."
			}
			of.Label, of.LabelValues = o.widest(metric)
			o.offenders[metric] = of
			o.store.cfg.Log.Warn("series refused", "origin", o.name, "metric", metric, "limit", limit,
				"label", of.Label, "values", of.LabelValues, "example", of.Example)
		}
	}
	of.Refused++
}

// widest finds the label with the most values among the series of a metric.
func (o *origin) widest(metric string) (label string, values int) {
	seen := map[string]map[string]struct{}{}
	for _, e := range o.entries {
		if e.metric.name != metric {
			continue
		}
		e.lset.Range(func(l labels.Label) {
			if l.Name == model.MetricNameLabel {
				return
			}
			if seen[l.Name] == nil {
				seen[l.Name] = map[string]struct{}{}
			}
			seen[l.Name][l.Value] = struct{}{}
		})
	}
	for name, all := range seen {
		if len(all) > values || len(all) == values && name < label {
			label, values = name, len(all)
		}
	}
	return label, values
}

// errored counts a sample that the engine did not take. It returns an error that is not the sample's own fault.
func (c *counters) errored(err error) error {
	switch {
	case errors.Is(err, storage.ErrOutOfOrderSample), errors.Is(err, storage.ErrTooOldSample):
		c.outOfOrder.Add(1)
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		c.duplicates.Add(1)
	case errors.Is(err, storage.ErrOutOfBounds):
		c.outOfBounds.Add(1)
	default:
		return err
	}
	return nil
}
