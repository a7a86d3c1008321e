package policy

import "github.com/banyanhq/banyan/topology"

// SetLocality makes the pool prefer members of a zone. It is called before the first Set; a nil cfg or an empty zone
// prefers none.
func (p *Pool) SetLocality(zone string, cfg *topology.Locality) {
	p.zone = ""
	if cfg != nil {
		p.zone, p.locality = zone, *cfg
	}
}

// nearby reports whether a request stays in the pool's zone. All do while enough of the zone's members can be used; below
// that, a share in proportion (Envoy's zone priorities with their overprovisioning factor). Where the load of a member is
// above a bound, they spill over as well. What stays and finds nobody goes elsewhere all the same.
func (p *Pool) nearby(r *Request) bool {
	v := r.view
	if v.local == 0 || v.local == len(v.members) {
		return false
	}
	usable, inFlight, weights := 0, int64(0), 0
	for _, m := range v.members {
		if m.Zone != p.zone {
			continue
		}
		inFlight += m.InFlight()
		weights += m.weight()
		if !m.full() && (m.Breaker == nil || r.panic || m.Breaker.State() == BreakerClosed) && !(r.judged && m.record.ejected(r.now)) {
			usable++
		}
	}
	if p.locality.Spill > 0 && float64(inFlight) >= p.locality.Spill*float64(weights) {
		return false
	}
	stay := max(p.locality.Overprovision, 1) * float64(usable) / float64(v.local)
	return stay >= 1 || fraction(mix(r.Random^zoneSalt)) < stay
}

// zoneSalt keeps the choice of the zone apart from other draws of the same request.
const zoneSalt = 0x5a6f6e65
