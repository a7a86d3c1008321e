package load

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// hdrCounts is an independent reader of the compressed V2 encoding, written from its specification (HdrHistogram's
// AbstractHistogram, ZigZagEncoding and their names): it returns how often each value's bucket was counted, by the lowest
// value of the bucket.
func hdrCounts(t *testing.T, data []byte) map[int64]int64 {
	t.Helper()
	u32 := func(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
	if u32(data)&^0xf0 != 0x1c849304 || int(u32(data[4:])) != len(data)-8 {
		t.Fatalf("outer header %x of %d bytes", data[:8], len(data))
	}
	z, err := zlib.NewReader(bytes.NewReader(data[8:]))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if u32(raw)&^0xf0 != 0x1c849303 || int(u32(raw[4:])) != len(raw)-40 {
		t.Fatalf("inner header %x of %d bytes", raw[:40], len(raw))
	}
	if ratio := math.Float64frombits(binary.BigEndian.Uint64(raw[32:])); ratio != 1 || u32(raw[8:]) != 0 || binary.BigEndian.Uint64(raw[16:]) != 1 {
		t.Fatalf("header %x", raw[:40])
	}
	digits := float64(u32(raw[12:]))
	magnitude := int(math.Ceil(math.Log2(2 * math.Pow(10, digits))))
	halfMagnitude, half := magnitude-1, int64(1)<<(magnitude-1)
	counts := map[int64]int64{}
	index := int64(0)
	for payload := raw[40:]; len(payload) > 0; {
		var u uint64
		n := 0
		for ; ; n++ {
			c := payload[n]
			if n == 8 {
				u |= uint64(c) << 56
				break
			}
			if u |= uint64(c&0x7f) << (7 * n); c < 0x80 {
				break
			}
		}
		payload = payload[n+1:]
		v := int64(u>>1) ^ -int64(u&1)
		if v < 0 {
			index += -v
			continue
		}
		bucket, sub := index>>halfMagnitude-1, index&(half-1)+half
		if bucket < 0 {
			sub, bucket = sub-half, 0
		}
		if v > 0 {
			counts[sub<<bucket] = v
		}
		index++
	}
	return counts
}

func TestHDREncoding(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for digits := 1; digits <= 4; digits++ {
		h := stats.NewHistogram(digits)
		h.Record(0)
		h.Record(stats.MaxValue)
		h.RecordN(5, 1<<60)
		for range 5000 {
			h.Record(int64(math.Exp(rng.Float64() * 29)))
		}
		data, err := encodeHDR(h, digits)
		if err != nil {
			t.Fatal(err)
		}
		got := hdrCounts(t, data)
		buckets := h.Buckets()
		if len(got) != len(buckets) {
			t.Errorf("%d digits: %d buckets, want %d", digits, len(got), len(buckets))
		}
		for _, b := range buckets {
			if got[b.Low] != b.Count {
				t.Fatalf("%d digits: value %d counted %d times, want %d", digits, b.Low, got[b.Low], b.Count)
			}
		}
		if digits < 4 {
			if _, err := encodeHDR(h, digits+1); err == nil {
				t.Errorf("a histogram of %d digits passed for one of %d", digits, digits+1)
			}
		}
	}
}

func TestWriteHDR(t *testing.T) {
	r := sampleResult()
	r.Steps[1].Name = "a, b c"
	var out bytes.Buffer
	if err := r.WriteHDR(&out); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(?:Tag=([^, ]+),)?([0-9.]+),([0-9.]+),([0-9.]+),([A-Za-z0-9+/=]+)$`)
	lines, tags := 0, map[string]int64{}
	for s := bufio.NewScanner(&out); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") || strings.HasPrefix(s.Text(), `"`) {
			continue
		}
		m := form.FindStringSubmatch(s.Text())
		if m == nil {
			t.Fatalf("line %q", s.Text())
		}
		data, err := base64.StdEncoding.DecodeString(m[5])
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for _, c := range hdrCounts(t, data) {
			n += c
		}
		if lines++; m[1] != "" {
			tags[m[1]] = n
		}
	}
	if lines != 9+6 || tags["latency:total"] != r.Total.Latency.Count() || tags["service:a,_b_c"] != 0 || tags["latency:a__b_c"] != r.Steps[1].Latency.Count() {
		t.Errorf("%d lines, %v", lines, tags)
	}
}

func TestWriteHTML(t *testing.T) {
	r := sampleResult()
	r.Target = `http://x/<script>alert("1")</script>`
	r.Steps[0].Name = `GET /<u>&"'`
	for i := range r.Timeline.Points {
		p := &r.Timeline.Points[i]
		p.Offered, p.Sent, p.Completed, p.Errors, p.InFlight = 200, 199, 190, int64(i), 5
	}
	before := r.Timeline.Points[0].Latency.Count()
	page := func(r *Result) string {
		var out bytes.Buffer
		if err := r.WriteHTML(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	text := page(r)
	if text != page(r) || r.Timeline.Points[0].Latency.Count() != before {
		t.Error("writing the page changed the result")
	}
	// The empty icon keeps a browser from asking the server for one.
	text = strings.Replace(text, `<link rel="icon" href="data:,">`, "", 1)
	for _, bad := range []string{"<script", "<u>", "<link", "url(", "@import", "src=", "href=", "NaN", "Inf"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, want := range []string{"Rates over time", "Heat map", "p99", "POST /checkout", "prefers-color-scheme:dark", "unexpected status (503)", "a word of warning", "Cut short"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(text, "<svg"); n != 6 {
		t.Errorf("%d plots", n)
	}
	// Every plot is well-formed by itself.
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %.200s", err, svg)
			}
		}
	}
	empty := &Result{Total: &Step{Latency: stats.NewHistogram(3), Service: stats.NewHistogram(3), Lateness: stats.NewHistogram(3)}}
	if text := page(empty); strings.Contains(text, "NaN") || strings.Contains(text, "<svg") {
		t.Error("the page of nothing")
	}
	idle := &Result{Total: empty.Total, Duration: time.Second, Timeline: Timeline{Width: time.Second, Points: make([]Point, 1)}}
	if text := page(idle); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error("the page of a run without requests")
	}
}

func TestWritePrometheus(t *testing.T) {
	r := sampleResult()
	r.Steps[0].Name = "a\"b\\c\nd"
	var out bytes.Buffer
	if err := r.WritePrometheus(&out); err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile(`^[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})? [-+0-9.e]+$`)
	types := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if f := strings.Fields(line); f[0] == "#" {
			if f[1] == "TYPE" {
				if types[f[2]] {
					t.Errorf("%s is declared twice", f[2])
				}
				types[f[2]] = true
			}
			continue
		}
		if !sample.MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	for _, want := range []string{`banyan_load_errors{step="POST /checkout",kind="unexpected status"} 12`, `banyan_load_latency_seconds_count{step="POST /checkout"} 795`,
		`banyan_load_latency_seconds{step="POST /checkout",quantile="0.5"}`, `banyan_load_threshold_kept{threshold="p99 < 200ms"} 1`, `step="a\"b\\c\nd"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
