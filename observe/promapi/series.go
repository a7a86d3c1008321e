package promapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// choice is what a request for labels or series chooses.
type choice struct {
	ctx        context.Context
	querier    storage.Querier
	sets       []matchers
	start, end int64 // in milliseconds since 1970
	close      func()
}

func (a *API) choose(r *http.Request) (*choice, error) {
	start, end, err := span(r)
	if err != nil {
		return nil, err
	}
	c := &choice{start: start.UnixMilli(), end: end.UnixMilli()}
	if c.sets, err = a.selectors(r); err != nil {
		return nil, err
	}
	if c.querier, err = a.cfg.Store.Querier(c.start, c.end); err != nil {
		return nil, &fault{"internal", http.StatusInternalServerError, err}
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	c.ctx, c.close = ctx, func() { _ = c.querier.Close(); cancel() }
	return c, nil
}

// lookUp runs f over the selectors of a request that looks for labels, and sorts what it found.
func (a *API) lookUp(r *http.Request, f func(ctx context.Context, q storage.Querier, m matchers) ([]string, annotations.Annotations, error)) (any, annotations.Annotations, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.choose(r)
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	sets := c.sets
	if len(sets) == 0 {
		sets = []matchers{nil}
	}
	found := map[string]struct{}{}
	var warnings annotations.Annotations
	for _, set := range sets {
		names, w, err := f(c.ctx, c.querier, set)
		if err != nil {
			return nil, warnings, err
		}
		warnings.Merge(w)
		for _, name := range names {
			found[strings.Clone(name)] = struct{}{} // the querier's own strings end with it
		}
	}
	all := slices.Sorted(maps.Keys(found))
	if limit > 0 && len(all) > limit {
		all = all[:limit]
		warnings.Add(errTruncated)
	}
	return all, warnings, nil
}

func (a *API) labelNames(r *http.Request) (any, annotations.Annotations, error) {
	return a.lookUp(r, func(ctx context.Context, q storage.Querier, m matchers) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, nil, m...)
	})
}

func (a *API) labelValues(r *http.Request) (any, annotations.Annotations, error) {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return nil, nil, badData("invalid label name: %q", name)
	}
	return a.lookUp(r, func(ctx context.Context, q storage.Querier, m matchers) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, name, nil, m...)
	})
}

// maxSeries of one answer to series; more are cut off with a warning.
const maxSeries = 200_000

func (a *API) series(r *http.Request) (any, annotations.Annotations, error) {
	if len(r.Form["match[]"]) == 0 {
		return nil, nil, badData("no match[] parameter provided")
	}
	limit, err := limitOf(r)
	if err != nil {
		return nil, nil, err
	}
	if limit == 0 || limit > maxSeries {
		limit = maxSeries
	}
	c, err := a.choose(r)
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	// 'series' is a word of the engine for those who want no samples.
	hints := &storage.SelectHints{Start: c.start, End: c.end, Func: "series"}
	var parts []storage.SeriesSet
	for _, set := range c.sets {
		parts = append(parts, c.querier.Select(c.ctx, true, hints, set...))
	}
	merged := storage.NewMergeSeriesSet(parts, 0, storage.ChainedSeriesMerge)
	found := []labels.Labels{}
	var warnings annotations.Annotations
	for merged.Next() {
		if len(found) == limit {
			warnings.Add(errTruncated)
			break
		}
		if len(found)%1024 == 0 && c.ctx.Err() != nil {
			return nil, nil, c.ctx.Err()
		}
		found = append(found, merged.At().Labels())
	}
	if err := merged.Err(); err != nil {
		return nil, nil, err
	}
	warnings.Merge(merged.Warnings())
	// Labels of blocks are good as long as the querier is: they are written here.
	data, err := appendData(nil, found)
	return rawJSON(data), warnings, err
}

func (a *API) metadata(r *http.Request) (any, annotations.Annotations, error) {
	limit := -1
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, nil, badData("limit must be a number")
		}
		limit = n
	}
	out := map[string][]metadata.Metadata{}
	all := a.cfg.Store.Metadata(r.FormValue("metric"))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if limit >= 0 && len(out) >= limit {
			break
		}
		out[name] = []metadata.Metadata{all[name]}
	}
	return out, nil, nil
}
