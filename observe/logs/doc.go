// Package logs keeps what services write, line by line, and finds it again.
//
// Lines come in by Source (a replica's output, which must never wait) or by Append (the protocols in the folders below: Elasticsearch,
// Loki, OTLP and syslog, which acknowledge what is on disk). Each is cut to Config.MaxLine, redacted, parsed (JSON, key=value pairs, or plain)
// for its fields, its level and its trace id, and kept in a segment.Store, as it was written. Query is the language of `banyan logs`;
// Search, Histogram and Follow answer it.
//
// What it promises:
//   - A line is kept byte for byte as far as Config.MaxLine, whatever is in it; what was cut, dropped or redacted is counted.
//   - A replica that writes too much loses its own lines, not those of others, and a line in the log says how many.
//   - Source.Line never blocks.
//
// What it never does: take a time from a replica's line (the time is when it was read), or decide whom to alert.
//
// Logs.Run owns the goroutines.
package logs
