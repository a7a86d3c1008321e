package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// wire is the JSON form: bucket indices are stored as gaps and counts in turn, so that a sparse histogram stays short.
type wire struct {
	Digits int     `json:"digits"`
	Count  int64   `json:"count"`
	Sum    float64 `json:"sum"`
	SumSq  float64 `json:"sum_sq"`
	Min    int64   `json:"min"`
	Max    int64   `json:"max"`
	Counts []int64 `json:"counts"` // gap from the index before, count, gap, count, ...
}

// MarshalJSON writes all that Merge needs: nothing is lost on the way.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	w := wire{Digits: h.layout.digits(), Count: h.count, Sum: h.sum, SumSq: h.sumSq, Min: h.Min(), Max: h.max, Counts: []int64{}}
	last := 0
	for i, n := range h.counts {
		if n > 0 {
			w.Counts = append(w.Counts, int64(i-last), n)
			last = i
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses anything that no histogram could have written.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("reading a histogram: %w", err)
	}
	l, err := layoutOf(w.Digits)
	if err != nil {
		return fmt.Errorf("reading a histogram: %w", err)
	}
	r := Histogram{layout: l, min: math.MaxInt64}
	if len(w.Counts)%2 != 0 {
		return errors.New("reading a histogram: odd number of gaps and counts")
	}
	index := int64(0)
	for i := 0; i < len(w.Counts); i += 2 {
		gap, n := w.Counts[i], w.Counts[i+1]
		if gap < 0 || (gap == 0 && i > 0) || gap >= int64(l.size())-index || n <= 0 || n > math.MaxInt64-r.count {
			return fmt.Errorf("reading a histogram: bad gap %d or count %d", gap, n)
		}
		index += gap
		r.grow(int(index) + 1)
		r.counts[index] = n
		r.count += n
	}
	if r.count != w.Count || w.Min > w.Max || w.Min < 0 || w.Sum < 0 || w.SumSq < 0 {
		return errors.New("reading a histogram: its totals contradict its buckets")
	}
	r.sum, r.sumSq = w.Sum, w.SumSq
	if r.count > 0 {
		r.min, r.max = w.Min, w.Max
	}
	*h = r
	return nil
}

func (l layout) digits() int {
	for d := 1; d <= 4; d++ {
		if bits.Len(uint(2*math.Pow10(d))-1) == int(l.bits) {
			return d
		}
	}
	return 0
}
