// Package forecast says what a series of rates will be a few steps ahead, and how sure that is.
//
// A Forecaster is fed one value for each sampling period. It runs a handful of simple models side by side (the last
// value, moving averages, a damped trend, the same time a season ago brought to the level of today, double seasonal
// Holt-Winters, a regression learned as it goes), scores each of them at each horizon that its user asked for, and
// combines them by their recent loss. No model wins on all traffic, and on much of it the last value is hard to beat:
// so the combination is gated, and falls back to the last value where it has shown no skill over it.
//
// Around its forecast it puts upper quantiles calibrated by what it got wrong (online conformal prediction): a quantile
// of 0.99 is exceeded in about one step of a hundred, whatever the traffic is like.
//
// Seasons (a day, a week, any other period) are found in the data. Values that are missing (NaN) are masked, and so are
// outages and single values a hundred times all others: a hole in yesterday's traffic is not forecast for today. After a change of regime the models that learned
// the old one are made to forget it.
//
// An update costs a constant amount of work for each horizon (finding seasons costs n log n, each n/8 updates) and a
// Forecaster a constant amount of memory once its history is full: about 200 KB with a week of minutes to remember and
// five horizons of some minutes. The package is pure: no clock, no I/O, no goroutines; one goroutine at a time may use a
// Forecaster.
package forecast
