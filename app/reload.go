package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

// Reload reads the file anew and goes by it from the next request on: routes, how calls are balanced, retried, broken
// and limited, backends elsewhere, the access log. It returns what was changed, in words. What would take the services'
// processes to be started anew is refused as a whole, by name.
func (a *App) Reload() ([]string, error) {
	a.reload.Lock()
	defer a.reload.Unlock()
	if a.cfg.Load == nil {
		return nil, errors.New("it was not started from a file, so that there is nothing to read again")
	}
	now := time.Now()
	sys, err := a.cfg.Load()
	if err != nil {
		return nil, err
	}
	if err := Unsupported(sys); err != nil {
		return nil, err
	}
	if a.cfg.GatewayOnly {
		if err := allElsewhere(sys); err != nil {
			return nil, err
		}
	}
	old := a.system.Load()
	if fixed := fixedChanges(old, sys); len(fixed) > 0 {
		return nil, fmt.Errorf("%s changed: that takes %s; nothing was reloaded", strings.Join(fixed, ", "), a.restart())
	}
	if err := a.gateway.Reload(sys); err != nil {
		return nil, err
	}
	if err := a.reloadMonitor(sys); err != nil {
		// The requests go by the new file; that the alerts go by the old one is said, and mended by the next reload.
		a.cfg.Log.Error("the alerts go by the file as it was", "error", err)
	}
	a.system.Store(sys)
	a.loaded.Store(&now)
	a.changeElsewhere(old, sys)
	changed := changes(old, sys)
	a.reloads.note(changed)
	a.canaries.add(orchestrate.Event{Time: now, What: "reloaded", Why: strings.Join(changed, ", ")})
	return changed, nil
}

// restart says how a change comes about that cannot be reloaded.
func (a *App) restart() string {
	if a.cfg.GatewayOnly {
		return "a new process, which 'banyan gateway --take-over' starts without losing a connection"
	}
	return "'banyan down' and 'banyan up'"
}

// reloadable are the fields that a running system goes by anew, or does not go by at all. All others, and whatever is
// added to the vocabulary, take a restart.
var (
	reloadableSystem = []string{"version", "machine", "layers", "services", "routes", "access_log", "connections", "http_cache", "slos", "workload",
		"growth", "prices", "demands", "calibration"}
	reloadableService = []string{"layer", "contract", "concurrency", "inbound", "backends", "work"}
)

// fixedChanges names what differs between two versions of a file and cannot be changed while the system runs.
func fixedChanges(old, now *topology.System) []string {
	fixed := differing(*old, *now, reloadableSystem)
	for _, name := range sortedUnion(old.Services, now.Services) {
		a, b := old.Services[name], now.Services[name]
		switch {
		case a == nil && b.External() || b == nil && a.External():
		case a == nil || b == nil || a.External() != b.External():
			fixed = append(fixed, "services."+name)
		default:
			for _, field := range differing(*a, *b, reloadableService) {
				fixed = append(fixed, "services."+name+"."+field)
			}
		}
	}
	return fixed
}

// differing names the fields of the vocabulary in which two structs differ, but for those given.
func differing[T any](a, b T, but []string) (names []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "-" || slices.Contains(but, name) {
			continue
		}
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}

// changes says in words what a reload from old to now has changed.
func changes(old, now *topology.System) []string {
	var out []string
	routes := func(sys *topology.System) map[string]*topology.Route {
		all := map[string]*topology.Route{}
		for _, r := range sys.Routes {
			all[r.Name] = r
		}
		return all
	}
	before, after := routes(old), routes(now)
	for _, name := range sortedUnion(before, after) {
		if what := difference(before[name], after[name]); what != "" {
			out = append(out, fmt.Sprintf("route %s %s", name, what))
		}
	}
	for _, name := range sortedUnion(old.Services, now.Services) {
		if what := difference(old.Services[name], now.Services[name]); what != "" {
			out = append(out, fmt.Sprintf("service %s %s", name, what))
		}
	}
	if !reflect.DeepEqual(old.AccessLog, now.AccessLog) {
		out = append(out, "access log changed")
	}
	if !reflect.DeepEqual(old.Connections, now.Connections) {
		out = append(out, "bounds on connections changed")
	}
	order := func(sys *topology.System) (names []string) {
		for _, r := range sys.Routes {
			names = append(names, r.Name)
		}
		return names
	}
	if len(out) == 0 && !slices.Equal(order(old), order(now)) {
		out = append(out, "order of the routes changed")
	}
	return out
}

func difference[T any](a, b *T) string {
	switch {
	case a == nil:
		return "added"
	case b == nil:
		return "removed"
	case !reflect.DeepEqual(a, b):
		return "changed"
	}
	return ""
}
