package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/bus/cloudevent"
	"github.com/banyanhq/banyan/topology"
)

const (
	// maxFilterText bounds a filter in a request.
	maxFilterText = 8 << 10
	// filterPatience bounds how long events are left out before an answer says that there was none.
	filterPatience = 10 * time.Second
)

// filterOf reads the filter that a request has, if any.
func filterOf(r *http.Request) (*topology.EventFilter, error) {
	text := r.URL.Query().Get("filter")
	if text == "" {
		return nil, nil
	}
	if len(text) > maxFilterText {
		return nil, fmt.Errorf("%w: filter: it has more than %d bytes", errBadRequest, maxFilterText)
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("%w: filter: %w", errBadRequest, err)
	}
	f, err := topology.ParseEventFilter(v)
	if err != nil {
		return nil, fmt.Errorf("%w: filter: %w", errBadRequest, err)
	}
	return f, nil
}

func wants(f *topology.EventFilter, e event) bool {
	return f.Match(cloudevent.Attributes(e.headers, e.body))
}

// filteredGroup is a consumer group that gets some events only. The others are acknowledged for it.
type filteredGroup struct {
	eventGroup
	filter *topology.EventFilter
}

func (g filteredGroup) fetch(ctx context.Context, most int, wait time.Duration) ([]event, error) {
	return fetchFiltered(ctx, g.eventGroup.fetch, most, wait, g.keep)
}

func (g filteredGroup) keep(e event) bool {
	if wants(g.filter, e) {
		return true
	}
	_ = e.settle(settlement{verb: "ack"}) // one that is lost brings the event again, to be left out again
	return false
}

func (g filteredGroup) each(ctx context.Context, most int, f func(event)) error {
	return g.eventGroup.each(ctx, most, func(e event) {
		if g.keep(e) {
			f(e)
		}
	})
}

// fetchFiltered fetches until there is an event to keep, or none is left and the time to wait is over.
func fetchFiltered(ctx context.Context, fetch func(context.Context, int, time.Duration) ([]event, error), most int, wait time.Duration, keep func(event) bool) ([]event, error) {
	kept := []event{}
	for begun := time.Now(); ; {
		events, err := fetch(ctx, most, max(0, wait-time.Since(begun)))
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if keep(e) {
				kept = append(kept, e)
			}
		}
		if len(kept) > 0 || len(events) == 0 || ctx.Err() != nil || time.Since(begun) > max(wait, filterPatience) {
			return kept, nil
		}
	}
}

// filteredReader leaves events out.
type filteredReader struct {
	eventReader
	filter *topology.EventFilter
	behind uint64 // the offset behind the last event that was read, of engines whose events say where to go on
}

func (r *filteredReader) fetch(ctx context.Context, most int, wait time.Duration) ([]event, error) {
	return fetchFiltered(ctx, r.eventReader.fetch, most, wait, func(e event) bool {
		r.behind = e.offset + 1
		return wants(r.filter, e)
	})
}

func (r *filteredReader) next() any {
	if at := r.eventReader.next(); at != nil || r.behind == 0 {
		return at
	}
	return r.behind
}

func (r *filteredReader) stream(ctx context.Context, each func(event) bool, idle func()) {
	r.eventReader.stream(ctx, func(e event) bool { return !wants(r.filter, e) || each(e) }, idle)
}
