package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

// ownServices is the system without the services that run elsewhere.
func ownServices(sys *topology.System) *topology.System {
	own := *sys
	own.Services = map[string]*topology.Service{}
	for name, svc := range sys.Services {
		if !svc.External() {
			own.Services[name] = svc
		}
	}
	return &own
}

// allElsewhere returns an error that names the services that only 'up' could start.
func allElsewhere(sys *topology.System) error {
	var missing []string
	for _, name := range sys.SortedServices() {
		if !sys.Services[name].External() {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the gateway alone starts no service, and has no backends of %s: name them with --backend %s=HOST:PORT, or with 'backends' in the file",
		strings.Join(missing, ", "), missing[0])
}

// addElsewhere tells the gateway of the backends that nobody starts here. They are taken to be ready: what is not is
// found out by the first calls, and left alone by its breaker.
func (a *App) addElsewhere(sys *topology.System) {
	for name, svc := range sys.Services {
		for _, b := range svc.Backends {
			a.gateway.Add(name, gateway.Backend{ID: b.Address, Address: b.Address, Weight: b.Weight, Zone: b.Zone})
			a.gateway.SetReady(name, b.Address, true)
		}
	}
}

// changeElsewhere follows a change of the file from old to now: new backends first, so that none is missing meanwhile.
func (a *App) changeElsewhere(old, now *topology.System) {
	type place struct{ service, address string }
	places := func(sys *topology.System) map[place]topology.Backend {
		all := map[place]topology.Backend{}
		for name, svc := range sys.Services {
			for _, b := range svc.Backends {
				all[place{name, b.Address}] = b
			}
		}
		return all
	}
	before, after := places(old), places(now)
	for p, b := range after {
		if o, known := before[p]; !known || o != b {
			a.gateway.Add(p.service, gateway.Backend{ID: p.address, Address: p.address, Weight: b.Weight, Zone: b.Zone})
			a.gateway.SetReady(p.service, p.address, true)
		}
	}
	for p := range before {
		if _, stays := after[p]; !stays {
			// What is in flight there finishes; nobody waits for it.
			a.gateway.Remove(p.service, p.address)
		}
	}
}

// runServices runs the services of this machine until ctx ends, if there are any.
func (a *App) runServices(ctx context.Context) error {
	if len(ownServices(a.cfg.System).Services) == 0 {
		<-ctx.Done()
		return nil
	}
	return a.orch.Run(ctx)
}

func (a *App) waitReady(ctx context.Context) error {
	if len(ownServices(a.cfg.System).Services) == 0 {
		return nil
	}
	return a.orch.WaitReady(ctx)
}

// sortedUnion returns the keys of both.
func sortedUnion[V any](a, b map[string]V) []string {
	keys := map[string]struct{}{}
	for k := range a {
		keys[k] = struct{}{}
	}
	for k := range b {
		keys[k] = struct{}{}
	}
	return slices.Sorted(maps.Keys(keys))
}
