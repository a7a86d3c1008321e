// Package cluster keeps tables on several nodes. Each node has all of them; one Raft group (package replica) orders what changes
// them. Any node answers any request.
//
// It promises: what was acknowledged is on the disks of a majority of the nodes, and is carried out once, also where the leader
// died meanwhile; a consistent read shows all that was acknowledged before it was asked for; an eventually consistent one shows
// what its node has, which lags by what is on its way. As long as a majority is up and can talk, it serves.
//
// The nodes are told to each at its start, and are the same for good: nodes that join, leave or come back with an empty disk are
// not supported yet. All rows are one group: more groups, which share the work between leaders, are not either.
//
// Run owns every goroutine.
package cluster
