package simulate

import (
	"fmt"

	"github.com/banyanhq/banyan/topology"
)

// addRoute compiles a route: what one request of it does, from the gateway down.
func (c *compiler) addRoute(name string) error {
	if _, f := topology.ServiceOf(name); c.sys.RouteByName(name) == nil && c.sys.Functions[f] != nil {
		return c.addFunctionRoute(name)
	}
	route := c.sys.RouteByName(name)
	if route == nil {
		return fmt.Errorf("the load names it, but it does not exist")
	}
	if route.Redirect != nil {
		return c.addRedirect(name)
	}
	to := route.To
	if to == "" && len(route.Split) > 0 {
		to = route.Shares(false)[0].Service
	}
	if c.sys.Services[to] == nil {
		return fmt.Errorf("it leads to service %q, which does not exist", to)
	}
	compile := func(service string) (node, error) { return c.routeRoot(route, service) }
	root, err := compile(to)
	if err != nil {
		return err
	}
	t, err := c.traffic(route, compile)
	if err != nil {
		return err
	}
	if t != nil && t.fault != nil {
		if t.answered, err = c.onlyGateway(&root); err != nil {
			return err
		}
	}
	cache, err := c.httpCache(route)
	if err != nil {
		return err
	}
	hit := none
	if cache != none {
		if hit, err = c.hitRoot(&root); err != nil {
			return err
		}
		c.missRoot(&root)
	}
	i, err := c.addNode(root)
	if err != nil {
		return err
	}
	c.m.routes = append(c.m.routes, routeModel{name: name, root: i, cache: cache, hit: hit, traffic: t})
	return nil
}

// routeRoot is what a request of a route does that goes to a service.
func (c *compiler) routeRoot(route *topology.Route, service string) (node, error) {
	root := node{service: none, block: none}
	edge, err := c.edge(none, c.index[service], routeInbound(route, c.sys.Services[service]))
	if err != nil {
		return root, err
	}
	demands, ok := c.sys.Demands[route.Name]
	if !ok {
		entry, err := c.expandWork(service)
		root.calls = []nodeCall{{node: entry, edge: edge, mean: 1}}
		return root, err
	}
	tables := 0 // that the demands do not name
	for name := range c.sys.Tables {
		if demands["tables."+name] == nil {
			tables++
		}
	}
	if len(c.sys.Caches)+tables+len(c.sys.Queues)+len(c.sys.Topics)+len(c.sys.Functions) > 0 {
		c.assume("where demands are given, what services spend on caches, tables, queues, topics and functions is part of them")
	}
	return root, c.expandDemands(&root, edge, service, c.ofWay(route, service, demands))
}

// ofWay is what the demands of a route say of its requests that go to one service of several: those of the other services
// are left out, and it is visited once.
func (c *compiler) ofWay(route *topology.Route, service string, demands map[string]*topology.Demand) map[string]*topology.Demand {
	others := map[string]bool{}
	for _, s := range route.Shares(true) {
		others[s.Service] = true
	}
	if route.Mirror != nil {
		others[route.Mirror.To] = true
	}
	delete(others, service)
	if len(others) == 0 {
		return demands
	}
	c.assume("%s: the demands of services behind those that it is split between are taken to be alike on all ways", route.Name)
	out := map[string]*topology.Demand{}
	for name, d := range demands {
		if d == nil || others[name] {
			continue
		}
		one := *d
		if name == service {
			one.Visits = 1
		}
		out[name] = &one
	}
	return out
}

// addRedirect compiles requests that the gateway sends elsewhere.
func (c *compiler) addRedirect(name string) error {
	root := node{service: none, block: none}
	for _, part := range []string{Client, Gateway} {
		if d := c.sys.Demands[name][part]; d != nil && d.Visits > 0 && c.sys.Services[part] == nil {
			n := node{service: c.index[part], block: none}
			if err := c.setTimes(&n, part, d); err != nil {
				return err
			}
			if err := c.callDirectly(&root, n, d.Visits); err != nil {
				return err
			}
		}
	}
	i, err := c.addNode(root)
	if err != nil {
		return err
	}
	c.m.routes = append(c.m.routes, routeModel{name: name, root: i, cache: none})
	return nil
}

// addFunctionRoute compiles requests that start a function.
func (c *compiler) addFunctionRoute(name string) error {
	call, err := c.blockCall(none, name, 1)
	if err != nil {
		return err
	}
	i, err := c.addNode(node{service: none, block: none, calls: []nodeCall{call}})
	if err != nil {
		return err
	}
	c.m.routes = append(c.m.routes, routeModel{name: name, root: i, cache: none})
	return nil
}
