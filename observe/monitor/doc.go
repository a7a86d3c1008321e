// Package monitor joins the parts of monitoring into one: the store of metrics with what fills it, Prometheus's API, rules,
// the alerts of the SLOs, and who is told of them. 'banyan up' has one for its system, 'banyan observe' runs one alone.
//
// Everything is served by the one mux of Monitor.Mux; whoever has further signals adds handlers to it before it serves.
//
// Monitor.Run owns every goroutine and closes the store; it returns when all are gone.
package monitor
