package logs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Handler answers, for the command line and the page:
//
//	GET PREFIX/search?query=&from=&to=&limit=&order=asc|desc&after=   entries, as JSON
//	GET PREFIX/histogram?query=&from=&to=&step=&by=                   bars, as JSON
//	GET PREFIX/follow?query=                                          entries as they come, a JSON object a line
//
// Instants are RFC 3339. Errors are {"error": "..."} with a status of 400 or 500.
func (l *Logs) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"/search", l.serveSearch)
	mux.HandleFunc("GET "+prefix+"/histogram", l.serveHistogram)
	mux.HandleFunc("GET "+prefix+"/follow", l.serveFollow)
	return mux
}

// Answer of a search.
type Answer struct {
	Entries []Entry `json:"entries"`
	// Blocks of the store that the time touches, and how many of them were skipped by their index.
	Blocks  int64 `json:"blocks"`
	Skipped int64 `json:"skipped"`
	// Damaged blocks could not be read: entries may be missing.
	Damaged int64 `json:"damaged,omitempty"`
}

func searchOf(r *http.Request) (s Search, err error) {
	v := r.URL.Query()
	if s.Filter, err = Query(v.Get("query")); err != nil {
		return s, err
	}
	if s.From, err = instant(v.Get("from")); err != nil {
		return s, err
	}
	if s.To, err = instant(v.Get("to")); err != nil {
		return s, err
	}
	if text := v.Get("limit"); text != "" {
		if s.Limit, err = strconv.Atoi(text); err != nil || s.Limit < 1 {
			return s, errors.New("limit: a number above 0 is wanted")
		}
	}
	s.Ascending, s.After = v.Get("order") == "asc", v.Get("after")
	return s, nil
}

func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

func (l *Logs) serveSearch(w http.ResponseWriter, r *http.Request) {
	s, err := searchOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	entries, stats, err := l.Search(r.Context(), s)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	if entries == nil {
		entries = []Entry{}
	}
	reply(w, Answer{entries, stats.Blocks, stats.Skipped, stats.Damaged})
}

func (l *Logs) serveHistogram(w http.ResponseWriter, r *http.Request) {
	s, err := searchOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	step, err := time.ParseDuration(r.URL.Query().Get("step"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	bars, err := l.Histogram(r.Context(), s, step, r.URL.Query().Get("by"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	reply(w, bars)
}

func (l *Logs) serveFollow(w http.ResponseWriter, r *http.Request) {
	s, err := searchOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	_ = flush.Flush() // so that the client knows that it follows
	lines := json.NewEncoder(w)
	_ = l.Follow(r.Context(), s.Filter, func(e Entry) error { // ends with the client
		if err := lines.Encode(e); err != nil {
			return err
		}
		return flush.Flush()
	})
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}
