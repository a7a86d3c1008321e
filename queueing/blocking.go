package queueing

import (
	"errors"
	"fmt"
)

// BlockingNetwork is a closed single-class network of stations with finite
// capacity. A customer whose next station is full stays in the server it was
// served by (blocking after service); blocked customers enter in the order in
// which they were blocked.
type BlockingNetwork struct {
	Population int
	Service    []float64   // mean service times
	Servers    []int       // nil: one each
	Capacity   []int       // customers that fit, in service included; 0: all
	Routing    [][]float64 // probabilities, rows sum to 1
}

// BlockingSolution is its steady state, by station. Response counts the time
// blocked.
type BlockingSolution struct {
	Method                                                  string
	Exact                                                   bool
	States                                                  int
	Throughput, Response, QueueLength, Utilisation, Blocked []float64
}

func (b *BlockingNetwork) validate() error {
	n := len(b.Service)
	if len(b.Capacity) != n || len(b.Routing) != n || b.Servers != nil && len(b.Servers) != n {
		return fmt.Errorf("%d service times, %d capacities, %d servers, %d rows of routing: must agree", n, len(b.Capacity), len(b.Servers), len(b.Routing))
	}
	if err := checkRouting(b.Routing, true); err != nil {
		return err
	}
	if b.Population < 1 || b.Population > maxCapacity {
		return fmt.Errorf("population is %d, must be 1 to %d", b.Population, maxCapacity)
	}
	room := 0
	for i := range b.Service {
		if err := checkPositive("service time", b.Service[i]); err != nil {
			return fmt.Errorf("station %d: %w", i+1, err)
		}
		if b.Capacity[i] < 0 || b.Capacity[i] > maxCapacity {
			return fmt.Errorf("station %d: capacity is %d, must be 1 to %d, or 0 for no limit", i+1, b.Capacity[i], maxCapacity)
		}
		if b.servers(i) < 1 || b.servers(i) > b.capacity(i) {
			return fmt.Errorf("station %d: %d servers in a capacity of %d", i+1, b.servers(i), b.capacity(i))
		}
		room += b.capacity(i)
	}
	if b.Population >= room {
		return fmt.Errorf("population %d does not fit below the capacity of all stations, %d: nothing could move", b.Population, room)
	}
	return nil
}

func (b *BlockingNetwork) servers(i int) int {
	if b.Servers == nil {
		return 1
	}
	return b.Servers[i]
}

func (b *BlockingNetwork) capacity(i int) int {
	if b.Capacity[i] == 0 {
		return max(b.Population, b.servers(i))
	}
	return b.Capacity[i]
}

// MVABLO approximates by mean value analysis: where a queue outgrows its
// capacity, arrivals to it stop and the stations before it are held up by its
// service time (Akyildiz 1988). Single servers only.
func MVABLO(b *BlockingNetwork) (*BlockingSolution, error) {
	if err := b.validate(); err != nil {
		return nil, fmt.Errorf("blocking: %w", err)
	}
	n := len(b.Service)
	for i := range n {
		if b.servers(i) != 1 {
			return nil, fmt.Errorf("blocking: station %d: MVABLO is for single servers", i+1)
		}
	}
	visits, err := ClosedVisits(b.Routing, 0)
	if err != nil {
		return nil, fmt.Errorf("blocking: %w", err)
	}
	queue, next := make([]float64, n), make([]float64, n)
	held := make([]float64, n) // blocking time added
	sees := make([]float64, n) // 1 while the station takes new arrivals
	times := make([]float64, n)
	for i := range sees {
		sees[i] = 1
	}
	x, rounds := 0.0, 0
	for k := 1; k <= b.Population; k++ {
		for ; ; rounds++ {
			if rounds > 50_000_000/n {
				return nil, errors.New("blocking: MVABLO did not settle: population and capacities leave the stations blocked")
			}
			cycle := 0.0
			for i := range times {
				times[i] = b.Service[i]*(sees[i]+queue[i]) + held[i]
				cycle += visits[i] * times[i]
			}
			x = float64(k) / cycle
			full := -1
			for i := range times {
				next[i] = x * visits[i] * times[i]
				if full < 0 && next[i] > float64(b.capacity(i)) {
					full = i
				}
			}
			if full < 0 {
				break
			}
			sees[full] = 0
			for i := range held {
				held[i] += b.Service[full] * visits[i] * b.Routing[i][full] / visits[full]
			}
		}
		queue, next = next, queue
	}
	s := newBlockingSolution("MVABLO", n)
	for i := range n {
		s.Throughput[i] = x * visits[i]
		s.Response[i] = times[i]
		s.QueueLength[i] = queue[i]
		s.Utilisation[i] = s.Throughput[i] * b.Service[i]
	}
	return s, nil
}

func newBlockingSolution(method string, n int) *BlockingSolution {
	return &BlockingSolution{Method: method, Throughput: make([]float64, n), Response: make([]float64, n),
		QueueLength: make([]float64, n), Utilisation: make([]float64, n), Blocked: make([]float64, n)}
}
