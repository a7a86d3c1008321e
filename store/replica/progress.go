package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Progress is what a group's leader knows of one of its replicas.
type Progress struct {
	Replica
	Match    uint64 // the last entry that is known to be on its disk
	Up       bool   // something came from its node no longer ago than a follower waits for its leader
	CaughtUp bool   // it lacks none but the newest entries
	Snapshot bool   // it is being sent a snapshot
}

// progress describes the replicas of a group that this node leads.
func (c *core) progress(g *group) []Progress {
	if !g.leads() {
		return nil
	}
	match := map[uint64]uint64{}
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) { match[id] = pr.Match })
	var all []Progress
	for _, r := range g.state.desc.Replicas {
		self := r.ID == g.self
		all = append(all, Progress{Replica: r, Match: match[r.ID], Up: self || !c.silent(r.Node), CaughtUp: self || g.caughtUp(r.ID), Snapshot: g.streams[r.ID] != nil})
	}
	return all
}
