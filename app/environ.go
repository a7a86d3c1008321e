package app

import (
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// environ returns what a service finds in its environment beside what the orchestrator gives every replica: the URL of
// each service that it uses, and of each cache; that of the first cache is REDIS_URL as well. Of a cache that is a cluster the
// URL is that of one node, by which clients find the others, and all addresses stand in a variable that ends with _NODES.
func environ(sys *topology.System, service string, edgeURL func(from, to string) string, cacheURL func(name string) string,
	cacheNodes func(name string) []string) []string {
	svc := sys.Services[service]
	if svc == nil {
		return nil
	}
	var env []string
	first := true
	for _, used := range svc.Uses {
		if sys.Services[used] != nil {
			env = append(env, VariableOf(used)+"="+edgeURL(service, used))
		}
		kind, name := topology.ServiceOf(used)
		if kind != "caches" {
			continue
		}
		if url := cacheURL(name); url != "" {
			prefixes := []string{"REDIS", strings.TrimSuffix(VariableOf(name+"-redis"), "_URL")}
			if !first {
				prefixes = prefixes[1:]
			}
			first = false
			for _, p := range prefixes {
				env = append(env, p+"_URL="+url)
				if nodes := cacheNodes(name); len(nodes) > 0 {
					env = append(env, p+"_NODES="+strings.Join(nodes, ","))
				}
			}
		}
	}
	return env
}

// VariableOf is the name of the environment variable that holds a service's URL: PRODUCT_CATALOG_URL for
// product-catalog.
func VariableOf(service string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(service)) + "_URL"
}
