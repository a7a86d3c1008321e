package control

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/banyanhq/banyan/store"
)

// TableWindow says what was asked of the embedded tables between two instants.
type TableWindow struct {
	Seconds float64      `json:"seconds"`
	Tables  []TableAsked `json:"tables"`
	// Forces of the log that all share, and the time that they took.
	Forces    int64         `json:"forces"`
	ForceTime time.Duration `json:"force_time_ns"`
}

// TableAsked is what was asked of one table, and the time that it took.
type TableAsked struct {
	Table     string        `json:"table"`
	Reads     int64         `json:"reads"`
	Writes    int64         `json:"writes"`
	ReadTime  time.Duration `json:"read_time_ns"`
	WriteTime time.Duration `json:"write_time_ns"`
	// HotKey is the partition key that is asked for most of late, with its share of the operations.
	HotKey   string  `json:"hot_key,omitempty"`
	HotShare float64 `json:"hot_share,omitempty"`
}

// tableHandlers add what concerns tables.
func tableHandlers(mux *http.ServeMux, sys System) {
	mux.HandleFunc("GET /v1/tables", func(w http.ResponseWriter, r *http.Request) { answer(w, sys.TableUsage(), nil) })
	mux.HandleFunc("GET /v1/tables/window", spanned(func(from, to time.Time) (any, error) { return sys.TableWindow(from, to), nil }))
}

// TableUsage says what was asked of the embedded tables, and what that took; nil where there are none.
func (c *Client) TableUsage(ctx context.Context) (u *store.Usage, err error) {
	return u, c.get(ctx, "tables", nil, &u)
}

// TableWindow says what was asked of the embedded tables between two instants, as far as it is kept; nil where nothing is.
func (c *Client) TableWindow(ctx context.Context, from, to time.Time) (w *TableWindow, err error) {
	return w, c.get(ctx, "tables/window", url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}, &w)
}
