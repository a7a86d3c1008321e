// Package raftlog keeps the Raft logs of all the groups that a node has replicas of in the node's one pebble database:
// entries, what a replica must not forget (its identity, term, vote and commit index), and where its log begins.
//
// All groups share one write-ahead log, so what many groups want to make durable costs one fsync: a Write collects it,
// Commit carries it out. Because data, applied indices and log are in the same database, a crash leaves a prefix of
// what was written, of all of it together: an applied index is never ahead of its data, and a log is never cut above an
// applied index that was lost.
//
// It promises: what Commit returned without error for is on disk; an entry is read back as it was written or not at
// all (each record carries a checksum over itself and its place), and a log with a record that is damaged, missing or
// out of place says so by an error, for its group alone. It never repairs a log by shortening it.
//
// A Log belongs to one goroutine; only Commit may be called by another one, one call at a time, in the order in which
// the Writes were made. Nothing here starts a goroutine.
package raftlog
