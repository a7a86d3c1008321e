// Package liveview shows a load test that is under way: rates, percentiles of the latency over the whole run, errors by
// kind, connections, what waits, and the generator's own CPU, with a warning where the generator is the bottleneck.
//
// View gathers a run's Progress and draws a frame from it. What is drawn depends on what was added, the size and nothing
// else, so that it can be compared with golden files. Screen puts one frame in the place of the other on a terminal, by
// the control sequences of ECMA-48 that every terminal has: each frame is one write, no mode of the terminal is changed,
// and so there is nothing to restore, however the program ends. Line is the same in one line, for a pipe.
//
// The package reads no clock and no environment and owns no goroutine.
package liveview
