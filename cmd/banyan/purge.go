package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) purge() *cobra.Command {
	var p httpcache.Purge
	cmd := &cobra.Command{
		Use:     "purge (PATH | --tag TAG)",
		GroupID: "run",
		Short:   "Drop what the caches of routes keep, by path or by tag",
		Long: `Drop what the caches of routes (http_cache) keep.

PATH is a path, with every query that it was asked for with; with a query, only that one; ending in *, all that begin so.
TAG is one that the answers name in Cache-Tag or Surrogate-Key.`,
		Example: "  banyan purge /products/17\n  banyan purge '/products/*'\n  banyan purge --tag prices --soft",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.Path = args[0]
			}
			if err := p.Validate(); err != nil {
				return err
			}
			client, _, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			done, err := client.Purge(cmd.Context(), p)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, done)
			}
			what := "dropped"
			if p.Soft {
				what = "made stale"
			}
			fmt.Fprintf(c.out, "%s %s\n", plural(done.Answers, "answer"), what)
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Tag, "tag", "", "drop the answers that have this tag")
	cmd.Flags().StringVar(&p.Host, "host", "", "drop only those of this host, with its port where it is not 80")
	cmd.Flags().BoolVar(&p.Soft, "soft", false, "make them stale instead: they are validated before they serve again")
	return cmd
}

// printCaches shows the caches of routes, where there are any.
func (c *cli) printCaches(all []control.CacheStatus) {
	if len(all) == 0 {
		return
	}
	t := table{gap: true, head: []string{"HTTP CACHE", "HIT RATIO", "HITS", "STALE", "COALESCED", "MISSES", "VALIDATED", "NOT KEPT", "OBJECTS", "MEMORY", "EVICTED"}}
	for _, s := range all {
		t.row(s.Route, fmt.Sprintf("%.1f%%", 100*s.HitRatio), fmt.Sprint(s.Hits), fmt.Sprint(s.Stale), fmt.Sprint(s.Coalesced), fmt.Sprint(s.Misses),
			fmt.Sprint(s.Revalidated), fmt.Sprint(s.Unstored), fmt.Sprint(s.Objects), topology.Bytes(s.Bytes>>10<<10).String(), fmt.Sprint(s.Evictions))
	}
	t.write(c.out)
}
