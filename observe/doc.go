// Package observe keeps what happened in a running system: which calls were made, how long they took and how they
// ended, and what CPU and memory they cost. `banyan status`, `banyan top`, `banyan calibrate` and `banyan compare`
// all read it.
//
// Once a second an Observer asks for a Sample: counters since the start, as the gateway and the processes keep them.
// It stores the differences, one Interval for each second of the last ten minutes and one for each ten seconds of the
// last six hours, and answers with a Window (everything over a span, for calculations) or a Status (the present, for
// people). Handler shows the counters themselves to Prometheus, and a recording on disk outlives the run.
//
// What it promises:
//   - The intervals of a window add up to the differences of the counters exactly; a counter that started anew, under
//     the same name or another, gives neither a negative nor an inflated figure.
//   - Memory stays within Config.Memory whatever the system's size: the oldest intervals go first.
//   - A recording that ends in the middle of a write is read up to its last whole interval.
//
// What it never does: it makes no request and starts no process, it keeps no single request (those are traces), and it
// decides nothing. It does not know the gateway or the orchestrator: their counters come in as plain structs.
//
// Observer.Run owns the one goroutine, the caller's. Every method may be called while it runs.
package observe
