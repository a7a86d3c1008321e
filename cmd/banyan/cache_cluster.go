package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/topology"
)

// cacheClusterFlags are what a node of a clustered cache takes from its command line. They have the shape of those of tables.
type cacheClusterFlags struct {
	node      uint64
	nodes     clusterFlags
	bootstrap bool
	replicas  int
	announce  string
	hotReads  time.Duration
}

func (f *cacheClusterFlags) add(flags *pflag.FlagSet) {
	flags.Uint64Var(&f.node, "node", 0, "`number` of this node of a cluster, from 1")
	flags.StringArrayVar(&f.nodes.peers, "peer", nil, "`NUMBER=HOST:PORT` at which the nodes of the cluster reach each other; once for each, this one too")
	flags.StringVar(&f.nodes.secretFile, "secret-file", "", "`file` whose first line the nodes of the cluster know each other by, 16 bytes at least")
	flags.BoolVar(&f.bootstrap, "bootstrap", false, "begin a new cluster, where --dir is empty; never for a node that has lost its own")
	flags.IntVar(&f.replicas, "replicas", 0, "of each primary, when the cluster begins: of 6 nodes with 1, 3 are primaries")
	flags.StringVar(&f.announce, "announce", "", "`address` that clients are sent to (default: that of --listen)")
	flags.DurationVar(&f.hotReads, "hot-reads", 0, "answer READONLY reads of other nodes' hot keys, that old at most, such as 200ms (default: only a key's own nodes do)")
}

// fits reports whether the nodes are those that the file says a cache has.
func (f *cacheClusterFlags) fits(name string, v *topology.Cache) error {
	peers := max(1, len(f.nodes.peers))
	switch {
	case v.Nodes > 1 && peers == 1:
		return usagef("caches.%s has %d nodes, which 'banyan up' runs: one of them alone needs --node, and --peer for each", name, v.Nodes)
	case peers != max(1, v.Nodes):
		return usagef("caches.%s has %d nodes in the file, and --peer names %d", name, v.Nodes, peers)
	case f.replicas != 0 && f.replicas != v.Replicas:
		return usagef("caches.%s has replicas: %d in the file, and --replicas is %d", name, v.Replicas, f.replicas)
	}
	return nil
}

// config is what the flags say, and the file of the cache if it is of one; nil: the cache stands alone. --dir is for what the nodes agree
// on; the data are kept below it, where that is asked for.
func (f *cacheClusterFlags) config(sys *topology.System, name string, p *cache.Persist, kept persistFlags) (*cache.Cluster, error) {
	if f.node == 0 && len(f.nodes.peers) == 0 {
		if f.replicas != 0 || f.announce != "" || f.nodes.secretFile != "" || f.bootstrap || f.hotReads != 0 {
			return nil, usagef("--replicas, --announce, --secret-file, --bootstrap and --hot-reads are of a cluster: --node and --peer are missing")
		}
		return nil, nil
	}
	peers, err := f.nodes.numbered(f.node)
	if err != nil {
		return nil, err
	}
	caller, err := f.nodes.caller()
	if err != nil {
		return nil, err
	}
	if kept.dir == "" {
		return nil, usagef("--dir is missing: a node of a cluster keeps there what the nodes agree on")
	}
	dir, err := filepath.Abs(kept.dir)
	if err != nil {
		return nil, err
	}
	if kept.append == "" && kept.snapshot == "" && (sys == nil || sys.Caches[name].Persist == nil) {
		if kept.repair {
			return nil, usagef("--repair is for data that are kept: --append or --snapshot is missing")
		}
		*p = cache.Persist{}
	} else {
		p.Dir = filepath.Join(dir, "data")
	}
	if sys != nil {
		f.replicas = sys.Caches[name].Replicas
		if f.hotReads == 0 {
			f.hotReads = sys.Caches[name].HotReads.Std()
		}
	}
	return &cache.Cluster{Node: f.node, Peers: peers, Secret: caller.Secret, Dir: dir, Bootstrap: f.bootstrap, Replicas: f.replicas, Announce: f.announce,
		HotReads: f.hotReads}, nil
}

// told is what the line that says that a cache runs says of its cluster.
func (f *cacheClusterFlags) told() string {
	if f.node == 0 {
		return ""
	}
	return fmt.Sprintf(", node %d of %d", f.node, len(f.nodes.peers))
}

func (c *cli) cacheRebalance() *cobra.Command {
	a := &cacheClient{cli: c}
	var weights []string
	cmd := &cobra.Command{
		Use:   "rebalance HOST:PORT",
		Short: "Move slots between the nodes of a clustered cache, while it serves",
		Long: `Move slots between the primaries of a clustered cache, while it serves, until each has its share: as many as the others, or as
--weight says; 0 empties a node. No more slots are moved than must be. HOST:PORT is any node. Clients notice nothing but redirections.

It returns when all have moved. Where it is interrupted the nodes go on; the same command then only waits.`,
		Example: "  banyan cache rebalance 127.0.0.1:6379\n  banyan cache rebalance 127.0.0.1:6379 --weight 3=0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rebalance(cmd.Context(), args[0], weights)
		},
	}
	cmd.Flags().StringArrayVar(&weights, "weight", nil, "`NODE=WEIGHT` of a primary, by its number; those that are not named have 1")
	cmd.Flags().StringVar(&a.passwordFile, "password-file", "", "`file` whose first line is the password of the cache")
	return cmd
}

func (a *cacheClient) rebalance(ctx context.Context, address string, weights []string) error {
	command := []any{"CACHE.REBALANCE"}
	for _, w := range weights {
		node, weight, ok := strings.Cut(w, "=")
		_, err := strconv.ParseUint(node, 10, 32)
		_, err2 := strconv.ParseUint(weight, 10, 32)
		if !ok || err != nil || err2 != nil {
			return usagef("--weight %s: expected NODE=WEIGHT, such as 3=2", w)
		}
		command = append(command, node, weight)
	}
	client, err := a.client(&redis.Options{Addr: address, DialTimeout: 3 * time.Second, ReadTimeout: 10 * time.Second, MaxRetries: -1, DisableIdentity: true, Protocol: 2})
	if err != nil {
		return err
	}
	defer client.Close() // nothing was written
	plan, err := client.Do(ctx, command...).Slice()
	switch {
	case err != nil && strings.Contains(err.Error(), "are moving already"):
		fmt.Fprintln(a.cli.out, "slots are moving already: waiting for them")
	case err != nil:
		return fmt.Errorf("asking the cache at %s: %w", address, err)
	case len(plan) == 0:
		fmt.Fprintln(a.cli.out, "each node has its share: nothing to move")
		return nil
	}
	for _, row := range plan {
		if v, ok := row.([]any); ok && len(v) == 3 {
			fmt.Fprintf(a.cli.out, "node %v to node %v: %v slots\n", v[0], v[1], v[2])
		}
	}
	return a.waitMoved(ctx, client)
}

// waitMoved waits until no slot moves.
func (a *cacheClient) waitMoved(ctx context.Context, client *redis.Client) error {
	began := time.Now()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		n, err := client.Do(ctx, "CACHE.MOVING").Int()
		if err != nil {
			return fmt.Errorf("asking whether the slots have moved: %w", err)
		}
		if n == 0 {
			fmt.Fprintf(a.cli.out, "moved in %s\n", time.Since(began).Round(10*time.Millisecond))
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted: the nodes go on moving slots")
		case <-again.C:
		}
	}
}
