// Package reactor is an event loop for many TCP connections on one goroutine: epoll, edge-triggered, with a timer wheel.
// It is what the gateway's fast tier and the cache stand on, and knows nothing of either.
//
// All reads and writes are non-blocking system calls made directly, so that Go's scheduler and its own poller have no
// part in them; only the wait for events, when there are none, gives the processor back to the scheduler. A connection
// costs a small struct and no buffer while it is idle.
//
// A Loop and all that is registered with it belong to the goroutine that called Run; only Post may be called by others.
// It needs Linux on amd64 or arm64; Supported says whether it is there.
package reactor
