package load

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"

	"github.com/banyanhq/banyan/stats"
)

// WriteHDR writes the latencies as a HdrHistogram interval log, format 1.3, with histograms in the compressed V2
// encoding, as HistogramLogProcessor, HdrHistogramVisualizer and their like read it. Values are nanoseconds, the column of
// maxima is in milliseconds. The lines without a tag are the timeline, to 2 digits; those with Tag=latency:STEP and
// Tag=service:STEP hold the whole measured part, to 3 digits, of each step and of the total.
func (r *Result) WriteHDR(w io.Writer) error {
	var b bytes.Buffer
	start := r.Start.Add(r.Warmup)
	b.WriteString("#[Latencies in nanoseconds, from the intended start to the end of the answer]\n")
	b.WriteString("#[Histogram log format version 1.3]\n")
	fmt.Fprintf(&b, "#[StartTime: %.3f (seconds since epoch), %s]\n", float64(start.UnixMilli())/1e3, start.UTC().Format(time.UnixDate))
	b.WriteString("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")
	line := func(tag string, at, length time.Duration, h *stats.Histogram, digits int) error {
		payload, err := encodeHDR(h, digits)
		if err != nil {
			return fmt.Errorf("writing the HDR log: %w", err)
		}
		if tag != "" {
			fmt.Fprintf(&b, "Tag=%s,", tag)
		}
		fmt.Fprintf(&b, "%.3f,%.3f,%.3f,%s\n", at.Seconds(), length.Seconds(), float64(h.Max())/1e6, base64.StdEncoding.EncodeToString(payload))
		return nil
	}
	for i := range r.Timeline.Points {
		at := time.Duration(i) * r.Timeline.Width
		if h := r.Timeline.Points[i].Latency; h != nil {
			if err := line("", at, max(min(r.Timeline.Width, r.Duration-at), 0), h, 2); err != nil {
				return err
			}
		}
	}
	for _, s := range append(append([]*Step{}, r.Steps...), r.Total) {
		for _, x := range []struct {
			kind string
			h    *stats.Histogram
		}{{"latency", s.Latency}, {"service", s.Service}} {
			if err := line(x.kind+":"+hdrTag(s.Name), 0, r.Duration, x.h, 3); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// hdrTag is name without what ends a tag.
func hdrTag(name string) string {
	return strings.Map(func(c rune) rune {
		if c == ',' || c <= ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, name)
}

// Cookies of the V2 encoding: its number, and 0x10 for counts as words of variable length.
const (
	hdrCookie           = 0x1c849303 | 0x10
	hdrCompressedCookie = 0x1c849304 | 0x10
)

// encodeHDR writes h, of the given number of digits, in the compressed V2 encoding of HdrHistogram: a header of 40 bytes
// and the counts as ZigZag LEB128 words, runs of zeros as one negative word, under zlib. The places of the counts are
// the same in both layouts.
func encodeHDR(h *stats.Histogram, digits int) ([]byte, error) {
	sub := 1 // 2^ceil(log2(2*10^digits)), of which half is told apart in each bucket
	for n := 1; n < 2*pow10(digits); n *= 2 {
		sub = 2 * n
	}
	width := bits.Len(uint(sub)) - 1
	place := func(v int64) int64 {
		bucket := bits.Len64(uint64(v)|uint64(sub-1)) - width
		return int64(bucket)*int64(sub/2) + v>>bucket
	}
	var counts []byte
	next := int64(0)
	for _, bucket := range h.Buckets() {
		at := place(bucket.Low)
		if at != place(bucket.High) || at < next {
			return nil, fmt.Errorf("a histogram that is not of %d digits", digits)
		}
		if at > next {
			counts = appendZigZag(counts, next-at)
		}
		counts = appendZigZag(counts, bucket.Count)
		next = at + 1
	}
	raw := make([]byte, 0, 40+len(counts))
	raw = binary.BigEndian.AppendUint32(raw, hdrCookie)
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(counts)))
	raw = binary.BigEndian.AppendUint32(raw, 0) // normalizing index offset
	raw = binary.BigEndian.AppendUint32(raw, uint32(digits))
	raw = binary.BigEndian.AppendUint64(raw, 1) // lowest discernible value
	raw = binary.BigEndian.AppendUint64(raw, stats.MaxValue)
	raw = binary.BigEndian.AppendUint64(raw, 0x3ff0000000000000) // ratio of doubles to integers: 1.0
	raw = append(raw, counts...)
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32(nil, hdrCompressedCookie)
	out = binary.BigEndian.AppendUint32(out, uint32(packed.Len()))
	return append(out, packed.Bytes()...), nil
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// appendZigZag appends v as ZigZag LEB128 of at most nine bytes, the ninth of which carries eight bits.
func appendZigZag(out []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	for range 8 {
		if u < 0x80 {
			return append(out, byte(u))
		}
		out = append(out, byte(u)|0x80)
		u >>= 7
	}
	return append(out, byte(u))
}
