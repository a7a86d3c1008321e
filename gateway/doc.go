// Package gateway carries the calls of a running system: those from outside, by route, and those between services, each
// over a loopback listener of its own, so that the caller is known without any header.
//
// Every call is balanced over the ready replicas of its service, bounded in time, repeated where that is safe and the
// budget allows it, kept away from replicas that keep failing, counted and timed. All of these decisions are made by
// package policy; this package only carries them out.
//
// It does so in two tiers. The fast tier (fast_*.go, on Linux) carries plain HTTP/1.1 on event loops of its own, one for
// each processor, with packages http1 (parsing) and reactor (events). The full tier, on net/http, carries all the rest:
// what a target asks for that the fast tier cannot do (target.full), upgrades, large or chunked request bodies, Expect.
// The fast tier takes all connections first and hands over those that are not for it, with the bytes that it has read
// (door); a connection comes back when that is answered (handedConn). What both decide and count lives once, in walk.go. The full tier is the
// reference that the fast tier must equal, request for request (differential_test.go, which lists the exceptions).
//
// The files: gateway.go (life cycle), table.go (what one version of the file makes of it, and reloading), service.go (which
// backends there are), plane.go (a call's walk in the full tier), relay.go and upgrade.go (the answer's way back),
// upstream.go (connections to backends and what their errors mean), header.go and trace.go (what is added, removed and
// read), affinity.go (what leads a request to one backend), limit.go (what is let in), stats.go and collector.go (what is
// counted), connlimit.go and seat.go (how many connections clients may have); fast.go (the fast tier's loops and doors), fast_worker.go (one loop), fast_client.go (a client's connection),
// fast_exchange.go (a request's walk), fast_try.go (its tries at backends), fast_answer.go (the answer as it comes),
// fast_pass.go (as it goes on to the client), fast_hit.go (answers from the cache), fast_upstream.go (connections to
// backends), fast_head.go and fast_answerhead.go (heads), fast_handed.go (connections that the full tier has for a while).
//
// What it promises: a request that is not idempotent is never sent twice once a byte of it may have reached a backend.
// A backend that is draining gets no new request, and Drain returns only when it has none left. Bodies stream in both
// directions in bounded memory. An answer that fits one buffer is read whole before its head is passed on, so that a
// backend's death half-way can be made good by another.
//
// Beside these: accesslog.go, why.go and dryrun.go (what is said of requests, afterwards and in advance), rules.go,
// route.go, rewrite.go, mirror.go, hedge.go, deadline.go, shed.go (what a route may ask for besides), cached.go with package
// httpcache, compress.go, grpc.go, extended.go (WebSocket over HTTP/2), http2.go with package h2guard, tls.go with package certs, tcp.go and proxied.go with package
// proxyproto, health.go with package readiness (backends that no supervisor checks).
//
// What it never does: rewrite bodies other than by compressing them, start or stop backends, or decide anything that
// package policy could.
//
// Run owns every goroutine; when it returns, all listeners and connections are closed.
package gateway
