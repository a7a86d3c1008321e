package topology

import (
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// inheritInbound gives each route what it leaves out and its service's inbound says, before anything is decoded: a
// route's own 'retry: {attempts: 2}' keeps the service's budget.
func (d *decoder) inheritInbound(root *node) *node {
	routes, services := root.get("routes"), root.get("services")
	if routes == nil || services == nil || routes.value.kind != listKind {
		return root
	}
	inbounds := map[string]*node{}
	for _, s := range services.value.entries {
		if in := s.value.get("inbound"); in != nil && in.value.kind == mapKind {
			inbounds[s.key] = only(in.value, inboundKeys())
		}
	}
	items := make([]*node, len(routes.value.items))
	for i, r := range routes.value.items {
		items[i] = r
		if to := destinationOf(r); to != "" && inbounds[to] != nil {
			from := inbounds[to]
			if r.get("hash") != nil {
				// One thing is hashed: the route's own takes the whole place of the service's.
				from = only(from, slices.DeleteFunc(inboundKeys(), func(key string) bool { return key == "hash" }))
			}
			items[i] = overlay(from, r)
		}
	}
	list := *routes.value
	list.items = items
	out := *root
	out.entries = append([]entry{}, root.entries...)
	out.get("routes").value = &list
	return &out
}

// destinationOf returns the service whose inbound a route takes over: 'to', or the one of the most weight in 'split'.
func destinationOf(route *node) string {
	if to := route.get("to"); to != nil {
		return to.value.text
	}
	split := route.get("split")
	if split == nil || split.value.kind != mapKind {
		return ""
	}
	r := Route{Split: map[string]float64{}}
	for _, e := range split.value.entries {
		if w, err := strconv.ParseFloat(e.value.text, 64); err == nil {
			r.Split[e.key] = w
		}
	}
	return r.primary()
}

// inboundKeys returns what a service can say for its routes.
func inboundKeys() []string {
	var keys []string
	for _, f := range fieldsOf(reflect.TypeFor[Inbound]()) {
		keys = append(keys, f.name)
	}
	return keys
}

// only returns a map with no other keys than those given.
func only(n *node, keys []string) *node {
	out := &node{kind: mapKind, at: n.at, size: 1}
	for _, k := range keys {
		if e := n.get(k); e != nil {
			out.entries = append(out.entries, *e)
		}
	}
	return out
}

// complete fills in what follows from other fields.
func complete(sys *System, d *decoder) {
	for _, s := range sys.Services {
		if s.Replicas.Max == 0 {
			s.Replicas.Max = max(s.Replicas.Min, 1)
		}
		completeCalls(sys, s.Work, s.Uses)
	}
	for _, f := range sys.Functions {
		completeCalls(sys, f.Work, f.Uses)
	}
	for _, name := range sortedKeys(sys.Queues) {
		q := sys.Queues[name]
		if q.DeadLetter == "" || sys.Queues[q.DeadLetter] != nil || !namePattern.MatchString(q.DeadLetter) {
			continue
		}
		dead := &Queue{}
		at := d.spots[q].child("dead_letter")
		d.value(&node{kind: mapKind, at: at.at}, reflect.ValueOf(dead).Elem(), rules{}, at.path)
		dead.Engine, dead.URL = q.Engine, q.URL
		d.spots[dead] = at
		sys.Queues[q.DeadLetter] = dead
	}
	for _, v := range sys.Sagas {
		for _, step := range v.Steps {
			if step.Wait == nil {
				step.SagaAction.complete()
			}
			if step.Compensate != nil {
				step.Compensate.complete()
			}
		}
	}
	for _, s := range sys.Services {
		s.Inbound.Limit.complete()
	}
	for _, r := range sys.Routes {
		r.Limit.complete()
		if r.To == "" {
			r.To = r.primary()
		}
	}
	nameRoutes(sys.Routes)
	if sys.Workload != nil {
		completeWorkload(sys)
	}
}

// complete fills in the burst.
func (l *Limit) complete() {
	if l != nil && l.Burst == 0 {
		l.Burst = int(min(max(math.Ceil(float64(l.Rate)), 1), 1e9))
	}
}

// completeCalls gives each used service one call where nothing else is said.
func completeCalls(sys *System, w *Work, uses []string) {
	if w == nil {
		return
	}
	for _, u := range uses {
		if _, said := w.Calls[u]; said || sys.Services[u] == nil {
			continue
		}
		if w.Calls == nil {
			w.Calls = map[string]float64{}
		}
		w.Calls[u] = 1
	}
}

// nameRoutes names the routes that have no name by what they match. The host is named where it is needed to tell two
// apart, and a number where that is not enough.
func nameRoutes(routes []*Route) {
	taken := map[string]bool{}
	for _, r := range routes {
		if r.Name != "" {
			taken[r.Name] = true
		}
	}
	for _, r := range routes {
		if r.Name != "" {
			continue
		}
		method := r.Method
		if method != "" {
			method += " "
		}
		name := method + r.Path
		if taken[name] && r.Host != "" && r.Host != "*" {
			name = method + r.Host + r.Path
		}
		for n := 2; taken[name]; n++ {
			name = method + r.Path + " #" + strconv.Itoa(n)
		}
		taken[name] = true
		r.Name = name
	}
}

func completeWorkload(sys *System) {
	w := sys.Workload
	if len(w.Mix) == 0 && len(w.Scenarios) > 0 {
		w.Mix = make(map[string]Percent, len(w.Scenarios))
		for name := range w.Scenarios {
			w.Mix[name] = Percent(1 / float64(len(w.Scenarios)))
		}
	}
	router := NewRouter(sys.Routes)
	for _, s := range w.Scenarios {
		for _, steps := range [][]*Step{s.Setup, s.Steps, s.Teardown} {
			for _, step := range steps {
				if step.Name == "" {
					step.Name = stepName(router, step)
				}
			}
		}
	}
}

// stepName returns the name of the route that a step's request takes, or what it asks for where it takes none.
// Variables of the path stand for themselves: they match only where any text would.
func stepName(router *Router, step *Step) string {
	if !step.IsRouted() {
		return step.Title()
	}
	path, _, _ := strings.Cut(step.Path, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	host := ""
	for _, name := range sortedKeys(step.Headers) {
		if strings.EqualFold(name, "host") {
			host = step.Headers[name]
		}
	}
	if r := router.Match(step.Method, host, decoded, step.Parts()); r != nil {
		return r.Name
	}
	return fmt.Sprintf("%s %s", step.Method, path)
}
