// Package metrics keeps time series: Prometheus's own storage engine, embedded, with what fills it. A Scraper reads the
// pages of targets; RemoteWrite and OTLP take what others send; a Forwarder passes all of it on to another system.
//
// What it promises:
//   - What was committed survives kill -9: it is in the write-ahead log.
//   - No origin can grow the storage without bound: Limits holds each target and each metric to a number of series, names
//     the offender with the label that varies (Store.Offenders), and keeps taking what was there before.
//   - Input is bounded before it is read: bodies, decompressed sizes, labels, their lengths.
//   - A clock that was set back costs the samples of that time, counted; nothing else.
//
// What it never does: it evaluates nothing (promapi and rules do) and it does not know the topology.
//
// A Store owns the goroutines of the storage engine until Close. Scraper.Run and Forwarder.Run own theirs.
package metrics
