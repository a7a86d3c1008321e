package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"google.golang.org/protobuf/encoding/protowire"
)

// ForwardConfig of a Forwarder.
type ForwardConfig struct {
	// URL that takes remote writes, for example http://prometheus:9090/api/v1/write.
	URL string
	// Headers added to each request, for example Authorization.
	Headers map[string]string
	// Labels added to every series that does not have them.
	Labels map[string]string
	// Batch is the number of samples in one request. Default: 2,000.
	Batch int
	// Queue is the number of batches that wait for each connection; while it is full, the write-ahead log is the queue.
	// Default: 10.
	Queue int
	// Connections that send at once; a series always goes by the same one. Default: 2.
	Connections int
	// Flush is how long a batch may wait to be full. Default: 5 s.
	Flush time.Duration
	// MaxAge of a sample that is still sent. Default: 1 h.
	MaxAge time.Duration
}

// ForwardStatus counts what became of samples.
type ForwardStatus struct {
	URL string `json:"url"`
	// Sent, and Dropped because they were refused or too old.
	Sent, Dropped int64
	// Retries of requests.
	Retries int64
	// Waiting samples, the log aside.
	Waiting int64
	// Error of the last request, empty if it went well.
	Error string
}

// Forwarder sends every sample that is stored to another system, by remote write 1.0, from the time it starts to run. What
// cannot be sent is tried again with growing pauses; meanwhile the write-ahead log, which is kept for two hours at least,
// is the queue. What was not sent when the program ends is not sent later.
type Forwarder struct {
	cfg    ForwardConfig
	store  *Store
	client *http.Client
	lanes  []*lane

	mu     sync.RWMutex
	series map[chunks.HeadSeriesRef]forwarded

	ctx                             context.Context // ends the senders
	sent, dropped, retries, waiting atomic.Int64
	failure                         atomic.Value // string
}

// forwarded is a series of the log: its labels as they are sent.
type forwarded struct {
	labels  []byte // encoded fields of a TimeSeries
	segment int
}

// lane is one connection.
type lane struct {
	mu      sync.Mutex
	pending []pendingSample
	first   time.Time
	full    chan []pendingSample
}

type pendingSample struct {
	labels []byte
	t      int64
	v      float64
	h      []byte // a native histogram, encoded
}

// NewForwarder checks the configuration.
func NewForwarder(store *Store, cfg ForwardConfig) (*Forwarder, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("remote write to %q: want a URL such as http://prometheus:9090/api/v1/write", cfg.URL)
	}
	for _, f := range []struct {
		field *int
		value int
	}{{&cfg.Batch, 2000}, {&cfg.Queue, 10}, {&cfg.Connections, 2}} {
		if *f.field == 0 {
			*f.field = f.value
		}
		if *f.field < 0 {
			return nil, fmt.Errorf("remote write to %s: a negative size", cfg.URL)
		}
	}
	if cfg.Flush <= 0 {
		cfg.Flush = 5 * time.Second
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = time.Hour
	}
	f := &Forwarder{cfg: cfg, store: store, client: &http.Client{Timeout: 30 * time.Second}, series: map[chunks.HeadSeriesRef]forwarded{}}
	for range cfg.Connections {
		f.lanes = append(f.lanes, &lane{full: make(chan []pendingSample, cfg.Queue)})
	}
	return f, nil
}

// Status counts what became of samples.
func (f *Forwarder) Status() ForwardStatus {
	failure, _ := f.failure.Load().(string)
	return ForwardStatus{f.cfg.URL, f.sent.Load(), f.dropped.Load(), f.retries.Load(), f.waiting.Load(), failure}
}

// Forward runs forwarders until ctx ends; what they hold then is sent if the other side takes it within five seconds. It may
// run once for a store.
func (s *Store) Forward(ctx context.Context, all []*Forwarder) error {
	if len(all) == 0 {
		<-ctx.Done()
		return nil
	}
	registry := prometheus.NewRegistry() // the watchers' own metrics are not shown: the forwarders' counts say more
	metrics, reader := wlog.NewWatcherMetrics(registry), wlog.NewLiveReaderMetrics(registry)
	sending, endSending := context.WithCancel(context.WithoutCancel(ctx))
	defer endSending()
	var watchers notifyAll
	var wg sync.WaitGroup
	for _, f := range all {
		f.ctx = sending
		w := wlog.NewWatcher(metrics, reader, s.cfg.Log.With("remote", f.cfg.URL), f.cfg.URL, f, s.cfg.Dir, false, true, false, nil)
		watchers = append(watchers, w)
		for _, l := range f.lanes {
			wg.Go(func() { f.send(l) })
		}
	}
	for _, w := range watchers {
		w.Start()
	}
	s.db.SetWriteNotified(watchers)
	<-ctx.Done()
	s.db.SetWriteNotified(nil)
	late := time.AfterFunc(5*time.Second, endSending)
	defer late.Stop()
	for _, w := range watchers {
		w.Stop()
	}
	for _, f := range all {
		for _, l := range f.lanes {
			l.close(f)
		}
	}
	wg.Wait()
	return nil
}

type notifyAll []*wlog.Watcher

func (all notifyAll) Notify() {
	for _, w := range all {
		w.Notify()
	}
}

// Append implements wlog.WriteTo: it blocks while the queue is full.
func (f *Forwarder) Append(samples []record.RefSample) bool {
	for _, s := range samples {
		f.add(s.Ref, pendingSample{t: s.T, v: s.V})
	}
	return true
}

// AppendHistograms implements wlog.WriteTo.
func (f *Forwarder) AppendHistograms(samples []record.RefHistogramSample) bool {
	for _, s := range samples {
		h := prompb.FromIntHistogram(s.T, s.H)
		f.addHistogram(s.Ref, s.T, &h)
	}
	return true
}

// AppendFloatHistograms implements wlog.WriteTo.
func (f *Forwarder) AppendFloatHistograms(samples []record.RefFloatHistogramSample) bool {
	for _, s := range samples {
		h := prompb.FromFloatHistogram(s.T, s.FH)
		f.addHistogram(s.Ref, s.T, &h)
	}
	return true
}

func (f *Forwarder) addHistogram(ref chunks.HeadSeriesRef, t int64, h *prompb.Histogram) {
	data, err := h.Marshal()
	if err != nil {
		f.dropped.Add(1)
		return
	}
	f.add(ref, pendingSample{t: t, h: data})
}

// AppendExemplars implements wlog.WriteTo; exemplars are not forwarded.
func (f *Forwarder) AppendExemplars([]record.RefExemplar) bool { return true }

// StoreMetadata implements wlog.WriteTo; descriptions are not forwarded.
func (f *Forwarder) StoreMetadata([]record.RefMetadata) {}

// StoreSeries implements wlog.WriteTo.
func (f *Forwarder) StoreSeries(series []record.RefSeries, segment int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, s := range series {
		b.Reset(s.Labels)
		for name, value := range f.cfg.Labels {
			if !s.Labels.Has(name) {
				b.Set(name, value)
			}
		}
		f.series[s.Ref] = forwarded{encodeLabels(b.Labels()), segment}
	}
}

// UpdateSeriesSegment implements wlog.WriteTo.
func (f *Forwarder) UpdateSeriesSegment(series []record.RefSeries, segment int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range series {
		if known, ok := f.series[s.Ref]; ok {
			known.segment = segment
			f.series[s.Ref] = known
		}
	}
}

// SeriesReset implements wlog.WriteTo.
func (f *Forwarder) SeriesReset(segment int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ref, s := range f.series {
		if s.segment < segment {
			delete(f.series, ref)
		}
	}
}

// encodeLabels writes labels as fields of a prometheus.TimeSeries.
func encodeLabels(lset labels.Labels) []byte {
	var out, one []byte
	lset.Range(func(l labels.Label) {
		one = protowire.AppendTag(one[:0], 1, protowire.BytesType)
		one = protowire.AppendString(one, l.Name)
		one = protowire.AppendTag(one, 2, protowire.BytesType)
		one = protowire.AppendString(one, l.Value)
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, one)
	})
	return out
}

// add puts a sample into its lane's batch.
func (f *Forwarder) add(ref chunks.HeadSeriesRef, s pendingSample) {
	f.mu.RLock()
	series, ok := f.series[ref]
	f.mu.RUnlock()
	if !ok {
		f.dropped.Add(1)
		return
	}
	s.labels = series.labels
	l := f.lanes[uint64(ref)%uint64(len(f.lanes))]
	l.mu.Lock()
	if len(l.pending) == 0 {
		l.first = time.Now()
	}
	l.pending = append(l.pending, s)
	var full []pendingSample
	if len(l.pending) >= f.cfg.Batch {
		full, l.pending = l.pending, make([]pendingSample, 0, f.cfg.Batch)
	}
	l.mu.Unlock()
	f.waiting.Add(1)
	if full == nil {
		return
	}
	select {
	case l.full <- full:
	case <-f.ctx.Done():
		f.lost(len(full))
	}
}

func (f *Forwarder) lost(n int) {
	f.dropped.Add(int64(n))
	f.waiting.Add(-int64(n))
}

// close hands over what is left and ends the lane; nothing is added any more.
func (l *lane) close(f *Forwarder) {
	if rest := l.take(0); rest != nil {
		select {
		case l.full <- rest:
		case <-f.ctx.Done():
			f.lost(len(rest))
		}
	}
	close(l.full)
}

// take returns the batch that is being filled if it has waited for long enough.
func (l *lane) take(after time.Duration) (batch []pendingSample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > 0 && time.Since(l.first) >= after {
		batch, l.pending = l.pending, nil
	}
	return batch
}

// send sends a lane's batches one after the other, so that the samples of a series stay in their order, until the lane is
// closed.
func (f *Forwarder) send(l *lane) {
	ticker := time.NewTicker(max(f.cfg.Flush/5, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case batch, ok := <-l.full:
			if !ok {
				return
			}
			f.deliver(batch)
		case <-ticker.C:
			// Nothing that came before may wait in the queue: then that goes first, and this at the next tick.
			if len(l.full) == 0 {
				if batch := l.take(f.cfg.Flush); batch != nil {
					f.deliver(batch)
				}
			}
		}
	}
}

// deliver sends a batch until it is taken, refused, too old, or the end.
func (f *Forwarder) deliver(batch []pendingSample) {
	n := len(batch)
	defer func() { f.waiting.Add(-int64(n)) }()
	pause := 30 * time.Millisecond
	for {
		if batch = f.young(batch); len(batch) == 0 {
			return
		}
		again, err := f.post(encodeBatch(batch))
		switch {
		case err == nil:
			f.sent.Add(int64(len(batch)))
			f.failure.Store("")
			return
		case again < 0:
			f.dropped.Add(int64(len(batch)))
			f.failure.Store(err.Error())
			f.store.cfg.Log.Warn("remote write refused", "url", f.cfg.URL, "samples", len(batch), "error", err)
			return
		}
		f.retries.Add(1)
		f.failure.Store(err.Error())
		// Half of the pause is random, so that several senders do not come together.
		wait := max(again, pause/2+rand.N(pause/2))
		pause = min(2*pause, 5*time.Second)
		timer := time.NewTimer(min(wait, time.Minute))
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			timer.Stop()
			f.dropped.Add(int64(len(batch)))
			return
		}
	}
}

// young returns the samples that are not too old to be sent.
func (f *Forwarder) young(batch []pendingSample) []pendingSample {
	oldest := time.Now().Add(-f.cfg.MaxAge).UnixMilli()
	kept := batch[:0]
	for _, s := range batch {
		if s.t >= oldest {
			kept = append(kept, s)
		}
	}
	f.dropped.Add(int64(len(batch) - len(kept)))
	return kept
}

// encodeBatch writes a WriteRequest, in snappy.
func encodeBatch(batch []pendingSample) []byte {
	var out, one, sample []byte
	for _, s := range batch {
		one = append(one[:0], s.labels...)
		if s.h != nil {
			one = protowire.AppendTag(one, 4, protowire.BytesType)
			one = protowire.AppendBytes(one, s.h)
		} else {
			sample = protowire.AppendTag(sample[:0], 1, protowire.Fixed64Type)
			sample = protowire.AppendFixed64(sample, math.Float64bits(s.v))
			sample = protowire.AppendTag(sample, 2, protowire.VarintType)
			sample = protowire.AppendVarint(sample, uint64(s.t))
			one = protowire.AppendTag(one, 2, protowire.BytesType)
			one = protowire.AppendBytes(one, sample)
		}
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, one)
	}
	return snappy.Encode(nil, out)
}

// post sends one request. again says after how long it is to be tried again at the earliest, negative if it is not.
func (f *Forwarder) post(body []byte) (again time.Duration, err error) {
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	for name, value := range f.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "Banyan")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := f.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	message, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	err = errors.Join(fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(message)), err)
	switch {
	case resp.StatusCode/100 == 2:
		return 0, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode/100 == 5:
		if s, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && s > 0 && s < 3600 {
			again = time.Duration(s) * time.Second
		}
		return again, err
	}
	return -1, err
}
