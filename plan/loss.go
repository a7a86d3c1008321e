package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
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
	factor, err := g.endOf(knee)
	l.Factor = min(factor, ample)
	return err
}

// withoutZone solves the system without one of so many zones: of each service without as many replicas as the fullest zone
// holds, and without its part of the cores. It holds for as long as a service has replicas elsewhere.
func (g *grower) withoutZone(zones int) (*Loss, error) {
	l := &Loss{Service: fmt.Sprintf("a zone of %d", zones)}
	before, err := g.knee()
	if err != nil {
		return nil, err
	}
	cores := g.cores
	defer func() {
		g.cores = cores
		g.lose(0)
	}()
	down := false
	for i := range g.services {
		st := &g.services[i]
		if !st.own {
			continue
		}
		st.gone = int(math.Ceil(float64(st.replicas) / float64(zones)))
		l.Lost += st.gone
		l.Left += st.serving()
		down = down || st.visits > 0 && st.serving() == 0
	}
	g.cores -= g.cores / float64(zones)
	if !down {
		held, _ := g.held()
		l.Saturation = min(held, ample)
		knee, err := g.kneeAfter(before)
		if err != nil {
			return nil, err
		}
		l.Knee = knee.Throughput
		factor, err := g.endOf(knee)
		if err != nil {
			return nil, err
		}
		l.Factor = min(factor, ample)
	}
	l.Holds = l.Factor >= 1
	at, ok := g.until(l.Factor)
	l.Until, l.Never = at, !ok
	return l, nil
}

// ShardLoss is what the loss of all replicas of one shard of a table fails: the requests of each route that ask it for
// something, items being spread evenly. A shard with replicas left goes on, a strong one with most of them.
type ShardLoss struct {
	Table    string             `json:"table"`
	Shards   int                `json:"shards"`
	Replicas int                `json:"replicas"`
	Fails    map[string]float64 `json:"fails"` // share of a route's requests
}

// shardLosses follows the calls to tables that services declare.
func (g *grower) shardLosses(sys *topology.System) []ShardLoss {
	var list []ShardLoss
	for _, name := range sortedKeys(sys.Tables) {
		t := sys.Tables[name]
		l := ShardLoss{Table: name, Shards: max(t.Shards, 1), Replicas: max(t.Replicas, 1), Fails: map[string]float64{}}
		for i := range g.routes {
			r := &g.routes[i]
			asked := 0.0
			for _, c := range r.at {
				svc := sys.Services[g.services[c.service].name]
				if svc != nil && slices.ContainsFunc(svc.Uses, func(use string) bool { return use == "tables."+name }) {
					asked += c.demand.visits * callsOf(svc, "tables."+name)
				}
			}
			if asked > 0 {
				l.Fails[r.name] = 1 - math.Pow(1-1/float64(l.Shards), asked)
			}
		}
		if len(l.Fails) > 0 {
			list = append(list, l)
		}
	}
	slices.SortStableFunc(list, func(a, b ShardLoss) int { return strings.Compare(a.Table, b.Table) })
	return list
}
