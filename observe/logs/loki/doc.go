// Package loki speaks the part of Grafana Loki's HTTP API that agents, Grafana and logcli use, in front of logs.Logs.
//
// Push takes JSON (also gzip) and protobuf with snappy, and acknowledges what is on disk. Queries are LogQL: stream selectors; line filters
// (|= != |~ !~); the parsers json and logfmt; label filters with and, or and parentheses; drop and keep; rate, count_over_time, bytes_rate and
// bytes_over_time; sum, avg, min, max, count, topk and bottomk, by and without; arithmetic with numbers and of two vectors. labels, label values, series,
// index/stats, index/volume, index/volume_range, detected_labels, detected_fields, the values of a detected field and tail (WebSocket) are there.
//
// Fields are taken from lines when they are stored, so label filters see them without a parser; a parser makes them labels of the answer. Names
// follow Loki: a dot in a field's name reads as an underscore.
//
// What it does not know (unwrap, line_format, label_format, pattern, regexp, quantiles, offset, and others) answers status 400 and says so;
// paths that it does not have (patterns, format_query, rules, delete) status 404.
package loki
