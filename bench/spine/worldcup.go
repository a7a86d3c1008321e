package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"time"
)

// busiestHour finds the 60 minutes with the most requests in a trace of counts by the minute: its offset, and its
// busiest minute's count.
func busiestHour(file string) (from time.Duration, peak float64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", file, err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", file, err)
	}
	var counts []float64
	for _, row := range rows[1:] {
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", file, err)
		}
		counts = append(counts, v)
	}
	best, at, sum := 0.0, 0, 0.0
	for i, v := range counts {
		sum += v
		if i >= 60 {
			sum -= counts[i-60]
		}
		if sum > best {
			best, at = sum, max(0, i-59)
		}
	}
	for _, v := range counts[at:min(at+60, len(counts))] {
		peak = max(peak, v)
	}
	return time.Duration(at) * time.Minute, peak, nil
}
