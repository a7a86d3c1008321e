package queueing

// lqnStats are time averages of what is where.
type lqnStats struct {
	inPhase []float64 // [entry*phases+phase] threads
	queued  []float64 // [entry] requests in line
	busy    []float64 // [processor] servers
}

func newLQNStats(p *lqnProgram) lqnStats {
	return lqnStats{make([]float64, len(p.entries)*p.phases), make([]float64, len(p.entries)), make([]float64, len(p.procs))}
}

// observe counts what is in a state.
func (s *lqnStats) observe(p *lqnProgram, st *lqnState) {
	for i := range st.threads {
		t := &st.threads[i]
		if t.task < 0 {
			continue
		}
		if t.branch[0].status == branchUser {
			continue
		}
		e := &p.entries[t.entry]
		phase := 0
		switch {
		case !e.graph:
			phase = p.acts[t.branch[0].act].phase
		case t.replied:
			phase = 1
		}
		s.inPhase[int(t.entry)*p.phases+phase]++
	}
	for _, q := range st.queue {
		for _, r := range q {
			s.queued[r.entry]++
		}
	}
	for proc, run := range st.run {
		n := len(run)
		if x := &p.procs[proc]; !x.infinite {
			n = min(n, x.servers)
		}
		s.busy[proc] += float64(n)
	}
}

func (s *lqnStats) add(o *lqnStats, weight float64) {
	for i, v := range o.inPhase {
		s.inPhase[i] += weight * v
	}
	for i, v := range o.queued {
		s.queued[i] += weight * v
	}
	for i, v := range o.busy {
		s.busy[i] += weight * v
	}
}

// result turns averages and rates into times by Little's law.
func (p *lqnProgram) result(s lqnStats, begun []float64) *LQNSolution {
	out := &LQNSolution{Entries: map[string]LQNEntryResult{}, Tasks: map[string]LQNTaskResult{}, Processors: map[string]float64{}}
	for e := range p.entries {
		x := &p.entries[e]
		r := LQNEntryResult{Throughput: begun[e], Phases: make([]float64, x.phases)}
		for ph := range r.Phases {
			n := s.inPhase[e*p.phases+ph]
			r.Utilisation += n
			if begun[e] > 0 {
				r.Phases[ph] = n / begun[e]
			}
		}
		if begun[e] > 0 {
			r.Wait = s.queued[e] / begun[e]
		}
		r.Response = r.Wait + r.Phases[0]
		if p.tasks[x.task].reference {
			r.Response = sum(r.Phases)
		}
		out.Entries[p.model.Entries[e].Name] = r
		t := out.Tasks[p.model.Tasks[x.task].Name]
		t.Throughput += r.Throughput
		t.Utilisation += r.Utilisation
		out.Tasks[p.model.Tasks[x.task].Name] = t
	}
	for i := range p.procs {
		out.Processors[p.model.Processors[i].Name] = s.busy[i]
	}
	return out
}
