// Package queueing is a library of queueing theory: given rates, service times
// and populations it answers how busy, how long and how many.
//
// It holds
//   - single stations (M/M/c, M/M/c/K, finite source, M/G/1, M/G/c, GI/G/c,
//     priorities, polling): means, variances, tails and percentiles;
//   - networks of stations, open, closed and mixed, of any number of classes
//     (Network, Solve), solved by product forms, exact and approximate mean
//     value analysis, with percentiles of the end-to-end response time;
//   - bounds (asymptotic, balanced job, proportional, geometric) and the knee;
//   - closed networks with finite buffers, fork-join, layered queueing networks,
//     cache hit ratios and the universal scalability law.
//
// What it promises: every answer states the method that produced it, an exact
// method where one is affordable and a named approximation otherwise; input
// that means nothing (negative, NaN, infinite, unstable, too large) is an error
// which names the station or class, never a panic and never a silent wrong
// number; every computation is bounded in time and memory.
//
// What it never does: it reads no clock, no file and no network, holds no
// package-level state and starts no goroutine. All functions may be called
// concurrently. The one solver that samples (layered networks too large for an
// exact answer) is driven by a seed of the caller's and repeats bit for bit.
//
// Units are the caller's: rates per unit of time, times in that unit. The rest
// of Banyan uses seconds.
package queueing
