package queueing

// productForm solves the model as a closed product-form network when it is one:
// every called task has a thread for each request that can reach it, all calls
// are synchronous, nothing happens after a reply, nothing forks, and hosts are
// processor-sharing or infinite (or serve no more users than they have servers).
// Threads then never delay anyone, so the layers collapse into the demands of
// the users at the processors.
func (p *lqnProgram) productForm() (*LQNSolution, bool, error) {
	if p.open {
		return nil, false, nil
	}
	users := 0
	for i := range p.tasks {
		if p.tasks[i].reference {
			users += p.tasks[i].servers
		}
	}
	for i := range p.tasks {
		t := &p.tasks[i]
		if !t.reference && !t.infinite && t.servers < users {
			return nil, false, nil
		}
		if x := &p.procs[t.proc]; !x.infinite && x.sched != LQNPS && x.servers < users {
			return nil, false, nil
		}
	}
	for e := range p.entries {
		x := &p.entries[e]
		if x.graph || len(x.forwards) > 0 || x.phases > 1 && !p.tasks[x.task].reference {
			return nil, false, nil
		}
	}
	net := &Network{Stations: make([]Station, len(p.procs))}
	for k := range p.procs {
		net.Stations[k] = Station{Name: p.model.Processors[k].Name, Servers: p.procs[k].servers}
		if p.procs[k].infinite {
			net.Stations[k].Kind = Delay
		}
	}
	// Calls of each entry in one cycle of each user, and the demands they make.
	var visits [][]float64
	for i := range p.tasks {
		t := &p.tasks[i]
		if !t.reference {
			continue
		}
		v := make([]float64, len(p.entries))
		v[t.entries[0]] = 1
		p.flow(v)
		class := Class{Name: p.model.Tasks[i].Name, Population: t.servers, Think: t.think, Demands: make([]float64, len(p.procs))}
		for e, n := range v {
			for _, a := range p.actsOf(e) {
				class.Demands[p.tasks[p.entries[e].task].proc] += n * p.acts[a].service
				class.Think += n * p.acts[a].think
			}
		}
		if sum(class.Demands) == 0 {
			return nil, false, nil // think times only: leave it to the chain
		}
		visits = append(visits, v)
		net.Classes = append(net.Classes, class)
	}
	if net.Validate() != nil {
		return nil, false, nil
	}
	s, err := ExactMVA(net, Options{MaxStates: 2e7})
	if err != nil {
		return nil, false, nil // too large: the other solvers decide
	}
	return p.unfold(net, s, visits), true, nil
}

// unfold gives the times of the entries back: work at a processor is stretched by
// residence over demand, for each class its own.
func (p *lqnProgram) unfold(net *Network, s *Solution, visits [][]float64) *LQNSolution {
	st := newLQNStats(p)
	begun := make([]float64, len(p.entries))
	for r, v := range visits {
		own := make([][]float64, len(p.entries)) // time of one invocation by phase
		var timeOf func(e int) []float64
		timeOf = func(e int) []float64 {
			if own[e] != nil {
				return own[e]
			}
			out := make([]float64, p.phases)
			proc := p.tasks[p.entries[e].task].proc
			stretch := 1.0
			if d := net.Classes[r].Demands[proc]; d > 0 {
				stretch = s.Residence[r][proc] / d
			}
			for _, a := range p.actsOf(e) {
				x := &p.acts[a]
				out[x.phase] += x.think + x.service*stretch
				for _, y := range x.calls {
					out[x.phase] += y.mean * sum(timeOf(y.entry))
				}
			}
			own[e] = out
			return out
		}
		for e, n := range v {
			if n == 0 {
				continue
			}
			begun[e] += n * s.Throughput[r]
			for ph, x := range timeOf(e) {
				st.inPhase[e*p.phases+ph] += n * s.Throughput[r] * x
			}
		}
	}
	copy(st.busy, s.StationUtilisation)
	for k := range st.busy {
		if !p.procs[k].infinite {
			st.busy[k] *= float64(p.procs[k].servers)
		}
	}
	out := p.result(st, begun)
	out.Method, out.Exact = "product form, "+s.Method, true
	return out
}
