// Package transport carries frames between the nodes of a cluster over TCP: one stream from each node to each peer, which
// is dialled again whenever it breaks.
//
// It promises: frames of one stream arrive in the order in which they were sent, each at most once and unchanged (they
// carry a checksum), only from a node that knows the cluster's secret. It does not promise that a frame arrives: what
// does not fit the queue of a peer, or was on its way when a stream broke, is lost, and Send never waits. What comes in
// is bounded in size before anything is allocated for it.
//
// With TLS in its Config both sides show certificates, and what is sent is encrypted. Without, the handshake proves that both
// sides know the secret without telling it, but whoever can change packets on the way can change frames: that is for networks
// that are trusted.
//
// A Caller asks a node a single question, on a connection of its own, with the same handshake.
//
// Run owns all goroutines; when it returns they are gone.
package transport
