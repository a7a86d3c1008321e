package plan

import (
	"fmt"
	"slices"
)

// From so large a share of the calls to a service on, that its bound refuses them is told.
const leastRefused = 0.01

// room is what the adaptive bound of a service does to the calls to it.
type room struct {
	*ObservedService
	calls, refused, inFlight float64
	behind                   map[string]bool // all that it waits for: services, tables, and it itself
}

// share of the calls that is refused.
func (r *room) share() float64 { return r.refused / max(r.calls, 1) }

// rooms are the services whose adaptive bound refuses so much that it is told.
func (o *Observation) rooms() (full []room) {
	for i := range o.Services {
		r := room{ObservedService: &o.Services[i]}
		for _, e := range o.Edges {
			if e.To == r.Name {
				r.calls, r.refused, r.inFlight = r.calls+e.Calls, r.refused+e.Refused, r.inFlight+e.InFlight
			}
		}
		if r.Bound > 0 && r.calls >= leastCalls && r.share() >= leastRefused {
			r.behind = o.behind(r.Name)
			full = append(full, r)
		}
	}
	return full
}

// behind is a service with all that its calls lead to, and the tables of these.
func (o *Observation) behind(service string) map[string]bool {
	all := map[string]bool{service: true}
	for grown := true; grown; {
		grown = false
		for _, e := range o.Edges {
			if e.Calls > 0 && all[e.From] && !all[e.To] {
				all[e.To], grown = true, true
			}
		}
	}
	for _, t := range o.Tables {
		if slices.ContainsFunc(t.Users, func(user string) bool { return all[user] }) {
			all[t.Table] = true
		}
	}
	return all
}

// pressed reports whether what a service's requests wait for is the machine: they are let in until a bound is full, so that
// there is always a line, which forms where something is used all the time (Denning and Buzen 1978, the bottleneck of a closed
// network), and here that is the cores, whoever else is on them: the load generator is, where it shares the machine.
func (v *view) pressed(full []room) bool {
	return v.o.Cores > 0 && v.o.Busy >= fullMachine*v.o.Cores && slices.ContainsFunc(full, func(r room) bool { return r.behind[v.Name] })
}

// bounds finds that adaptive bounds refuse requests. That is a symptom, and ranked after the strongest of what was found behind it,
// which is kept however weak it is. found is ordered by nothing, and may be changed.
func (o *Observation) bounds(full []room, found []Finding) (symptoms []Finding) {
	for _, r := range full {
		f := Finding{Class: ClassBound, Service: r.Name, Score: r.share(), By: "what is refused takes no time"}
		f.Evidence = []string{
			fmt.Sprintf("%.1f calls a second are refused, %.0f%% of those that come", r.refused/o.Seconds, 100*r.share()),
			fmt.Sprintf("it lets %.0f requests in at once, and %.1f are there on average", r.Bound, r.inFlight),
		}
		if r.inFlight < r.Bound/2 {
			f.Evidence = append(f.Evidence, "so it is full in bursts, or while something stalls, and not all the time")
		}
		var cause *Finding
		for i := range found {
			if c := &found[i]; (c.Service == Machine || r.behind[c.Service]) && (cause == nil || c.Score > cause.Score) {
				cause = c
			}
		}
		if cause != nil {
			cause.Score = max(cause.Score, leastScore)
			f.Score = min(f.Score, 0.99*cause.Score)
			f.Evidence = append(f.Evidence, fmt.Sprintf("what is short behind it: %s at %s, where %s", cause.Class, cause.Service, cause.Evidence[0]))
			f.Remedy = fmt.Sprintf("mend %s at %s; a higher bound would only have all wait for longer", cause.Class, cause.Service)
		} else {
			f.Evidence = append(f.Evidence, "nothing behind it is near its limit")
			f.Remedy = "raise adaptive.max, or add a replica: what is behind the bound has room"
		}
		symptoms = append(symptoms, f)
	}
	return symptoms
}
