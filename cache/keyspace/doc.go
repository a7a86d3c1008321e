// Package keyspace is what a cache holds: databases of keys with strings, lists, sets, sorted sets, hashes and streams, their
// expiry, and which of them have to go when memory is short.
//
// All of it lies in an arena, so that the garbage collector sees nothing of it and its size is known to the byte. What is
// large is done a piece at a time: tables grow and shrink a bucket with each change, and large values that were deleted
// are freed by Tidy.
//
// A Store never reads the clock (SetNow), starts no goroutine and is not safe for concurrent use: its owner holds a lock.
// Bytes that it returns are its own, and good until the next change.
package keyspace
