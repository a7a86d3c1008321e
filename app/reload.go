package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

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
		return nil, fmt.Errorf("%s changed: that takes 'banyan down' and 'banyan up'; nothing was reloaded", strings.Join(fixed, ", "))
	}
	if err := a.gateway.Reload(sys); err != nil {
		return nil, err
	}
	a.system.Store(sys)
	a.loaded.Store(&now)
	a.changeElsewhere(old, sys)
	return changes(old, sys), nil
}

// fixedChanges names what differs between two versions of a file and cannot be changed while the system runs.
func fixedChanges(old, now *topology.System) []string {
	var fixed []string
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"system", old.Name != now.Name}, {"listen", old.Listen != now.Listen}, {"admin", old.Admin != now.Admin},
	} {
		if f.differs {
			fixed = append(fixed, f.name)
		}
	}
	for _, name := range sortedUnion(old.Services, now.Services) {
		a, b := old.Services[name], now.Services[name]
		switch {
		case a == nil && b.External() || b == nil && a.External():
		case a == nil || b == nil || a.External() != b.External():
			fixed = append(fixed, "services."+name)
		case !a.External():
			for _, field := range processFields(*a, *b) {
				fixed = append(fixed, "services."+name+"."+field)
			}
		}
	}
	return fixed
}

// processFields names the fields of a service that its replicas' processes were started with, or are watched by, and
// that differ.
func processFields(a, b topology.Service) []string {
	var out []string
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"build", a.Build, b.Build}, {"run", a.Run, b.Run}, {"dir", a.Dir, b.Dir}, {"env", a.Env, b.Env}, {"uses", a.Uses, b.Uses},
		{"replicas", a.Replicas, b.Replicas}, {"limits", a.Limits, b.Limits}, {"health", a.Health, b.Health},
		{"restart", a.Restart, b.Restart}, {"drain", a.Drain, b.Drain}, {"deploy", a.Deploy, b.Deploy}, {"metrics", a.Metrics, b.Metrics},
	} {
		if !reflect.DeepEqual(f.a, f.b) {
			out = append(out, f.name)
		}
	}
	return out
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
