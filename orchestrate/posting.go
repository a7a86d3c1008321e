package orchestrate

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// post publishes how the service is.
func (c *controller) post(settled bool) {
	s := ServiceStatus{
		Service: c.name, Desired: c.target.replicas, CPU: c.limits.cpu, Memory: c.limits.memory,
		Revision: c.target.revision, Replacing: c.target.previous != 0, ReplaceError: c.rollError, Settled: settled,
		Replicas: []ReplicaStatus{},
	}
	if c.limits != (limits{}) {
		s.LimitsAdvisory = c.d.cgroups.advisory()
	}
	p := posting{}
	members := make([]*replica, 0, len(c.members))
	for _, r := range c.members {
		members = append(members, r)
	}
	slices.SortFunc(members, func(a, b *replica) int { return cmp.Compare(a.index, b.index) })
	for _, r := range members {
		if r.phase == phaseReady {
			s.Ready++
			r.restart.Running(time.Since(r.started))
		}
		since := r.readySince
		if r.phase != phaseReady {
			since = time.Time{}
		}
		s.Replicas = append(s.Replicas, ReplicaStatus{
			ID: r.name, State: r.phase.String(), PID: r.pid, Address: r.address, Revision: r.revision,
			Started: r.started, ReadySince: since, Restarts: max(r.starts-1, 0), CrashLooping: r.restart.CrashLooping(),
			LastExit: r.lastExit, OOMKilled: r.oom, Why: r.why,
		})
		p.meters = append(p.meters, r.meter)
		if r.phase != phaseStopping {
			p.failure = cmp.Or(p.failure, r.failure)
		}
	}
	p.status = s
	c.board.post(c.name, p)
}

// explain says why a replica does not come up, with its last lines.
func explain(name, why string, lines []string) string {
	var b strings.Builder
	b.WriteString(name + ": " + why)
	for _, l := range lines {
		b.WriteString("\n  | " + l)
	}
	return b.String()
}
