// Package peerlink tells the gateways of a system what each of them has spent of what they share: budgets of retries and
// hedges, and rate limits.
//
// Each gateway connects to each of the others (TCP) and sends a report every tenth of a second; so there is one
// connection for each direction. A report is a few hundred bytes, and 256 KiB at most. Both ends prove that they know the
// secret of the system, by an HMAC over numbers that both have drawn, and each report carries one over all that is in it
// and its place in the row: what a stranger sends, changes, or sends again is not believed. Nothing is hidden: who can
// listen sees how much was spent, and the hashes of the keys of limits.
//
// What it promises: a report that Heard is told of was sent by a gateway of the system less than silence before the one
// after it; the reports of one connection come in order, each once. A peer of which nothing is heard for the silence is
// gone, and what it wanted to tell is lost; it comes back by itself. A peer that is slow or dead holds up nobody.
//
// What it never does: choose a leader, agree on anything, remember anything, or ask. Decisions are package policy's.
//
// Run owns all goroutines and returns when they are gone.
package peerlink
