package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
)

var staleNaN = math.Float64frombits(value.StaleNaN)

// pageResult counts what was on a page.
type pageResult struct {
	samples int // on the page
	stored  int
	added   int // series that were not there before
	refused int // samples over a limit, or with labels that are not taken
}

// pageReader appends the pages of one target: it remembers the series of the last page in their order, so that the next
// one, which is nearly always in the same order, needs neither a search nor an allocation for a sample.
type pageReader struct {
	origin  *origin
	target  labels.Labels // added to every series
	honor   bool
	order   []*entry
	was     int // entries of the last page that go stale when they are missing
	symbols *labels.SymbolTable
	builder *labels.Builder

	// of the page at hand
	next      int // where in order the next sample is expected
	lset      labels.Labels
	exemplars []exemplar.Exemplar
}

func newPageReader(o *origin, target labels.Labels, honor bool) *pageReader {
	return &pageReader{origin: o, target: target, honor: honor, symbols: labels.NewSymbolTable(), builder: labels.NewBuilder(labels.EmptyLabels())}
}

// report is a sample that the reader of a page adds of its own.
type report struct {
	name  string
	value float64
}

// read appends one page with samples of time ts, and marks as stale what the page before had and this one does not. A page
// that cannot be parsed leaves nothing behind but stale series. reports are added whatever the page was.
func (p *pageReader) read(ctx context.Context, page []byte, contentType string, ts int64, reports func(pageResult, error) []report) (pageResult, error) {
	p.origin.mu.Lock()
	defer p.origin.mu.Unlock()
	app := p.origin.store.db.AppenderV2(ctx)
	r, err := p.append(app, page, contentType, ts)
	if err != nil {
		app.Rollback()
		app = p.origin.store.db.AppenderV2(ctx)
		p.next, r.stored, r.added = 0, 0, 0
		p.origin.round++ // nothing was seen
		p.order = p.order[:0]
	}
	stale := p.expire(app, ts, err == nil)
	for _, rep := range reports(r, err) {
		p.report(app, rep, ts)
	}
	if e := app.Commit(); e != nil {
		return r, errors.Join(err, fmt.Errorf("storing samples: %w", e))
	}
	p.origin.store.counts.samples.Add(int64(r.stored + stale))
	return r, err
}

// append parses a page.
func (p *pageReader) append(app storage.AppenderV2, page []byte, contentType string, ts int64) (r pageResult, err error) {
	p.origin.round++
	p.next = 0
	if len(page) == 0 {
		return r, nil
	}
	parser, err := textparse.New(page, contentType, p.symbols, textparse.ParserOptions{
		FallbackContentType: "text/plain", OpenMetricsSkipSTSeries: true,
	})
	if parser == nil {
		return r, fmt.Errorf("format %q: %w", contentType, err)
	}
	for {
		kind, err := parser.Next()
		switch {
		case errors.Is(err, io.EOF):
			p.order = p.order[:p.next]
			return r, nil
		case err != nil:
			return r, fmt.Errorf("parsing the page: %w", err)
		}
		switch kind {
		case textparse.EntryType:
			p.origin.store.metadata.setType(parser.Type())
		case textparse.EntryHelp:
			p.origin.store.metadata.setHelp(parser.Help())
		case textparse.EntryUnit:
			p.origin.store.metadata.setUnit(parser.Unit())
		case textparse.EntrySeries, textparse.EntryHistogram:
			if err := p.sample(app, parser, kind, ts, &r); err != nil {
				return r, err
			}
		}
	}
}

// sample appends one sample of the page. An error ends the page: the engine is broken.
func (p *pageReader) sample(app storage.AppenderV2, parser textparse.Parser, kind textparse.Entry, ts int64, r *pageResult) error {
	var (
		text []byte
		at   *int64
		v    float64
		h    *histogram.Histogram
		fh   *histogram.FloatHistogram
	)
	if kind == textparse.EntryHistogram {
		text, at, h, fh = parser.Histogram()
	} else {
		text, at, v = parser.Series()
	}
	r.samples++
	if at != nil {
		ts = *at
	}
	e, fresh := p.find(parser, text)
	if e == nil {
		r.refused++
		return nil
	}
	if !fresh && e.seen == p.origin.round && at == nil {
		p.origin.store.counts.duplicates.Add(1)
		return nil
	}
	ref, err := app.Append(e.ref, e.lset, 0, ts, v, h, fh, storage.AOptions{Exemplars: p.exemplarsOf(parser, ts)})
	if err != nil && !errors.Is(err, &storage.AppendPartialError{}) {
		if fresh {
			p.origin.drop(e) // it was never stored, so it must never go stale
		} else {
			e.seen = p.origin.round
		}
		return p.origin.store.counts.errored(err)
	}
	p.countExemplars(err)
	e.ref, e.seen, e.timed = ref, p.origin.round, at != nil
	p.place(e)
	r.stored++
	if fresh {
		r.added++
	}
	return nil
}

// find returns the entry of a sample's series, a new one if need be, nil if it is not taken.
func (p *pageReader) find(parser textparse.Parser, text []byte) (e *entry, fresh bool) {
	k := p.origin.seeds.key(text)
	if p.next < len(p.order) && p.order[p.next].key == k {
		return p.order[p.next], false
	}
	if e := p.origin.entries[k]; e != nil {
		return e, false
	}
	parser.Labels(&p.lset)
	e, err := p.origin.admit(k, p.label(p.lset))
	if err != nil {
		if !errors.Is(err, errOverLimit) {
			p.origin.store.cfg.Log.Debug("series not taken", "origin", p.origin.name, "error", err)
		}
		return nil, false
	}
	return e, true
}

// place puts an entry where it stood on this page.
func (p *pageReader) place(e *entry) {
	switch {
	case p.next < len(p.order):
		p.order[p.next] = e
	default:
		p.order = append(p.order, e)
	}
	p.next++
}

// label adds the target's labels. A series' own label of the same name is kept as exported_NAME, or wins if the target is
// honored.
func (p *pageReader) label(lset labels.Labels) labels.Labels {
	b := p.builder
	b.Reset(lset)
	p.target.Range(func(l labels.Label) {
		own := lset.Get(l.Name)
		switch {
		case own == "":
			b.Set(l.Name, l.Value)
		case !p.honor:
			name := "exported_" + l.Name
			for lset.Has(name) || p.target.Has(name) {
				name = "exported_" + name
			}
			b.Set(name, own)
			b.Set(l.Name, l.Value)
		}
	})
	return b.Labels()
}

// exemplarsOf collects the exemplars of the sample at hand.
func (p *pageReader) exemplarsOf(parser textparse.Parser, ts int64) []exemplar.Exemplar {
	p.exemplars = p.exemplars[:0]
	var e exemplar.Exemplar
	for parser.Exemplar(&e) {
		if !e.HasTs {
			e.Ts = ts
		}
		p.exemplars = append(p.exemplars, e)
		e = exemplar.Exemplar{}
	}
	if len(p.exemplars) > 1 {
		slices.SortFunc(p.exemplars, exemplar.Compare)
	}
	return p.exemplars
}

func (p *pageReader) countExemplars(err error) {
	n := int64(len(p.exemplars))
	if n == 0 {
		return
	}
	var partial *storage.AppendPartialError
	if errors.As(err, &partial) {
		failed := int64(len(partial.ExemplarErrors))
		p.origin.store.counts.exemplarErrors.Add(failed)
		n -= failed
	}
	p.origin.store.counts.exemplars.Add(n)
}

// expire marks the series as stale that this page does not have, and forgets them. In the usual case, where the page has
// all that the last one had, it looks at none.
func (p *pageReader) expire(app storage.AppenderV2, ts int64, whole bool) (stale int) {
	if whole && p.next == len(p.origin.entries) {
		return 0
	}
	for _, e := range p.origin.entries {
		if e.seen == p.origin.round {
			continue
		}
		if !e.timed {
			// A series that cannot be ended (the clock was set back) ends by itself after five minutes.
			if _, err := app.Append(e.ref, e.lset, 0, ts, staleNaN, nil, nil, storage.AOptions{}); err == nil {
				stale++
			}
		}
		p.origin.drop(e)
	}
	return stale
}

// end marks all series as stale: the target is gone.
func (p *pageReader) end(ctx context.Context, ts int64, names ...string) error {
	p.origin.mu.Lock()
	defer p.origin.mu.Unlock()
	app := p.origin.store.db.AppenderV2(ctx)
	p.origin.round++
	p.order = nil
	p.expire(app, ts, false)
	for _, name := range names {
		p.report(app, report{name, staleNaN}, ts)
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("ending the series of %s: %w", p.origin.name, err)
	}
	return nil
}

// report appends a sample of the target itself. These do not count as its series.
func (p *pageReader) report(app storage.AppenderV2, r report, ts int64) {
	b := p.builder
	b.Reset(p.target)
	b.Set(labels.MetricName, r.name)
	if _, err := app.Append(0, b.Labels(), 0, ts, r.value, nil, nil, storage.AOptions{}); err != nil {
		if err = p.origin.store.counts.errored(err); err != nil {
			p.origin.store.cfg.Log.Error("storing a target's own figures", "target", p.origin.name, "error", err)
		}
	}
}

// sanitizeOrigin makes a name of an origin from what a stranger says of itself.
func sanitizeOrigin(name string) string {
	name = strings.ToValidUTF8(name, "?")
	return name[:min(len(name), 128)]
}
