package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/topology"
)

// storeFlags are what the tables that stand alone take from their command line.
type storeFlags struct {
	listen, dir, usersFile, region, cache string
	prometheus                            string
	verbose                               bool
	node                                  uint64
	zone                                  string
	bootstrap, join, manual               bool
	cluster                               clusterFlags
}

func (c *cli) store() *cobra.Command {
	var f storeFlags
	cmd := &cobra.Command{
		Use:     "store",
		GroupID: "run",
		Short:   "Run tables alone, for any AWS SDK",
		Long: `Run tables alone, behind the DynamoDB API, for any AWS SDK: set AWS_ENDPOINT_URL_DYNAMODB to the address. With -f the embedded
tables of the file are created if they are not there; clients may create others.

Nothing that was acknowledged is lost when the process or the machine dies. Signatures are not checked on a loopback address;
--users-file names those who may sign, one 'ACCESS-KEY SECRET' a line, and is needed on any other address.

With --node and --peer the tables are on several nodes: each has all of them, any answers any request, and what was acknowledged is
on the disks of a majority. --bootstrap begins a new cluster, on each of its nodes, once. A node without data that is started without
it joins the cluster at the addresses: a new node, or one that has lost its disk, which takes its old place. With --tls-ca and so on
nodes speak TLS to each other.`,
		Example: `  banyan store --dir /var/lib/tables
  banyan store -f banyan.yaml --listen 0.0.0.0:8000 --users-file users
  banyan store --node 1 --peer 1=10.0.0.1:7000 --peer 2=10.0.0.2:7000 --peer 3=10.0.0.3:7000 --secret-file secret --bootstrap
  banyan store --node 4 --peer 4=10.0.0.4:7000 --peer 1=10.0.0.1:7000 --secret-file secret --join
  AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 aws dynamodb list-tables`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.storeConfig(f)
			if err != nil {
				return err
			}
			for {
				err := c.runStore(cmd.Context(), cfg, f.prometheus)
				if cfg.Cluster == nil || !errors.Is(err, cluster.ErrDamaged) || cmd.Context().Err() != nil {
					return err
				}
				aside, e := cluster.SetAside(nil, cfg.Dir)
				if e != nil {
					return errors.Join(err, e)
				}
				fmt.Fprintf(c.err, "banyan: %v: they are in %s now, and the node gets them anew from the others\n", err, aside)
				cfg.Cluster.Bootstrap = false
			}
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8000", "`address` to be reached at")
	flags.StringVar(&f.dir, "dir", "banyan-store", "`folder` for the data")
	flags.StringVar(&f.usersFile, "users-file", "", "`file` with the users who may sign requests: 'ACCESS-KEY SECRET', one a line")
	flags.StringVar(&f.region, "region", "us-east-1", "region that the names of resources have")
	flags.StringVar(&f.cache, "cache", "256MiB", "memory for blocks of data, at most")
	flags.StringVar(&f.prometheus, "prometheus-listen", "", "show metrics to Prometheus at this `address`, under /metrics; ':9464' is one of this machine alone")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	flags.Uint64Var(&f.node, "node", 0, "`number` of this node of a cluster, from 1")
	flags.StringVar(&f.zone, "zone", "", "`name` of the zone that this node is in")
	flags.BoolVar(&f.bootstrap, "bootstrap", false, "begin a new cluster, where there are no data and no other node has met this one")
	flags.BoolVar(&f.join, "join", false, "join a cluster, where there are no data; this is the default without --bootstrap")
	f.cluster.add(flags, "`NUMBER=HOST:PORT` at which nodes of the cluster reach each other: this one, and all of a new cluster or some of one that runs")
	flags.BoolVar(&f.manual, "manual-ranges", false, "don't split and merge ranges by itself: see 'banyan store plan'")
	cmd.AddCommand(c.storePlan(), c.storeApply(), c.storeHot(), c.storeNodes(), c.storeDrain(), c.storeRemove(), c.storeCheck(), c.storeCerts())
	return cmd
}

// runStore opens the tables and serves them until the context ends, and their metrics at an address, if there is one.
func (c *cli) runStore(ctx context.Context, cfg store.Config, metrics string) error {
	s, err := store.New(cfg)
	if err != nil {
		return err
	}
	if metrics != "" {
		end, err := c.showStore(ctx, s, metrics)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		defer end()
	}
	if err := s.Listen(); err != nil {
		return err
	}
	checked := "signatures are not checked"
	if s.Authenticated() {
		checked = "signatures are checked, of " + plural(len(cfg.Users), "user")
	}
	where := "data in " + cfg.Dir
	if cfg.Cluster != nil {
		where = fmt.Sprintf("node %d of a cluster, %s", cfg.Cluster.Node, where)
	}
	fmt.Fprintf(c.out, "tables on %s (region %s; %s), %s\n", s.URL(), s.Region(), checked, where)
	return s.Run(ctx)
}

// showStore shows the metrics of tables until the function that it returns is called.
func (c *cli) showStore(ctx context.Context, s *store.Store, address string) (end func(), err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(store.Collector(func() *store.Store {
		if ctx.Err() != nil { // it is being closed
			return nil
		}
		return s
	}))
	server, l, err := scraped(address, registry)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.err, "metrics at http://%s/metrics\n", l.Addr())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	return func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}

// storeConfig joins the flags with what the file says.
func (c *cli) storeConfig(f storeFlags) (store.Config, error) {
	cfg := store.Config{Listen: f.listen, Dir: f.dir, Region: f.region, Log: c.logger(f.verbose)}
	cache, err := topology.ParseBytes(f.cache)
	if err != nil {
		return cfg, usagef("--cache: %w", err)
	}
	if cfg.Cache = int64(cache); cfg.Cache < 1<<20 {
		return cfg, usagef("--cache %s: expected 1MiB or more", f.cache)
	}
	if len(c.files) > 0 {
		sys, err := topology.Load(c.files...)
		if err != nil {
			return cfg, wrongUse{err}
		}
		cfg.Tables = store.FromFile(sys)
		for _, line := range store.Unsupported(sys) {
			fmt.Fprintln(c.err, line)
		}
	}
	if cfg.Cluster, err = f.clusterNode(); err != nil {
		return cfg, err
	}
	if f.usersFile != "" {
		if cfg.Users, err = readUsers(f.usersFile); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// clusterNode is what the flags say of the node of a cluster; nil: it is none.
func (f *storeFlags) clusterNode() (*cluster.Config, error) {
	if f.node == 0 && len(f.cluster.peers) == 0 {
		return nil, nil
	}
	if f.bootstrap && f.join {
		return nil, usagef("--bootstrap and --join: expected one of them")
	}
	peers, err := f.cluster.numbered(f.node)
	if err != nil {
		return nil, err
	}
	c := &cluster.Config{Node: f.node, Peers: peers, Zone: f.zone, Bootstrap: f.bootstrap, Manual: f.manual}
	if f.join && len(c.Peers) == 1 {
		return nil, usagef("--join: expected a --peer of the cluster, beside this node's own")
	}
	caller, err := f.cluster.caller()
	c.Secret, c.TLS = caller.Secret, caller.TLS
	return c, err
}

// readUsers reads secrets by access key. Empty lines, and those that begin with #, are left out.
func readUsers(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	users := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) != 2:
			return nil, usagef("--users-file %s, line %d: expected an access key and a secret", path, i+1)
		case users[fields[0]] != "":
			return nil, usagef("--users-file %s, line %d: %s is there twice", path, i+1, fields[0])
		default:
			users[fields[0]] = fields[1]
		}
	}
	if len(users) == 0 {
		return nil, usagef("--users-file %s has no users", path)
	}
	return users, nil
}
