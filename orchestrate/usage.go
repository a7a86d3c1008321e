package orchestrate

import (
	"sync"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// ReplicaUsage is what one replica has used since it was created, all its processes and restarts together.
type ReplicaUsage struct {
	Service string `json:"service"`
	Replica string `json:"replica"`
	// CPU time used, user and system. It never decreases while the replica exists.
	CPU time.Duration `json:"cpu"`
	// Memory in use now: the working set of its control group, or the resident memory of its processes.
	Memory topology.Bytes `json:"memory"`
	// Periods of the CPU limit in which it ran, and those in which it was held back; 0 without a control group.
	Periods          uint64 `json:"periods"`
	ThrottledPeriods uint64 `json:"throttled_periods"`
	// Throttled is for how long it was held back, summed over its threads' CPUs.
	Throttled time.Duration `json:"throttled"`
	// Waited is for how long its threads were ready to run and did not, for want of a processor or of quota, summed over
	// them.
	Waited time.Duration `json:"waited"`
	// OOMKills counts processes that the kernel killed because the replica was at its memory limit.
	OOMKills uint64 `json:"oom_kills"`
	// Source is cgroup, proc, or "" while no process runs.
	Source string `json:"source"`
}

// consumption is a reading.
type consumption struct {
	cpu              time.Duration
	memory           topology.Bytes
	periods          uint64
	throttledPeriods uint64
	throttled        time.Duration
	waited           time.Duration
	oomKills         uint64
}

// plus adds up what only grows; memory is the newer reading's.
func (c consumption) plus(d consumption) consumption {
	return consumption{
		cpu:              c.cpu + d.cpu,
		memory:           d.memory,
		periods:          c.periods + d.periods,
		throttledPeriods: c.throttledPeriods + d.throttledPeriods,
		throttled:        c.throttled + d.throttled,
		waited:           c.waited + d.waited,
		oomKills:         c.oomKills + d.oomKills,
	}
}

// meter measures one replica over its restarts.
type meter struct {
	service, replica string

	mu    sync.Mutex
	base  consumption // of processes that have ended
	group *cgroup     // of the running process, nil if it has none
	pid   int         // of the running process, 0 if none runs
	last  consumption // latest reading of the running process
}

func (m *meter) attach(group *cgroup, pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.group, m.pid, m.last = group, pid, consumption{}
}

// detach ends the measuring of the running process; cpu is what the kernel says that it and its children used.
func (m *meter) detach(cpu time.Duration) (final consumption) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.group != nil {
		if c, err := m.group.usage(); err == nil {
			c.waited = m.last.waited
			m.last = c
		}
	} else {
		m.last.cpu = max(m.last.cpu, cpu)
	}
	final = m.last
	m.base = m.base.plus(m.last)
	m.base.memory = 0
	m.group, m.pid, m.last = nil, 0, consumption{}
	return final
}

// read measures; table gives a reading of all processes, made at most once.
func (m *meter) read(table func() processTable) ReplicaUsage {
	m.mu.Lock()
	defer m.mu.Unlock()
	source := ""
	switch {
	case m.group != nil:
		source = "cgroup"
		if c, err := m.group.usage(); err == nil {
			c.waited = max(Waited(m.group.pids()...), m.last.waited) // a thread that ends takes its waiting with it
			m.last = c
		}
	case m.pid != 0:
		source = "proc"
		t := table()
		pids := t.tree(m.pid)
		m.last = consumption{cpu: max(t.cpu(pids), m.last.cpu), waited: max(Waited(pids...), m.last.waited)} // a grandchild that nobody waited for takes its time with it
		for _, pid := range pids {
			m.last.memory += topology.Bytes(t.stats[pid].rss)
		}
	}
	c := m.base.plus(m.last)
	return ReplicaUsage{
		Service: m.service, Replica: m.replica, CPU: c.cpu, Memory: c.memory, Periods: c.periods,
		ThrottledPeriods: c.throttledPeriods, Throttled: c.throttled, Waited: c.waited, OOMKills: c.oomKills, Source: source,
	}
}

// cpu measures the CPU time alone.
func (m *meter) cpu(table func() processTable) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.group != nil:
		if now, err := m.group.cpuTime(); err == nil {
			m.last.cpu = now
		}
	case m.pid != 0:
		t := table()
		m.last.cpu = max(t.cpu(t.tree(m.pid)), m.last.cpu)
	}
	return m.base.cpu + m.last.cpu
}
