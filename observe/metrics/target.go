package metrics

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/model/labels"
)

// Target is a page to read.
type Target struct {
	// Job and Instance are labels of every series of the page.
	Job, Instance string
	// URL of the page, http or https.
	URL string
	// Labels further added to every series.
	Labels map[string]string
	// Interval between two readings, and Timeout of one. Defaults: 15 s; 10 s, at most the interval.
	Interval, Timeout time.Duration
	// HonorLabels has the page's own labels win over those of the target.
	HonorLabels bool
}

// check completes a target, or says what is wrong with it.
func (t *Target) check() error {
	if t.Interval == 0 {
		t.Interval = 15 * time.Second
	}
	if t.Timeout == 0 {
		t.Timeout = min(10*time.Second, t.Interval)
	}
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("target %q: want the URL of a page", t.URL)
	case t.Job == "":
		return fmt.Errorf("target %s: no job", t.URL)
	case t.Interval < 100*time.Millisecond || t.Timeout <= 0 || t.Timeout > t.Interval:
		return fmt.Errorf("target %s: interval %v with timeout %v: want at least 100ms, and a timeout within it", t.URL, t.Interval, t.Timeout)
	}
	if t.Instance == "" {
		t.Instance = u.Host
	}
	return nil
}

func (t *Target) lset() labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for name, value := range t.Labels {
		b.Set(name, value)
	}
	b.Set("job", t.Job)
	b.Set("instance", t.Instance)
	return b.Labels()
}

// id tells targets apart: one with another id is another target.
func (t *Target) id() string {
	return t.lset().String() + " " + t.URL + " " + t.Interval.String() + " " + t.Timeout.String() + strconv.FormatBool(t.HonorLabels)
}

// TargetStatus says how it stands with a target.
type TargetStatus struct {
	Target
	// Set are the labels that every series of the target gets.
	Set labels.Labels
	// Health is up, down, or unknown before the first reading.
	Health string
	// Error of the last reading; nil if it went well.
	Error error
	Last  time.Time
	Took  time.Duration
	// Samples on the last page, and how many of them were over a limit.
	Samples, Refused int
}

// reading is one target being read.
type reading struct {
	target Target
	reader *pageReader
	client *http.Client
	log    *slog.Logger
	body   []byte

	mu     sync.Mutex
	status TargetStatus
	cancel context.CancelFunc
	gone   bool // the target is no more, as opposed to the end of the program
}

// own are the names of a target's own figures.
var own = []string{"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
	"scrape_series_added", "scrape_samples_refused"}

// run reads the page at each interval, at an instant within it that depends on the target, so that not all are read at once.
func (r *reading) run(ctx context.Context) {
	h := fnv.New64a()
	io.WriteString(h, r.target.id())
	offset := time.Duration(h.Sum64() % uint64(r.target.Interval))
	now := time.Now()
	first := now.Truncate(r.target.Interval).Add(offset)
	if first.Before(now) {
		first = first.Add(r.target.Interval)
	}
	timer := time.NewTimer(first.Sub(now))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		r.loop(ctx)
	}
	r.mu.Lock()
	gone := r.gone
	r.mu.Unlock()
	if gone {
		if err := r.reader.end(context.WithoutCancel(ctx), time.Now().UnixMilli(), own...); err != nil {
			r.log.Error("ending a target", "error", err)
		}
	}
}

// tolerance within which the time of a reading is taken to be the intended one: even steps take less room.
const tolerance = 2 * time.Millisecond

func (r *reading) loop(ctx context.Context) {
	ticker := time.NewTicker(r.target.Interval)
	defer ticker.Stop()
	intended := time.Now()
	for {
		at := time.Now()
		for at.Sub(intended) >= r.target.Interval {
			intended = intended.Add(r.target.Interval)
		}
		if d := at.Sub(intended); d >= -tolerance && d <= tolerance {
			at = intended
		} else if d < -r.target.Interval || d > r.target.Interval { // the clock was set
			intended = at
		}
		r.once(ctx, at)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			intended = intended.Add(r.target.Interval)
		}
	}
}

// once reads the page and stores it with the time at.
func (r *reading) once(ctx context.Context, at time.Time) {
	start := time.Now()
	page, contentType, fetchErr := r.fetch(ctx)
	if ctx.Err() != nil {
		return
	}
	if fetchErr != nil {
		page = nil
	}
	var took time.Duration
	res, err := r.reader.read(ctx, page, contentType, at.UnixMilli(), func(res pageResult, err error) []report {
		took = time.Since(start)
		up := 1.0
		if err != nil || fetchErr != nil {
			up = 0
		}
		return []report{{own[0], up}, {own[1], took.Seconds()}, {own[2], float64(res.samples)}, {own[3], float64(res.samples - res.refused)},
			{own[4], float64(res.added)}, {own[5], float64(res.refused)}}
	})
	err = errors.Join(fetchErr, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.status.Health
	r.status.Error, r.status.Last, r.status.Took, r.status.Samples, r.status.Refused = err, at, took, res.samples, res.refused
	if r.status.Health = "up"; err != nil {
		r.status.Health = "down"
	}
	if err != nil && before != "down" {
		r.log.Warn("reading metrics", "url", r.target.URL, "error", err)
	}
}

const accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

// fetch gets the page. Its body is good until the next call.
func (r *reading) fetch(ctx context.Context) (page []byte, contentType string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.target.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.target.URL, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", "Banyan")
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(r.target.Timeout.Seconds(), 'f', -1, 64))
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("the target answers %s", resp.Status)
	}
	var body io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, "", fmt.Errorf("unpacking the page: %w", err)
		}
		defer z.Close()
		body = z
	}
	r.body, err = readAll(r.body[:0], body, r.reader.origin.store.cfg.Limits.Body)
	if err != nil {
		return nil, "", fmt.Errorf("reading the page: %w", err)
	}
	return r.body, resp.Header.Get("Content-Type"), nil
}

// errTooLarge says that more came than is taken.
var errTooLarge = errors.New("too large")

// readAll reads up to limit bytes into buf; more is an error.
func readAll(buf []byte, from io.Reader, limit int) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return buf[:0], fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return buf[:0], err
		}
	}
}
