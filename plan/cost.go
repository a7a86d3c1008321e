package plan

import (
	"math"

	"github.com/banyanhq/banyan/topology"
)

const (
	hoursPerMonth = 365.25 * 24 / 12
	gib           = 1 << 30
)

// Cost of the CPU and the memory of a system. Storage and egress are not part of it: a topology does not say how much
// of either is used.
type Cost struct {
	Currency string `json:"currency"`
	// Cores that must be paid for: the machine's, or what the replicas' limits add up to where that is more.
	Cores float64 `json:"cores"`
	// MemoryGiB is what the replicas' limits add up to.
	MemoryGiB float64 `json:"memory_gib"`
	// Hour and Month cost so much; MillionRequests at the planned load.
	Hour            float64 `json:"hour"`
	Month           float64 `json:"month"`
	MillionRequests float64 `json:"million_requests,omitempty"`
}

// resources are the cores to pay for, the cores that limits add up to, and the memory in GiB.
func (s *steady) resources() (cores, reserved, memory float64) {
	for _, st := range s.services {
		if st.own {
			reserved += st.limit * float64(st.replicas)
			memory += st.memory * float64(st.replicas) / gib
		}
	}
	return max(s.cores, reserved), reserved, memory
}

// cost of the system at a throughput; nil without prices.
func (s *steady) cost(p *topology.Prices, x float64) *Cost {
	if p == nil || p.CPUHour <= 0 && p.MemoryGiBHour <= 0 {
		return nil
	}
	c := &Cost{Currency: p.Currency}
	c.Cores, _, c.MemoryGiB = s.resources()
	c.Hour = c.Cores*p.CPUHour + c.MemoryGiB*p.MemoryGiBHour
	c.Month = c.Hour * hoursPerMonth
	if x > 0 && !math.IsInf(x, 0) {
		c.MillionRequests = c.Hour / (x * 3600) * 1e6
	}
	return c
}
