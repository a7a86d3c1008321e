// Package gateway carries the calls of a running system: those from outside, by route, and those between services, each
// over a loopback listener of its own, so that the caller is known without any header.
//
// Every call is balanced over the ready replicas of its service, bounded in time, repeated where that is safe and the
// budget allows it, kept away from replicas that keep failing, counted and timed. All of these decisions are made by
// package policy; this package only carries them out, on net/http. The files: gateway.go (life cycle), table.go
// (what one version of the file makes of it, and reloading), service.go (which backends there are), plane.go (a call's walk), relay.go and upgrade.go (the answer's way back), upstream.go
// (connections to backends and what their errors mean), header.go and trace.go (what is added, removed and read),
// affinity.go (what leads a request to one backend), limit.go (what is let in), stats.go and collector.go (what is
// counted).
//
// What it promises: a request that is not idempotent is never sent twice once a byte of it may have reached a backend.
// A backend that is draining gets no new request, and Drain returns only when it has none left. Bodies stream in both
// directions in bounded memory. An answer that fits one buffer is read whole before its head is passed on, so that a
// backend's death half-way can be made good by another.
//
// What it never does: rewrite bodies, terminate TLS, speak HTTP/2, check health (it is told by SetReady), or
// decide anything that package policy could.
//
// Run owns every goroutine; when it returns, all listeners and connections are closed.
package gateway
