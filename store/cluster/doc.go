// Package cluster keeps tables on several nodes. Each node has all of them; Raft groups (package replica) order what changes them: a
// system group for the descriptions of tables and what is not spread, and one for each range of buckets of the others (package
// shard). Any node answers any request.
//
// It promises: what was acknowledged is on the disks of a majority of the nodes, and is carried out once, also where the leader
// died meanwhile; a consistent read shows all that was acknowledged before it was asked for; an eventually consistent one shows
// what its node has, which lags by what is on its way. As long as a majority is up and can talk, it serves.
//
// A write to one group is one command (write.go). What goes to several is a two-phase commit (transact.go) that whoever meets it brings
// to its end (settle.go). Requests are routed by what a node knows of the groups; a group refuses what is not its own, and it is routed
// anew. Each node splits, merges and hands over what it leads (tend.go), as pure functions say (plan.go).
//
// Nodes join, leave, and come back with an empty disk, while it serves. Each node keeps a directory of all (members.go), tells the
// others what is news (meet.go, ask.go), and has the groups that it leads (manage.go) do the next thing that each needs (reconcile.go):
// a learner for a node that asks, its promotion once it has caught up, the removal of one that leaves or was replaced; never what would lose the
// majority. A node that has lost its disk is another node with the same number, so that it can't break promises that it has forgotten.
//
// Data that are not what was written are found by reading them (scrub.go) and by comparing replicas (check.go); a node that has such
// takes itself out if the others can do without it, and gets everything anew (repair.go).
//
// Run owns every goroutine.
package cluster
