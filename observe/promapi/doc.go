// Package promapi answers the HTTP API of Prometheus (prometheus.io/docs/prometheus/latest/querying/api), so that Grafana,
// promtool and every other client of it can ask: instant and range queries by Prometheus's own engine, series, labels,
// metadata, exemplars, rules, alerts, targets and the state of the server.
//
// What it promises: the paths, parameters (in the query or in a form), errors and JSON of Prometheus 3; and for any query a
// time-out and a number of samples beyond which it ends with an error.
//
// What it never does: it stores nothing and deletes nothing. The endpoints of Prometheus's admin interface are not there.
//
// The package starts no goroutine but those of the engine within a query.
package promapi
