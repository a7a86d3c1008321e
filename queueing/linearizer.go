package queueing

// linearize runs Chandy and Neuse's three passes: solve at the full population
// and at each population less one customer, take the differences of the shares,
// repeat.
func (a *amva) linearize() error {
	R, K := len(a.population), len(a.n.Stations)
	change := make([][][]float64, R) // D[r][j][k]
	queues := make([][][]float64, R) // at one customer of r less
	waits := make([][][]float64, R)
	for r := range change {
		change[r] = matrix(R, K)
		queues[r] = matrix(R, K)
		waits[r] = matrix(R, K)
		for j := range queues[r] {
			copy(queues[r][j], a.queue[j])
		}
	}
	full := a.wait
	for pass := 0; pass < 3; pass++ {
		a.wait = full
		if err := a.iterate(a.population, a.queue, change); err != nil {
			return err
		}
		if pass == 2 {
			break
		}
		pop := append([]float64(nil), a.population...)
		for r := range change {
			pop[r]--
			a.wait = waits[r]
			if err := a.iterate(pop, queues[r], change); err != nil {
				return err
			}
			pop[r]++
		}
		for r := range change {
			for j := range change[r] {
				less := a.population[j]
				if j == r {
					less--
				}
				for k := range change[r][j] {
					share := a.queue[j][k] / a.population[j]
					if less > 0 {
						change[r][j][k] = queues[r][j][k]/less - share
					} else {
						change[r][j][k] = 0
					}
				}
			}
		}
	}
	return nil
}
