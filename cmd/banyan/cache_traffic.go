package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/topology"
)

// cacheClient asks a cache that runs what it has seen of its requests.
type cacheClient struct {
	cli          *cli
	passwordFile string
}

func (c *cli) cacheTraffic() []*cobra.Command {
	a := &cacheClient{cli: c}
	var count int
	hot := &cobra.Command{
		Use:   "hot (NAME | HOST:PORT)",
		Short: "Show the keys that get most of the requests",
		Long: `Show the keys of a cache that get most of the requests, in the latest half minute or so: one request in 64 is looked at.
NAME is a cache of the system that runs here; HOST:PORT, or a redis:// URL, is one that stands alone.`,
		Example: "  banyan cache hot products\n  banyan cache hot 127.0.0.1:6379 -n 20",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), args[0], a.printHot, "CACHE.HOT", strconv.Itoa(count))
		},
	}
	hot.Flags().IntVarP(&count, "count", "n", 10, "keys at most")
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

// ask sends a command to the cache that is named and prints its answer.
func (a *cacheClient) ask(ctx context.Context, name string, show func([][]string) error, command ...string) error {
	address, err := a.address(ctx, name)
	if err != nil {
		return err
	}
	opts := &redis.Options{Addr: address, DialTimeout: 3 * time.Second, MaxRetries: -1, DisableIdentity: true, Protocol: 2}
	if strings.Contains(name, "://") {
		if opts, err = redis.ParseURL(name); err != nil {
			return usagef("%s: %w", name, err)
		}
	}
	if a.passwordFile != "" {
		b, err := os.ReadFile(a.passwordFile)
		if err != nil {
			return fmt.Errorf("reading the password: %w", err)
		}
		opts.Password, _, _ = strings.Cut(strings.TrimRight(string(b), "\r\n"), "\n")
	}
	client := redis.NewClient(opts)
	defer client.Close() // nothing was written
	args := make([]any, len(command))
	for i, word := range command {
		args[i] = word
	}
	rows, err := client.Do(ctx, args...).Slice()
	if err != nil {
		return fmt.Errorf("asking the cache at %s: %w", opts.Addr, err)
	}
	cells := make([][]string, 0, len(rows))
	for _, row := range rows {
		values, ok := row.([]any)
		if !ok {
			return fmt.Errorf("the cache at %s answers what no banyan cache does", opts.Addr)
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprint(v)
		}
		cells = append(cells, line)
	}
	return show(cells)
}

// address of a cache: of the running system, or as it stands there.
func (a *cacheClient) address(ctx context.Context, name string) (string, error) {
	if u, err := url.Parse(name); strings.Contains(name, ":") && (err != nil || u.Host == "") {
		return name, nil
	} else if err == nil && u.Host != "" {
		return u.Host, nil
	}
	client, info, err := a.cli.running(ctx)
	if err != nil {
		return "", err
	}
	servers, err := client.CacheServers(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, s := range servers {
		if s.Cache == name {
			return s.Address, nil
		}
		names = append(names, s.Cache)
	}
	return "", usagef("%s has no embedded cache %q: it has %s", info.System, name, listed(names))
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (a *cacheClient) printHot(rows [][]string) error {
	type hot struct {
		DB        int     `json:"db"`
		Key       string  `json:"key"`
		PerSecond float64 `json:"per_second"`
		Share     float64 `json:"share"`
	}
	all := []hot{}
	t := table{head: []string{"KEY", "DB", "REQUESTS/S", "SHARE"}}
	for _, row := range rows {
		if len(row) < 4 {
			continue
		}
		db, _ := strconv.Atoi(row[0])
		rate, _ := strconv.ParseFloat(row[2], 64)
		share, _ := strconv.ParseFloat(row[3], 64)
		all = append(all, hot{db, row[1], rate, share})
		t.row(strconv.Quote(row[1]), row[0], fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.1f%%", 100*share))
	}
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

func (a *cacheClient) printCurve(rows [][]string) error {
	type point struct {
		Memory   int64   `json:"memory_bytes"`
		HitRatio float64 `json:"hit_ratio"`
	}
	all := []point{}
	t := table{head: []string{"MEMORY", "ANSWERS"}}
	for _, row := range rows {
		if len(row) < 2 {
			continue
		}
		memory, _ := strconv.ParseInt(row[0], 10, 64)
		share, _ := strconv.ParseFloat(row[1], 64)
		all = append(all, point{memory, share})
		t.row(topology.Bytes(memory).String(), fmt.Sprintf("%.1f%%", 100*share))
	}
	switch {
	case a.cli.json:
		return writeJSON(a.cli.out, all)
	case len(all) == 0:
		fmt.Fprintln(a.cli.out, "not known: the cache needs a memory limit of 16 MiB or more, and some 30,000 requests that read")
	default:
		t.write(a.cli.out)
	}
	return nil
}
