package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/cache"
	"github.com/banyanhq/banyan/topology"
)

// cacheClient asks a cache that runs what it has seen of its requests.
type cacheClient struct {
	cli          *cli
	passwordFile string
	count        int                        // of hot keys, at most
	named        *control.CacheServerStatus // of the system that runs here; nil: an address was given
}

func (c *cli) cacheTraffic() []*cobra.Command {
	a := &cacheClient{cli: c}
	hot := &cobra.Command{
		Use:   "hot (NAME | HOST:PORT)",
		Short: "Show the keys that get most of the requests",
		Long: `Show the keys of a cache that get most of the requests, in the latest half minute or so: one request in 64 is looked at.
NAME is a cache of the system that runs here; HOST:PORT, or a redis:// URL, is one that stands alone.`,
		Example: "  banyan cache hot products\n  banyan cache hot 127.0.0.1:6379 -n 20",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), args[0], a.printHot, "CACHE.HOT", strconv.Itoa(a.count))
		},
	}
	hot.Flags().IntVarP(&a.count, "count", "n", 10, "keys at most")
	curve := &cobra.Command{
		Use:   "curve (NAME | HOST:PORT)",
		Short: "Show what share of the requests the cache would answer with more memory, or less",
		Long: `Show what share of the requests a cache would answer with more memory, or less, estimated from live traffic: a share of the
keys is played against small caches with the cache's own policy. It is good to a few points.
NAME is a cache of the system that runs here; HOST:PORT, or a redis:// URL, is one that stands alone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), args[0], a.printCurve, "CACHE.CURVE")
		},
	}
	for _, cmd := range []*cobra.Command{hot, curve} {
		cmd.Flags().StringVar(&a.passwordFile, "password-file", "", "`file` whose first line is the password of the cache")
	}
	return []*cobra.Command{hot, curve}
}

// client has the password of the file, if one was named.
func (a *cacheClient) client(opts *redis.Options) (*redis.Client, error) {
	if a.passwordFile != "" {
		var err error
		if opts.Password, err = firstLine(a.passwordFile, "password"); err != nil {
			return nil, err
		}
	}
	return redis.NewClient(opts), nil
}

// ask sends a command to the cache that is named, to each node of it, and prints the answers.
func (a *cacheClient) ask(ctx context.Context, name string, show func(nodes [][][]string) error, command ...string) error {
	addresses, err := a.addresses(ctx, name)
	if err != nil {
		return err
	}
	var answers [][][]string
	for _, address := range addresses {
		rows, err := a.askOne(ctx, name, address, command)
		if err != nil {
			return err
		}
		answers = append(answers, rows)
	}
	return show(answers)
}

// askOne asks one node.
func (a *cacheClient) askOne(ctx context.Context, name, address string, command []string) ([][]string, error) {
	opts := &redis.Options{Addr: address, DialTimeout: 3 * time.Second, MaxRetries: -1, DisableIdentity: true, Protocol: 2}
	var err error
	if strings.Contains(name, "://") {
		if opts, err = redis.ParseURL(name); err != nil {
			return nil, usagef("%s: %w", name, err)
		}
	}
	client, err := a.client(opts)
	if err != nil {
		return nil, err
	}
	defer client.Close() // nothing was written
	args := make([]any, len(command))
	for i, word := range command {
		args[i] = word
	}
	rows, err := client.Do(ctx, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("asking the cache at %s: %w", opts.Addr, err)
	}
	cells := make([][]string, 0, len(rows))
	for _, row := range rows {
		values, ok := row.([]any)
		if !ok {
			return nil, fmt.Errorf("the cache at %s answers what no banyan cache does", opts.Addr)
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprint(v)
		}
		cells = append(cells, line)
	}
	return cells, nil
}

// addresses of a cache: of the nodes of one of the running system, or the one that is named.
func (a *cacheClient) addresses(ctx context.Context, name string) ([]string, error) {
	if u, err := url.Parse(name); strings.Contains(name, ":") && (err != nil || u.Host == "") {
		return []string{name}, nil
	} else if err == nil && u.Host != "" {
		return []string{u.Host}, nil
	}
	client, info, err := a.cli.running(ctx)
	if err != nil {
		return nil, err
	}
	servers, err := client.CacheServers(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range servers {
		if s.Cache == name {
			a.named = &s
			return append([]string{s.Address}, otherNodes(s)...), nil
		}
		names = append(names, s.Cache)
	}
	return nil, usagef("%s has no embedded cache %q: it has %s", info.System, name, listed(names))
}

// otherNodes are the addresses of a cache beside its first.
func otherNodes(s control.CacheServerStatus) (all []string) {
	for _, n := range s.Nodes {
		if n.Address != s.Address {
			all = append(all, n.Address)
		}
	}
	return all
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// hotKeys reads what a node has answered.
func hotKeys(rows [][]string) (keys []cache.HotKey) {
	for _, row := range rows {
		if len(row) < 5 {
			continue
		}
		k := cache.HotKey{Key: row[1]}
		k.DB, _ = strconv.Atoi(row[0])
		k.PerSecond, _ = strconv.ParseFloat(row[2], 64)
		k.Share, _ = strconv.ParseFloat(row[3], 64)
		k.Copies, _ = strconv.Atoi(row[4])
		keys = append(keys, k)
	}
	return keys
}

// hotTable has a row for each hot key, and a column for copies where there are any.
func hotTable(t *table, before []string, keys []cache.HotKey, copies bool) {
	for _, h := range keys {
		cells := append(slices.Clone(before), strconv.Quote(h.Key), strconv.Itoa(h.DB), fmt.Sprintf("%.0f", h.PerSecond), fmt.Sprintf("%.1f%%", 100*h.Share))
		if copies {
			cells = append(cells, strconv.Itoa(h.Copies))
		}
		t.row(cells...)
	}
}

// copied reports whether other nodes have copies of a key.
func copied(keys []cache.HotKey) bool {
	return slices.ContainsFunc(keys, func(k cache.HotKey) bool { return k.Copies > 0 })
}

// hotHead are the titles of a hotTable.
func hotHead(copies bool) []string {
	head := []string{"KEY", "DB", "REQUESTS/S", "SHARE"}
	if copies {
		head = append(head, "COPIES")
	}
	return head
}

func (a *cacheClient) printHot(nodes [][][]string) error {
	var seen [][]cache.HotKey
	for _, rows := range nodes {
		seen = append(seen, hotKeys(rows))
	}
	all := cache.JoinHot(seen...)
	all = append([]cache.HotKey{}, all[:min(len(all), a.count)]...)
	t := table{head: hotHead(copied(all))}
	hotTable(&t, nil, all, copied(all))
	switch {
	case a.cli.json:
		return writeJSON(a.cli.out, all)
	case len(all) == 0:
		fmt.Fprintln(a.cli.out, "no key stands out: too little was asked for lately")
	default:
		t.write(a.cli.out)
	}
	return nil
}

// printCurve shows the curve of a whole cache, which the system that runs it has joined, or that of the node that was asked.
func (a *cacheClient) printCurve(nodes [][][]string) error {
	all := []cache.CurvePoint{}
	if a.named != nil {
		all = append(all, a.named.Curve...)
	} else {
		for _, row := range nodes[0] {
			if len(row) < 2 {
				continue
			}
			memory, _ := strconv.ParseInt(row[0], 10, 64)
			share, _ := strconv.ParseFloat(row[1], 64)
			all = append(all, cache.CurvePoint{Memory: memory, HitRatio: share})
		}
	}
	t := table{head: []string{"MEMORY", "ANSWERS"}}
	for _, p := range all {
		t.row(topology.Bytes(p.Memory).String(), fmt.Sprintf("%.1f%%", 100*p.HitRatio))
	}
	switch {
	case a.cli.json:
		return writeJSON(a.cli.out, all)
	case len(all) == 0:
		fmt.Fprintln(a.cli.out, "not known: the cache needs a memory limit of 16 MiB or more on each node, and some 30,000 requests that read")
	default:
		t.write(a.cli.out)
	}
	return nil
}
