package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of a Writer.
const (
	defaultInterval = 5 * time.Second
	batchSamples    = 1000 // in one message
	maxQueue        = 100  // messages that wait
	maxAttempts     = 8    // of one message
	messageTime     = 10 * time.Second
	flushTime       = 10 * time.Second // for all that waits at the end
	firstDelay      = 500 * time.Millisecond
	maxDelay        = 5 * time.Second
)

// Config says where to send what. Zero fields take their defaults.
type Config struct {
	// URL of the receiver, such as http://127.0.0.1:9090/api/v1/write. A user in it is sent as basic authentication.
	URL string
	// Header is added to each message.
	Header http.Header
	// Labels are added to each series that has none of that name.
	Labels map[string]string
	// Interval between two looks. Default: 5s.
	Interval time.Duration
	// Transport of the messages. Default: http.DefaultTransport.
	Transport http.RoundTripper
}

// Report is what became of the samples.
type Report struct {
	Delivered, Lost int64
	// Trouble is what went wrong last, nil where nothing did. It may have been overcome.
	Trouble error
}

// Writer sends what a gatherer has.
type Writer struct {
	cfg    Config
	from   prometheus.Gatherer
	labels []label
	url    string
	user   *url.Userinfo
	client *http.Client

	mu     sync.Mutex
	queue  []message
	more   chan struct{} // of capacity 1: something waits
	report Report
}

// message is an encoded request.
type message struct {
	body    []byte
	samples int64
}

// New returns a writer of what from has. The address is checked, not tried.
func New(cfg Config, from prometheus.Gatherer) (*Writer, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("remote write: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("remote write: address %.200q: want http://HOST:PORT/PATH, or https", u.Redacted())
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("remote write: interval %s is negative", cfg.Interval)
	}
	w := &Writer{cfg: cfg, from: from, user: u.User, more: make(chan struct{}, 1)}
	u.User = nil
	w.url = u.String()
	for name, value := range cfg.Labels {
		w.labels = append(w.labels, label{name, value})
	}
	w.client = &http.Client{Transport: cfg.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return w, nil
}

// Run gathers and sends until ctx is done. Then it gathers once more and gives what waits ten seconds to be delivered.
func (w *Writer) Run(ctx context.Context) {
	sending, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	done := make(chan struct{}) // closed: nothing more is gathered
	var wg sync.WaitGroup
	wg.Go(func() { w.send(sending, done) })
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			w.gather()
		case <-ctx.Done():
		}
	}
	w.gather()
	close(done)
	flush := time.AfterFunc(flushTime, end)
	defer flush.Stop()
	wg.Wait()
}

// Report says what became of the samples so far; after Run, of all.
func (w *Writer) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report
}

// gather puts what there is now into the queue.
func (w *Writer) gather() {
	families, err := w.from.Gather() // what it could gather is there in spite of an error
	all := samples(families, w.labels)
	at := time.Now().UnixMilli()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.report.Trouble = fmt.Errorf("remote write: gathering: %w", err)
	}
	for len(all) > 0 {
		n := min(len(all), batchSamples)
		if len(w.queue) == maxQueue {
			w.report.Lost += w.queue[0].samples
			w.queue = w.queue[1:]
		}
		w.queue = append(w.queue, message{snappy.Encode(nil, encode(all[:n], at)), int64(n)})
		all = all[n:]
	}
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// take returns the message that has waited longest.
func (w *Writer) take() (m message, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return m, false
	}
	m, w.queue = w.queue[0], w.queue[1:]
	return m, true
}

// send delivers what waits, until done is closed and nothing waits, or ctx is done.
func (w *Writer) send(ctx context.Context, done <-chan struct{}) {
	for {
		m, ok := w.take()
		if ok {
			err := w.deliver(ctx, m)
			w.mu.Lock()
			if err == nil {
				w.report.Delivered += m.samples
			} else {
				w.report.Lost += m.samples
				if ctx.Err() == nil || w.report.Trouble == nil { // what came before says more than that time is up
					w.report.Trouble = err
				}
			}
			w.mu.Unlock()
			continue
		}
		select {
		case <-w.more:
			continue
		case <-done:
		}
		w.mu.Lock()
		left := len(w.queue)
		w.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// refused is an answer other than success.
type refused struct {
	status int
	text   string
	after  time.Duration // that the receiver asks for
}

func (r *refused) Error() string {
	return fmt.Sprintf("remote write: status %d: %s", r.status, r.text)
}

// again says that the message may be taken later (5xx and 429, by the specification).
func (r *refused) again() bool { return r.status >= 500 || r.status == http.StatusTooManyRequests }

// deliver tries until the message is taken, refused for good, or was tried often enough.
func (w *Writer) deliver(ctx context.Context, m message) error {
	delay := firstDelay
	for attempt := 1; ; attempt++ {
		err := w.post(ctx, m.body)
		if err == nil {
			return nil
		}
		wait := delay
		var no *refused
		if errors.As(err, &no) {
			if !no.again() {
				return err
			}
			wait = max(wait, min(no.after, maxDelay))
		}
		if attempt == maxAttempts || ctx.Err() != nil {
			return err
		}
		w.mu.Lock()
		w.report.Trouble = err
		w.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		delay = min(2*delay, maxDelay)
	}
}

func (w *Writer) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, messageTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("remote write: %w", err)
	}
	for name, values := range w.cfg.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	req.Header.Set("User-Agent", "banyan-load")
	if w.user != nil {
		password, _ := w.user.Password()
		req.SetBasicAuth(w.user.Username(), password)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("remote write: %w", err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return &refused{resp.StatusCode, strings.TrimSpace(string(text)), time.Duration(max(seconds, 0)) * time.Second}
}
