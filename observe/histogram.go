package observe

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"github.com/banyanhq/banyan/stats"
)

// toDigits returns h at the given precision: h itself where it already has it, a copy otherwise.
func toDigits(h *stats.Histogram, digits int) *stats.Histogram {
	if h == nil {
		return nil
	}
	r := stats.NewHistogram(digits)
	if r.Merge(h) == nil {
		return h
	}
	addBuckets(r, h)
	return r
}

// addBuckets adds h to r, whatever their precisions: each bucket at its middle, the top one at the exact maximum, so
// that quantiles of r stay within the buckets of h.
func addBuckets(r, h *stats.Histogram) {
	buckets := h.Buckets()
	for i, b := range buckets {
		v := b.Low + (b.High-b.Low)/2
		if i == len(buckets)-1 {
			v = h.Max()
		}
		r.RecordN(v, b.Count)
	}
}

// packed is a histogram in few bytes: the maximum, then for each bucket that is not empty the gap from the one before
// and the count, as varints. A bucket [Low, High] is 2^k values wide and starts at a multiple of that, which every
// HDR layout keeps; it is coded as k<<subBits | Low>>k, which grows with Low.
type packed []byte

const subBits = 16

var errPacked = errors.New("damaged histogram")

func pack(h *stats.Histogram) packed {
	buckets := h.Buckets()
	p := make(packed, 0, 8+3*len(buckets))
	p = binary.AppendUvarint(p, uint64(h.Max()))
	last := uint64(0)
	for _, b := range buckets {
		k := bits.Len64(uint64(b.High - b.Low))
		code := uint64(k)<<subBits | uint64(b.Low>>k)
		p = binary.AppendUvarint(p, code-last)
		p = binary.AppendUvarint(p, uint64(b.Count))
		last = code
	}
	return p
}

// addTo adds what p holds to h, at the precision of h.
func (p packed) addTo(h *stats.Histogram) error {
	if len(p) == 0 {
		return nil
	}
	top, n := binary.Uvarint(p)
	if n <= 0 || top > math.MaxInt64 {
		return errPacked
	}
	p = p[n:]
	if h.Count() == 0 {
		// Make room for the highest bucket at once: buckets come in ascending order, and each would make a copy.
		h.Record(int64(top))
		h.Reset()
	}
	code, room := uint64(0), uint64(math.MaxInt64-h.Count())
	for len(p) > 0 {
		gap, n := binary.Uvarint(p)
		if n <= 0 {
			return errPacked
		}
		count, m := binary.Uvarint(p[n:])
		if m <= 0 || count == 0 || count > room {
			return errPacked
		}
		p, room = p[n+m:], room-count
		if code += gap; code>>subBits > 40 || gap > 64<<subBits {
			return errPacked
		}
		k := code >> subBits
		low := int64(code&(1<<subBits-1)) << k
		v := low + (int64(1)<<k-1)/2
		if len(p) == 0 {
			v = int64(top)
		}
		h.RecordN(v, int64(count))
	}
	return nil
}
