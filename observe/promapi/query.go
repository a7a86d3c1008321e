package promapi

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"
)

// result of a query.
type result struct {
	value parser.Value
	stats any
}

// bounded gives a query's context its time-out: the request's own, at most the configured.
func (a *API) bounded(r *http.Request) (context.Context, context.CancelFunc, error) {
	timeout := a.cfg.Timeout
	if r.FormValue("timeout") != "" {
		d, err := duration(r, "timeout")
		if err != nil {
			return nil, nil, err
		}
		if d > 0 {
			timeout = min(timeout, d)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

func queryOptions(r *http.Request) (promql.QueryOpts, error) {
	var lookback time.Duration
	if r.FormValue("lookback_delta") != "" {
		d, err := duration(r, "lookback_delta")
		if err != nil {
			return nil, err
		}
		lookback = d
	}
	return promql.NewPrometheusQueryOpts(r.FormValue("stats") == "all", lookback, nil), nil
}

func (a *API) query(r *http.Request) (any, annotations.Annotations, error) {
	at, err := instant(r, "time", time.Now())
	if err != nil {
		return nil, nil, err
	}
	return a.run(r, func(ctx context.Context, opts promql.QueryOpts) (promql.Query, error) {
		return a.cfg.Engine.NewInstantQuery(ctx, a.cfg.Store, opts, r.FormValue("query"), at)
	})
}

func (a *API) queryRange(r *http.Request) (any, annotations.Annotations, error) {
	start, err := instant(r, "start", time.Time{})
	if err != nil {
		return nil, nil, err
	}
	end, err := instant(r, "end", time.Time{})
	if err != nil {
		return nil, nil, err
	}
	step, err := duration(r, "step")
	switch {
	case err != nil:
		return nil, nil, err
	case end.Before(start):
		return nil, nil, badData("invalid parameter %q: end timestamp must not be before start time", "end")
	case step <= 0:
		return nil, nil, badData("invalid parameter %q: zero or negative query resolution step widths are not accepted. Try a positive integer", "step")
	case end.Sub(start)/step > maxPoints:
		return nil, nil, badData("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")
	}
	return a.run(r, func(ctx context.Context, opts promql.QueryOpts) (promql.Query, error) {
		return a.cfg.Engine.NewRangeQuery(ctx, a.cfg.Store, opts, r.FormValue("query"), start, end, step)
	})
}

// run builds a query and carries it out.
func (a *API) run(r *http.Request, build func(context.Context, promql.QueryOpts) (promql.Query, error)) (any, annotations.Annotations, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, nil, err
	}
	opts, err := queryOptions(r)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel, err := a.bounded(r)
	if err != nil {
		return nil, nil, err
	}
	defer cancel()
	leave, err := a.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	q, err := build(ctx, opts)
	if err != nil {
		return nil, nil, badData("invalid parameter %q: %w", "query", err)
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Warnings, res.Err
	}
	warnings := res.Warnings
	value, cut := truncated(res.Value, limit)
	if cut {
		warnings = warnings.Add(errTruncated)
	}
	out := result{value: value}
	if s := r.FormValue("stats"); s != "" {
		out.stats = stats.NewQueryStats(q.Stats())
	}
	// The points go back to a pool when the query is closed: they are written before.
	data, err := appendResult(nil, out)
	return rawJSON(data), warnings, err
}

// truncated bounds the number of series.
func truncated(v parser.Value, limit int) (parser.Value, bool) {
	if limit <= 0 {
		return v, false
	}
	switch v := v.(type) {
	case promql.Matrix:
		if len(v) > limit {
			return v[:limit], true
		}
	case promql.Vector:
		if len(v) > limit {
			return v[:limit], true
		}
	}
	return v, false
}

// format writes a query in the usual way.
func (a *API) format(r *http.Request) (any, annotations.Annotations, error) {
	e, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return nil, nil, badData("invalid parameter %q: %w", "query", err)
	}
	return e.Pretty(0), nil, nil
}

func (a *API) exemplars(r *http.Request) (any, annotations.Annotations, error) {
	start, end, err := span(r)
	if err != nil {
		return nil, nil, err
	}
	if end.Before(start) {
		return nil, nil, badData("invalid parameter %q: end timestamp must not be before start timestamp", "end")
	}
	e, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return nil, nil, badData("invalid parameter %q: %w", "query", err)
	}
	selectors := parser.ExtractSelectors(e)
	if len(selectors) == 0 {
		return rawJSON("[]"), nil, nil
	}
	q, err := a.cfg.Store.ExemplarQuerier(r.Context())
	if err != nil {
		return nil, nil, &fault{"execution", http.StatusUnprocessableEntity, err}
	}
	all, err := q.Select(start.UnixMilli(), end.UnixMilli(), selectors...)
	if err != nil {
		return nil, nil, &fault{"execution", http.StatusUnprocessableEntity, err}
	}
	return all, nil, nil
}
