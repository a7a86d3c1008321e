package plan

import (
	"cmp"
	"slices"
	"time"
)

// Loss is the system without one or two replicas of a service, solved anew: what is left carries all.
type Loss struct {
	Service string `json:"service"`
	// Lost replicas, and those left.
	Lost int `json:"lost"`
	Left int `json:"left"`
	// Saturation and Knee without them; both 0 where no replica is left.
	Saturation float64 `json:"saturation"`
	Knee       float64 `json:"knee"`
	// Factor of today's demand that is held without them: to the first broken SLO or, without SLOs, until full.
	Factor float64 `json:"factor"`
	// Holds says whether today's demand is held; Until, for how long (Never: beyond a hundred years).
	Holds bool          `json:"holds"`
	Never bool          `json:"never,omitempty"`
	Until time.Duration `json:"until_ns"`
}

// losses takes one and two replicas of each service away, one service at a time.
func (g *grower) losses() ([]Loss, error) {
	var shared *Loss // what any loss comes to where replicas have no limit
	var list []Loss
	before, err := g.knee()
	if err != nil {
		return nil, err
	}
	for i := range g.services {
		st := &g.services[i]
		if !st.own {
			continue
		}
		for lost := 1; lost <= 2 && lost <= st.replicas; lost++ {
			l := Loss{Service: st.name, Lost: lost, Left: st.replicas - lost}
			switch {
			case l.Left == 0:
			case st.limit <= 0 && shared != nil:
				// Its replicas share the machine without a limit: those that are left take it all.
				l.Saturation, l.Knee, l.Factor = shared.Saturation, shared.Knee, shared.Factor
			default:
				if err := g.without(i, &l, before); err != nil {
					return nil, err
				}
				if st.limit <= 0 {
					shared = &l
				}
			}
			l.Holds = l.Factor >= 1
			at, ok := g.until(l.Factor)
			l.Until, l.Never = at, !ok
			list = append(list, l)
		}
	}
	slices.SortStableFunc(list, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Lost, b.Lost), cmp.Compare(a.Factor, b.Factor), cmp.Compare(a.Service, b.Service))
	})
	return list, nil
}

// without solves the system with only l.Left replicas of service i; before is the knee with all.
func (g *grower) without(i int, l *Loss, before Limit) error {
	replicas := g.services[i].replicas
	g.services[i].replicas = l.Left
	defer func() { g.services[i].replicas = replicas }()
	held, _ := g.held()
	l.Saturation = min(held, ample)
	knee, err := g.kneeAfter(before)
	if err != nil {
		return err
	}
	l.Knee = knee.Throughput
	l.Factor, err = g.endOf(knee)
	return err
}
