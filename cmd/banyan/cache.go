package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/topology"
)

// cacheFlags are what the cache that stands alone takes from its command line.
type cacheFlags struct {
	listen, memory, policy, ttl, passwordFile string
	loops, clients                            int
	verbose                                   bool
	persist                                   persistFlags
	cluster                                   cacheClusterFlags
}

func (c *cli) cache() *cobra.Command {
	var f cacheFlags
	cmd := &cobra.Command{
		Use:     "cache",
		GroupID: "run",
		Short:   "Run a cache alone, for any Redis client",
		Long: `Run a cache alone, for any Redis client. With a file and the name of one of its caches, memory and ttl are taken from
there; flags go before the file. Under 'banyan up' the caches of the file run by themselves.

What is in it is gone when it ends, unless it is kept on disk: --dir.

With --node and --peer it is one of the nodes of a cluster, for any client of Redis Cluster: each primary has its share of the keys,
and replicas take over from those that die. --dir then keeps what the nodes agree on, and the data as well with --append or --snapshot.
--bootstrap begins a cluster, on each of its nodes, once.`,
		Example: `  banyan cache --listen 127.0.0.1:6379 --memory 256MiB
  banyan cache --dir ./kept --append always
  banyan cache -f banyan.yaml products
  banyan cache --node 1 --peer 1=10.0.0.1:7100 --peer 2=10.0.0.2:7100 --peer 3=10.0.0.3:7100 --secret-file secret --listen 10.0.0.1:6379 \
    --dir /var/lib/cache --bootstrap
  redis-cli -p 6379 INFO memory`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.cacheConfig(f, args)
			if err != nil {
				return err
			}
			cfg.Log = c.logger(f.verbose)
			server, err := cache.New(cfg)
			if err != nil {
				return wrongUse{err}
			}
			if err := server.Listen(); err != nil {
				return err
			}
			limit := "no memory limit"
			if cfg.Memory > 0 {
				limit = "up to " + topology.Bytes(cfg.Memory).String()
			}
			fmt.Fprintf(c.out, "cache on %s, %s%s%s\n", server.Addr(), limit, keptIn(server.Persists()), f.cluster.told())
			return server.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:6379", "`address` to be reached at")
	flags.StringVar(&f.memory, "memory", "", "what the data may take, such as 256MiB (default: any)")
	flags.StringVar(&f.policy, "policy", "", "maxmemory-policy (default: allkeys-lfu with --memory, noeviction without)")
	flags.StringVar(&f.ttl, "ttl", "", "after which a key expires that was stored without an expiry (default: never)")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` whose first line clients must give as password")
	f.persist.add(flags)
	f.cluster.add(flags)
	flags.IntVar(&f.loops, "loops", 0, "event loops (default: one for each processor)")
	flags.IntVar(&f.clients, "clients", 0, "connections at once (default: 10000)")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	cmd.AddCommand(c.cacheTraffic()...)
	cmd.AddCommand(c.cacheRebalance())
	return cmd
}

// cacheConfig joins the flags with what the file says of a cache that is named.
func (c *cli) cacheConfig(f cacheFlags, names []string) (cache.Config, error) {
	cfg := cache.Config{Listen: f.listen, Eviction: f.policy, Loops: f.loops, MaxClients: f.clients}
	if len(names) == 0 && len(c.files) > 0 {
		return cfg, usagef("the file has caches: name the one that is meant")
	}
	var sys *topology.System
	name, stateDir := "", ""
	if len(names) == 1 {
		var err error
		name = names[0]
		if stateDir, err = c.stateDir(); err != nil {
			return cfg, err
		}
		sys, err = topology.Load(c.files...)
		if err != nil {
			return cfg, wrongUse{err}
		}
		v := sys.Caches[names[0]]
		if v == nil {
			return cfg, usagef("the file has no cache %q", names[0])
		}
		if err := f.cluster.fits(name, v); err != nil {
			return cfg, err
		}
		cfg.Memory, cfg.TTL = int64(v.NodeMemory()), v.TTL.Std()
		if cfg.Origins, err = app.CacheOrigins(sys, names[0]); err != nil {
			return cfg, wrongUse{err}
		}
	}
	var err error
	if cfg.Persist, err = f.persist.config(sys, name, stateDir); err != nil {
		return cfg, err
	}
	if cfg.Cluster, err = f.cluster.config(sys, name, &cfg.Persist, f.persist); err != nil {
		return cfg, err
	}
	if f.memory != "" {
		b, err := topology.ParseBytes(f.memory)
		if err != nil {
			return cfg, usagef("--memory: %w", err)
		}
		cfg.Memory = int64(b)
	}
	if f.ttl != "" {
		d, err := topology.ParseDuration(f.ttl)
		if err != nil {
			return cfg, usagef("--ttl: %w", err)
		}
		cfg.TTL = d.Std()
	}
	if f.passwordFile != "" {
		if cfg.Password, err = firstLine(f.passwordFile, "password"); err != nil {
			return cfg, err
		}
		if cfg.Password == "" {
			return cfg, usagef("--password-file %s: its first line is empty", f.passwordFile)
		}
	}
	return cfg, nil
}
