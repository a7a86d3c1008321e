package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

// scrape has a server read its pages for a while, after it has read each twice.
func (b *bench) scrape(ctx context.Context, s server) (figures, error) {
	if err := sleep(ctx, 3*interval); err != nil {
		return figures{}, err
	}
	return b.between(ctx, s, func() error { return sleep(ctx, b.length) })
}

// between measures what a server stores and uses while something goes on.
func (b *bench) between(ctx context.Context, s server, work func() error) (figures, error) {
	before, err := s.stored(ctx)
	if err != nil {
		return figures{}, err
	}
	cpu, _, err := used(s.pid)
	if err != nil {
		return figures{}, err
	}
	if err := work(); err != nil {
		return figures{}, err
	}
	after, memory, err := used(s.pid)
	if err != nil {
		return figures{}, err
	}
	stored, err := s.stored(ctx)
	return figures{stored - before, after - cpu, memory}, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// perRequest is the number of series in one write, as Prometheus's own queues have it.
const perRequest = 2000

// write sends all series again and again, one request after the other, as fast as they are taken.
func (b *bench) write(ctx context.Context, s server) (figures, error) {
	var requests [][][]byte // the encoded labels of each series
	for at := 0; at < b.series; at += perRequest {
		var one [][]byte
		for i := at; i < min(at+perRequest, b.series); i++ {
			one = append(one, encodedLabels("__name__", fmt.Sprintf("app_metric_%d_total", i%100), "code", "200", "handler", fmt.Sprintf("/api/v1/resource/%d", i/100),
				"instance", fmt.Sprint("10.0.0.", i%250), "job", "bench", "method", "GET"))
		}
		requests = append(requests, one)
	}
	now := time.Now().Add(-time.Hour).UnixMilli()
	round := func(i int64) error {
		for _, one := range requests {
			if err := post(ctx, s.url+"/api/v1/write", encode(one, now+i*15_000, float64(i*7))); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range int64(2) { // so that all series are there
		if err := round(i); err != nil {
			return figures{}, err
		}
	}
	return b.between(ctx, s, func() error {
		for i, end := int64(2), time.Now().Add(b.length); time.Now().Before(end); i++ {
			if err := round(i); err != nil {
				return err
			}
		}
		return nil
	})
}

func encodedLabels(pairs ...string) (out []byte) {
	for i := 0; i < len(pairs); i += 2 {
		var one []byte
		one = protowire.AppendTag(one, 1, protowire.BytesType)
		one = protowire.AppendString(one, pairs[i])
		one = protowire.AppendTag(one, 2, protowire.BytesType)
		one = protowire.AppendString(one, pairs[i+1])
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, one)
	}
	return out
}

func encode(series [][]byte, t int64, v float64) []byte {
	var out, one, sample []byte
	for i, labels := range series {
		sample = protowire.AppendTag(sample[:0], 1, protowire.Fixed64Type)
		sample = protowire.AppendFixed64(sample, math.Float64bits(v+float64(i)))
		sample = protowire.AppendTag(sample, 2, protowire.VarintType)
		sample = protowire.AppendVarint(sample, uint64(t))
		one = append(one[:0], labels...)
		one = protowire.AppendTag(one, 2, protowire.BytesType)
		one = protowire.AppendBytes(one, sample)
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, one)
	}
	return snappy.Encode(nil, out)
}

func post(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, text)
	}
	return err
}
