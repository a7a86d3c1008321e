package queueing

import "fmt"

// blockState is customers by station and, for each station, the stations with a
// customer waiting to enter it, oldest first.
type blockState struct {
	n       []int
	waiting [][]int
}

func (s *blockState) key() string {
	k := make([]byte, 0, 4*len(s.n))
	for i := range s.n {
		k = append(k, byte(s.n[i]), byte(s.n[i]>>8), byte(s.n[i]>>16))
		for _, from := range s.waiting[i] {
			k = append(k, byte(from), byte(from>>8))
		}
		k = append(k, 0xff, 0xff)
	}
	return string(k)
}

func (s *blockState) clone() *blockState {
	c := &blockState{n: append([]int(nil), s.n...), waiting: make([][]int, len(s.waiting))}
	for i := range s.waiting {
		c.waiting[i] = append([]int(nil), s.waiting[i]...)
	}
	return c
}

// held counts the blocked customers in the servers of each station.
func (s *blockState) held() []int {
	h := make([]int, len(s.n))
	for _, w := range s.waiting {
		for _, from := range w {
			h[from]++
		}
	}
	return h
}

// leave takes a customer out of station i and lets in those that waited for the
// room, which makes room where they were.
func (s *blockState) leave(i int) {
	s.n[i]--
	for len(s.waiting[i]) > 0 {
		from := s.waiting[i][0]
		s.waiting[i] = s.waiting[i][1:]
		s.n[i]++
		i = from
		s.n[i]--
	}
}

const defaultBlockStates = 200_000

// BlockingMarkov solves a closed network with blocking after service exactly, by
// its Markov chain of at most maxStates states (0: 200 000).
func BlockingMarkov(b *BlockingNetwork, maxStates int) (*BlockingSolution, error) {
	if err := b.validate(); err != nil {
		return nil, fmt.Errorf("blocking: %w", err)
	}
	if maxStates == 0 {
		maxStates = defaultBlockStates
	}
	n := len(b.Service)
	first := &blockState{n: make([]int, n), waiting: make([][]int, n)}
	left := b.Population
	for i := range n {
		first.n[i] = min(left, b.capacity(i))
		left -= first.n[i]
	}
	index := map[string]int{first.key(): 0}
	states := []*blockState{first}
	var c chain
	for at := 0; at < len(states); at++ {
		s := states[at]
		held := s.held()
		for i := range n {
			busy := min(s.n[i], b.servers(i)) - held[i]
			if busy <= 0 {
				continue
			}
			for j, p := range b.Routing[i] {
				if p == 0 || i == j {
					continue
				}
				t := s.clone()
				if t.n[j] < b.capacity(j) {
					t.n[j]++
					t.leave(i)
				} else {
					t.waiting[j] = append(t.waiting[j], i)
				}
				key := t.key()
				to, known := index[key]
				if !known {
					if to = len(states); to >= maxStates {
						return nil, fmt.Errorf("blocking: more than %d states: %w", maxStates, ErrTooLarge)
					}
					index[key] = to
					states = append(states, t)
				}
				c.add(at, to, float64(busy)/b.Service[i]*p)
			}
		}
	}
	c.states = max(c.states, len(states))
	pi := []float64{1}
	if len(states) > 1 {
		var err error
		if pi, err = c.steady(); err != nil {
			return nil, fmt.Errorf("blocking: %w", err)
		}
	}
	sol := newBlockingSolution("Markov chain", n)
	sol.Exact, sol.States = true, len(states)
	for at, s := range states {
		held := s.held()
		for i := range n {
			sol.QueueLength[i] += pi[at] * float64(s.n[i])
			sol.Utilisation[i] += pi[at] * float64(min(s.n[i], b.servers(i))-held[i])
			sol.Blocked[i] += pi[at] * float64(held[i])
		}
	}
	for i := range n {
		sol.Throughput[i] = sol.Utilisation[i] / b.Service[i]
		sol.Utilisation[i] /= float64(b.servers(i))
		if sol.Throughput[i] > 0 {
			sol.Response[i] = sol.QueueLength[i] / sol.Throughput[i]
		}
	}
	return sol, nil
}
