package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/app/topview"
	"github.com/banyanhq/banyan/observe"
)

func (c *cli) top() *cobra.Command {
	var interval, window time.Duration
	cmd := &cobra.Command{
		Use:     "top",
		GroupID: "run",
		Short:   "Watch the running system live",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usagef("--interval %v: at least 100ms", interval)
			}
			client, _, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var stores atomic.Pointer[[]control.CacheServerStatus]
			fetch := func(ctx context.Context) (observe.Status, error) {
				if all, err := client.CacheServers(ctx); err == nil { // the status says what is wrong if it is not
					stores.Store(&all)
				}
				return client.Status(ctx, window)
			}
			nodes := func() string {
				if all := stores.Load(); all != nil {
					return cacheNodesTable(*all) + cacheHotTable(*all)
				}
				return ""
			}
			s, err := fetch(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, s)
			}
			if !terminal(c.out) {
				fmt.Fprint(c.out, topview.RenderTable(s)+nodes())
				return nil
			}
			view := topview.New(fetch, interval)
			if sys, err := c.open(); err == nil { // a file that cannot be read now hinders nobody
				picture := liveMap(sys)
				view = view.WithMap(func(s observe.Status) []string { return append(picture(s), lines(nodes())...) })
			}
			_, err = tea.NewProgram(view, tea.WithContext(cmd.Context())).Run()
			return err
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "between two refreshes")
	cmd.Flags().DurationVar(&window, "window", 5*time.Second, "over which rates and latencies are taken")
	return cmd
}

// lines of a text that ends with one.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
