package queueing

// times computes how long phases take, callees first.
func (l *lqnLayers) times() {
	p := l.p
	for n := len(p.order) - 1; n >= 0; n-- {
		e := p.order[n]
		t := p.entries[e].task
		acts := p.actsOf(e)
		phase := func(f, a int) float64 {
			x, fr := &p.acts[a], &l.frames[f]
			time := x.service + x.think
			if x.service > 0 {
				time += (1 + x.total) * fr.host
			}
			for _, y := range x.calls {
				if !y.async {
					c := &l.frames[fr.child[p.entries[y.entry].task]]
					time += y.mean * (c.wait + c.reply[y.entry])
				}
			}
			return time
		}
		l.rest[e] = 0
		if d := l.later[t]; d >= 0 {
			for _, a := range acts {
				if ph := p.acts[a].phase; ph > 0 {
					time := phase(d, a)
					l.perPhase[e][ph] = time
					l.rest[e] += time
				}
			}
		}
		mean := 0.0
		for _, f := range l.at[t] {
			fr := &l.frames[f]
			if f == l.later[t] {
				continue
			}
			time := 0.0
			for _, a := range acts {
				if ph := p.acts[a].phase; ph == 0 || p.tasks[t].reference {
					one := phase(f, a)
					time += one
					if p.tasks[t].reference {
						l.perPhase[e][ph] = one
					}
				}
			}
			fr.first[e], fr.reply[e] = time, time
			if fr.parent >= 0 {
				for _, to := range p.entries[e].forwards {
					c := &l.frames[l.frames[fr.parent].child[p.entries[to.entry].task]]
					fr.reply[e] += to.p * (c.wait + c.reply[to.entry])
				}
			}
			mean += fr.rate[e] * time
		}
		if !p.tasks[t].reference && l.total[e] > 0 {
			l.perPhase[e][0] = mean / l.total[e]
		}
	}
}

// flows computes the rates from the users' cycle times and the open arrivals, callers first.
func (l *lqnLayers) flows() {
	const open = 0
	p := l.p
	for f := range l.frames {
		clear(l.frames[f].rate)
	}
	add := func(parent, e int, rate float64) {
		l.frames[l.frames[parent].child[p.entries[e].task]].rate[e] += rate
	}
	for _, e := range p.order {
		t := p.entries[e].task
		if a := p.entries[e].arrival; a > 0 {
			add(open, e, a)
		}
		if r := l.roots[t]; r >= 0 && e == p.tasks[t].entries[0] {
			l.frames[r].rate[e] = float64(p.tasks[t].servers) / (p.tasks[t].think + l.frames[r].first[e])
		}
		l.total[e] = 0
		for _, f := range l.at[t] {
			rate := l.frames[f].rate[e]
			if rate == 0 {
				continue
			}
			l.total[e] += rate
			for _, to := range p.entries[e].forwards {
				add(l.frames[f].parent, to.entry, rate*to.p)
			}
			for _, a := range p.actsOf(e) {
				x := &p.acts[a]
				carrier := f
				if x.phase > 0 && !p.tasks[t].reference {
					carrier = l.later[t]
				}
				for _, y := range x.calls {
					if y.async {
						add(open, y.entry, rate*y.mean)
					} else {
						add(carrier, y.entry, rate*y.mean)
					}
				}
			}
		}
	}
}
