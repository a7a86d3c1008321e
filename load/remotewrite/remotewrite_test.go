package remotewrite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/banyanhq/banyan/internal/loopback"
)

// series is what a receiver has understood.
type series struct {
	labels string // name=value, with commas
	value  float64
	at     int64
}

// decode reads a WriteRequest, apart from encode.
func decode(body []byte) (out []series, err error) {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, err
	}
	each := func(raw []byte, do func(field protowire.Number, value []byte, number uint64)) {
		for len(raw) > 0 && err == nil {
			field, kind, n := protowire.ConsumeTag(raw)
			if n < 0 {
				err = protowire.ParseError(n)
				return
			}
			raw = raw[n:]
			var value []byte
			var number uint64
			switch kind {
			case protowire.BytesType:
				value, n = protowire.ConsumeBytes(raw)
			case protowire.Fixed64Type:
				number, n = protowire.ConsumeFixed64(raw)
			case protowire.VarintType:
				number, n = protowire.ConsumeVarint(raw)
			default:
				n = -1
			}
			if n < 0 {
				err = fmt.Errorf("field %d of type %d", field, kind)
				return
			}
			raw = raw[n:]
			do(field, value, number)
		}
	}
	each(raw, func(field protowire.Number, one []byte, _ uint64) {
		if field != 1 {
			err = fmt.Errorf("field %d of the request", field)
			return
		}
		var s series
		var names []string
		each(one, func(field protowire.Number, inner []byte, _ uint64) {
			switch field {
			case 1:
				var name, value string
				each(inner, func(field protowire.Number, text []byte, _ uint64) {
					if field == 1 {
						name = string(text)
					} else {
						value = string(text)
					}
				})
				names = append(names, name)
				if s.labels != "" {
					s.labels += ","
				}
				s.labels += name + "=" + value
			case 2:
				each(inner, func(field protowire.Number, _ []byte, number uint64) {
					if field == 1 {
						s.value = math.Float64frombits(number)
					} else {
						s.at = int64(number)
					}
				})
			}
		})
		if !slices.IsSorted(names) {
			err = fmt.Errorf("labels out of order: %s", s.labels)
		}
		out = append(out, s)
	})
	return out, err
}

// receiver answers with what answer says, and keeps what it took.
type receiver struct {
	mu     sync.Mutex
	answer func(attempt int) (*http.Response, error)
	tries  []time.Time
	taken  []series
	last   *http.Request
	err    error
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = req
	r.tries = append(r.tries, time.Now())
	if r.answer != nil {
		if resp, err := r.answer(len(r.tries)); err != nil || resp != nil {
			return resp, err
		}
	}
	all, err := decode(body)
	if err != nil {
		r.err = err
	}
	r.taken = append(r.taken, all...)
	return status(204, ""), nil
}

func status(code int, text string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(text))}
}

func registry(t *testing.T) (*prometheus.Registry, prometheus.Counter) {
	t.Helper()
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "requests_total", ConstLabels: prometheus.Labels{"step": "GET /", "job": "own"}})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency_seconds", Buckets: []float64{0.1, 1}})
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size", Objectives: map[float64]float64{0.5: 0.01}})
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight"})
	r.MustRegister(c, h, s, g)
	c.Add(3)
	h.Observe(0.05)
	h.Observe(5)
	s.Observe(7)
	g.Set(-1.5)
	return r, c
}

// run runs a writer for some time and returns what became of it.
func run(t *testing.T, length time.Duration, rec *receiver, change func(*Config)) Report {
	t.Helper()
	r, _ := registry(t)
	cfg := Config{URL: "http://user:secret@prometheus/api/v1/write", Transport: rec, Labels: map[string]string{"job": "load", "instance": "here"}}
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	w.Run(ctx)
	return w.Report()
}

func TestSamplesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &receiver{}
		start := time.Now().UnixMilli()
		report := run(t, 12*time.Second, rec, func(c *Config) { c.Header = http.Header{"X-Tenant": {"a"}} })
		if rec.err != nil || report.Trouble != nil || report.Lost != 0 || report.Delivered != int64(len(rec.taken)) {
			t.Errorf("%v, %+v, %d taken", rec.err, report, len(rec.taken))
		}
		want := map[string]float64{
			"__name__=requests_total,instance=here,job=own,step=GET /":      3,
			"__name__=latency_seconds_bucket,instance=here,job=load,le=0.1": 1, "__name__=latency_seconds_bucket,instance=here,job=load,le=1": 1,
			"__name__=latency_seconds_bucket,instance=here,job=load,le=+Inf": 2,
			"__name__=latency_seconds_sum,instance=here,job=load":            5.05, "__name__=latency_seconds_count,instance=here,job=load": 2,
			"__name__=size,instance=here,job=load,quantile=0.5": 7, "__name__=size_sum,instance=here,job=load": 7, "__name__=size_count,instance=here,job=load": 1,
			"__name__=in_flight,instance=here,job=load": -1.5,
		}
		seen := map[string][]int64{}
		for _, s := range rec.taken {
			if v, ok := want[s.labels]; !ok || v != s.value {
				t.Errorf("%s is %g, want %g", s.labels, s.value, v)
			}
			seen[s.labels] = append(seen[s.labels], s.at-start)
		}
		for labels := range want {
			if !slices.Equal(seen[labels], []int64{5000, 10000, 12000}) {
				t.Errorf("%s at %v ms", labels, seen[labels])
			}
		}
		h := rec.last.Header
		if name, password, _ := rec.last.BasicAuth(); name != "user" || password != "secret" || rec.last.URL.String() != "http://prometheus/api/v1/write" {
			t.Errorf("%s by %s:%s", rec.last.URL, name, password)
		}
		if h.Get("Content-Encoding") != "snappy" || h.Get("Content-Type") != "application/x-protobuf" || h.Get("X-Prometheus-Remote-Write-Version") != "0.1.0" || h.Get("X-Tenant") != "a" {
			t.Errorf("%v", h)
		}
	})
}

func TestFailedMessagesAreTriedAgain(t *testing.T) {
	for _, x := range []struct {
		name            string
		answer          func(attempt int) (*http.Response, error)
		delivered, lost int64
		trouble         string
		most            time.Duration // that Run takes after its end
	}{
		{"two failures", func(n int) (*http.Response, error) {
			if n <= 2 {
				return status(503, "starting"), nil
			}
			return nil, nil
		}, 10, 0, "starting", 2 * time.Second},
		{"too many requests, with a time to wait", func(n int) (*http.Response, error) {
			if n == 1 {
				return status(429, "slowly", "Retry-After", "3"), nil
			}
			return nil, nil
		}, 10, 0, "slowly", 3100 * time.Millisecond},
		{"refused for good", func(int) (*http.Response, error) { return status(400, "out of order"), nil }, 0, 10, "out of order", 0},
		{"a redirect", func(int) (*http.Response, error) { return status(302, "", "Location", "http://else/"), nil }, 0, 10, "302", 0},
		{"always down", func(int) (*http.Response, error) { return nil, errors.New("no route") }, 0, 10, "no route", flushTime},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				rec := &receiver{answer: x.answer}
				r := run(t, time.Second, rec, nil) // one look, at the end
				if r.Delivered != x.delivered || r.Lost != x.lost || r.Trouble == nil || !strings.Contains(r.Trouble.Error(), x.trouble) {
					t.Errorf("%+v", r)
				}
				if took := time.Since(start) - time.Second; took > x.most {
					t.Errorf("it ended %s after its end", took)
				}
				if len(rec.tries) > maxAttempts {
					t.Errorf("%d attempts", len(rec.tries))
				}
			})
		})
	}
}

// A receiver that never answers holds up nothing, and what waits is bounded.
func TestDeadReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &receiver{}
		hang := roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		start := time.Now()
		r := run(t, time.Hour, rec, func(c *Config) { c.Transport = hang })
		looks := int64(time.Hour/defaultInterval) + 1
		// Those that wait when the time for the rest is over are given up, like all others.
		if r.Delivered != 0 || r.Lost < 10*(looks-1) || r.Lost > 10*looks {
			t.Errorf("%+v of %d looks", r, looks)
		}
		if took := time.Since(start); took > time.Hour+flushTime+messageTime {
			t.Errorf("it took %s", took)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{URL: "prometheus:9090"}, {URL: "ftp://x/"}, {URL: "http://"}, {URL: "http://[::1"}, {URL: "http://x/", Interval: -1}} {
		if _, err := New(c, prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// A real Prometheus takes what is sent and answers a question about it.
func TestPrometheus(t *testing.T) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--web.enable-remote-write-receiver")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("prometheus does not start: %v", err)
		}
	}
	r, _ := registry(t)
	w, err := New(Config{URL: "http://" + addr + "/api/v1/write", Labels: map[string]string{"job": "load"}}, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // one look
	w.Run(ctx)
	if report := w.Report(); report.Delivered != 10 || report.Lost != 0 || report.Trouble != nil {
		t.Fatalf("%+v", report)
	}
	for query, want := range map[string]string{`requests_total{step="GET /"}`: "3", `latency_seconds_bucket{le="+Inf",job="load"}`: "2", `in_flight`: "-1.5"} {
		resp, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || len(answer.Data.Result) != 1 || answer.Data.Result[0].Value[1] != want {
			t.Errorf("%s: %v, %+v, want %s", query, err, answer, want)
		}
	}
}
