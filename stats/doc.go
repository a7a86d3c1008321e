// Package stats holds the summaries that every part of Banyan measures and predicts with.
//
// A Histogram counts values in the layout of HdrHistogram: buckets whose width grows with the value, so that each
// value is kept with a stated number of significant decimal digits whatever its size. Histograms of equal precision
// merge and subtract exactly, which is what makes percentiles of many replicas, workers or seconds correct. Count, sum,
// minimum and maximum are exact.
//
// A Recorder is its twin for many writers at once: lock-free, without allocation.
//
// The package is pure: no clock, no I/O, no goroutines.
package stats
