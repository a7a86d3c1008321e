package orchestrate

import (
	"fmt"
	"log/slog"
)

// scale changes the desired number of replicas and the limits, of running replicas as well, or nothing of these.
func (c *controller) scale(ch Change) error {
	if c.target.stop {
		return fmt.Errorf("scale %s: the system is stopping", c.name)
	}
	w := wanted{Replicas: c.target.replicas, CPU: c.limits.cpu, Memory: c.limits.memory}
	if ch.Replicas != nil {
		w.Replicas = *ch.Replicas
	}
	if ch.CPU != nil {
		w.CPU = *ch.CPU
	}
	if ch.Memory != nil {
		w.Memory = *ch.Memory
	}
	if err := checkWanted(w); err != nil {
		return fmt.Errorf("scale %s: %w", c.name, err)
	}
	before, after := c.limits, limits{w.CPU, w.Memory}
	if after != before {
		var changed []*instance
		for _, r := range c.members {
			if r.in == nil {
				continue
			}
			if err := r.in.setLimits(after); err != nil {
				for _, in := range changed {
					_ = in.setLimits(before) // these limits were in force a moment ago
				}
				return fmt.Errorf("scale %s: %w", c.name, err)
			}
			changed = append(changed, r.in)
		}
		c.limits = after
		c.note(slog.LevelInfo, nil, "limits changed", fmt.Sprintf("from %v to %v", before, after))
	}
	if w.Replicas != c.target.replicas {
		c.note(slog.LevelInfo, nil, "scaled", fmt.Sprintf("from %d to %d replicas", c.target.replicas, w.Replicas))
		c.target.replicas = w.Replicas
	}
	if err := c.desired.record(c.name, c.svc, w); err != nil {
		return fmt.Errorf("%s is scaled, but a crash of the supervisor would undo it: %w", c.name, err)
	}
	return nil
}

// String writes the limits as people read them.
func (l limits) String() string {
	cpu, memory := "no CPU limit", "no memory limit"
	if l.cpu > 0 {
		cpu = formatCPU(l.cpu) + " CPU"
	}
	if l.memory > 0 {
		memory = formatBytes(l.memory)
	}
	return cpu + ", " + memory
}

// replace begins a rolling replacement by a new revision. One that is under way is overtaken.
func (c *controller) replace(reply chan error) {
	if c.target.stop {
		reply <- fmt.Errorf("restart %s: the system is stopping", c.name)
		return
	}
	rev := c.newRevision()
	if c.svc.Build != "" {
		if err := rev.pin(c.d.dir, c.name); err != nil {
			delete(c.revisions, rev.number)
			reply <- fmt.Errorf("restart %s: %w", c.name, err)
			return
		}
	}
	if c.target.previous == 0 {
		c.target.previous = c.target.revision
	}
	c.target.revision = rev.number
	c.target.bad = 0
	c.rollError = ""
	c.waiting = append(c.waiting, reply)
	c.note(slog.LevelInfo, nil, "replacing", fmt.Sprintf("revision %d", rev.number))
}
