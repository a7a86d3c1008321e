// Package schema keeps the schemas of topics, in JSON Schema or Protobuf: their versions, on disk, and whether a new one is compatible with the one
// before.
//
// A Registry promises: a version that was registered is on disk before Register returns, and never changes; versions count from
// 1 without gaps. A schema refers to nothing outside of itself, so that checking an event opens no file and no connection.
// Compatibility is judged from the schemas' texts: what can't be told counts as incompatible, and says so.
//
// It is safe for concurrent use, and has no goroutines.
package schema
