// Package traces keeps spans: what a request did in each service, and for how long.
//
// Spans come in by Export (OTLP, see package otlp) or Add, and wait in memory until their trace is whole, or Config.Wait has passed since its
// first. Before anything is left out they are counted: requests, errors and durations of each service and operation, and calls from service
// to service (Collector). Then the sampler decides for the trace as a whole: traces with an error, the slowest of each route, rare routes, all of
// them while Config.KeepAll says so (a fault is being injected, an alert fires) or while there are few, and a random share. What is kept goes to
// a segment.Store; Find, Trace and CriticalPath answer from there, and so does Jaeger's query API.
//
// What it promises:
//   - Memory is bounded by Config.MaxPending; where it is short, the oldest traces are decided early.
//   - All spans of a trace that come within Config.Wait of its first are kept or left out together; later ones follow what was decided.
//   - A kept trace knows of how many it is one (its weight), so that means over kept traces are those of all.
//
// What it never does: promise that a span outlives a crash before its trace was decided; correct clocks (a child that seems to begin before its
// parent is shown so).
//
// Traces.Run owns the goroutines.
package traces
