package app

import (
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// environ returns what a service finds in its environment beside what the orchestrator gives every replica: the URL of
// each service that it uses, and of each cache; that of the first cache is REDIS_URL as well.
func environ(sys *topology.System, service string, edgeURL func(from, to string) string, cacheURL func(name string) string) []string {
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
			if first {
				env = append(env, "REDIS_URL="+url)
			}
			first = false
			env = append(env, VariableOf(name+"-redis")+"="+url)
		}
	}
	return env
}

// VariableOf is the name of the environment variable that holds a service's URL: PRODUCT_CATALOG_URL for
// product-catalog.
func VariableOf(service string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(service)) + "_URL"
}
