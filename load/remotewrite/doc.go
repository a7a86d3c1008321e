// Package remotewrite sends metrics to a Prometheus, or whatever takes its remote write protocol, version 1: snappy'd
// protocol buffers over HTTP (Prometheus Remote-Write 1.0 specification).
//
// A Writer gathers at an interval and sends apart from that, so that a slow or dead receiver never holds up what is
// measured. What cannot be delivered is tried again a bounded number of times; a bounded queue waits meanwhile, and gives
// up its oldest. Nothing is lost in silence: Report says how many samples were delivered, how many were given up and why.
//
// Run owns every goroutine and returns when all are gone.
package remotewrite
