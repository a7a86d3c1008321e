// Package httpcache is a shared HTTP cache (RFC 9111) in front of an origin that is reached by a function.
//
// A Cache is one store with its budgets; a Zone is the cache as one route has it, with rules of its own. The decisions are
// plain functions of messages and instants: what the directives say (directive.go, structured.go), whether an answer may
// be stored (storable.go), how old it is and for how long it is fresh (freshness.go), what it is stored under and which
// request selects it (key.go), how it is validated and freshened (validate.go), what of it is a part (range.go). Around
// them: the store (store.go, object.go; what is evicted is policy.Evictor's to say), the disk tier (disk.go), flights,
// which are fetches that several clients wait for (flight.go), and the handler (handler.go, deliver.go).
//
// What it promises: nothing is stored or served against RFC 9111, RFC 5861, RFC 9213 and the ranges of RFC 9110, and
// where a message is malformed or contradicts itself the most restrictive reading holds. One fetch at a time for each key
// and variant; who waits for one whose answer turns out not to be for sharing goes on at once, and for a while nobody
// waits for the next. What was invalidated or purged is not stored by a fetch that was under way. Memory, disk, variants,
// tags, refreshes and bodies are bounded. A client that goes away, or does not read, holds up no other.
//
// What it does not do: store parts (206), or answers to anything but GET; combine stored parts; answer several ranges out
// of what it has not stored whole.
//
// Close ends every goroutine.
package httpcache
