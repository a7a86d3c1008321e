package forecast

// maxHistory is how many values a Forecaster remembers: eleven days of minutes.
const maxHistory = 1 << 14

// history is a ring of the latest values, those filled in for missing ones too. It grows until it is full.
type history struct {
	ring  []float32
	first int // index of the oldest value once the ring is full
}

func (r *history) len() int { return len(r.ring) }

func (r *history) push(y float64) {
	if len(r.ring) < maxHistory {
		if len(r.ring) == cap(r.ring) {
			grown := make([]float32, len(r.ring), min(maxHistory, max(64, 2*cap(r.ring))))
			copy(grown, r.ring)
			r.ring = grown
		}
		r.ring = append(r.ring, float32(y))
		return
	}
	r.ring[r.first] = float32(y)
	r.first = (r.first + 1) % maxHistory
}

// back returns the value of so many steps ago: 0 is the latest.
func (r *history) back(steps int) float64 {
	return float64(r.ring[(r.first+len(r.ring)-1-steps)%len(r.ring)])
}

// mean returns the mean of the values around one, as many on each side as there are, at most w.
func (r *history) mean(steps, w int) float64 {
	w = min(w, steps, len(r.ring)-1-steps)
	sum := 0.0
	for i := steps - w; i <= steps+w; i++ {
		sum += r.back(i)
	}
	return sum / float64(2*w+1)
}
