// Package cluster is what the nodes of a clustered cache agree on: who they are, who owns which slot, which slots are on their
// way, and who replaces whom. The data themselves are none of its business.
//
// It promises that no two nodes answer for a slot at a time. The Map is held by a Raft group of all nodes; each node
// goes by a lease, and without it answers for nothing:
//
//   - A node renews its lease by a read of Raft (ReadIndex): the leader has a majority confirm that it leads still, which is
//     after the node asked. The lease then runs for Lease from when the node asked, and only once it knows of every change that
//     was committed by then.
//   - The leader promotes a replica only after it has heard nothing of the primary for FailAfter, which is longer, or since it
//     became the leader, which is after every other leader's last confirmation. From the moment it decides on, it passes no
//     renewal of that primary on, until the outcome is known.
//   - A process that was started anew is another one (Life), with empty hands: it is let in when nobody has its data.
//
// So a primary that is cut off has fallen silent before its replica speaks. It rests on clocks that run at rates which differ
// by less than a seventh, not on what time they tell. A slot that moves needs no such wait: it changes hands when the
// one who gives it has nothing of it left and sends every client on.
//
// Raft is go.etcd.io/raft; store/replica, which builds on it as well, belongs to the tables, of which a cache must know nothing,
// and is made for much more: this log sees a few entries a day.
//
// Run owns all goroutines. Nodes can't be added to the group or taken from it yet.
package cluster
