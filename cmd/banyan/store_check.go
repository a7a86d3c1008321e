package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/store/cluster"
)

func (c *cli) storeCheck() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare all replicas of a cluster of tables",
		Long: `Have all nodes add up what they have after the same command, while they serve, and compare that. A node that has something else than
most of the others takes itself out, sets its data aside and gets them anew. Exit code 1 if there is one, or no majority.
Then have each node read its tables on the disk against their checksums, which it does by itself once a day, more slowly.`,
		Example: "  banyan store check --peer 10.0.0.1:7000 --secret-file secret",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			status, err := c.checkReplicas(cmd.Context(), client)
			if err != nil {
				return err
			}
			if c.json {
				err = writeJSON(c.out, status)
			} else {
				c.printChecks(status)
			}
			if err == nil && status.Damaged() {
				err = errNo
			}
			return err
		},
	}
	f.add(cmd.Flags(), anyPeer)
	return cmd
}

// checkReplicas begins a check and waits for its end.
func (c *cli) checkReplicas(ctx context.Context, client cluster.Client) (cluster.CheckStatus, error) {
	line := c.progress()
	defer line.end()
	status, err := client.Check(ctx)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for err == nil && status.Running {
		if line.w != nil {
			line.print(plural(len(status.Groups), "group") + " compared")
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-tick.C:
		}
		status, err = client.Checked(ctx)
	}
	return status, err
}

func (c *cli) printChecks(status cluster.CheckStatus) {
	numbers := func(nodes []uint64) string {
		return "node " + strings.ReplaceAll(strings.Trim(fmt.Sprint(nodes), "[]"), " ", ", ")
	}
	for _, g := range status.Groups {
		fmt.Fprintf(c.out, "group %d", g.Group)
		if len(g.Equal) > 0 {
			fmt.Fprintf(c.out, ": the same on %s (%s, after command %d)", numbers(g.Equal), size(uint64(g.Bytes)), g.Index)
		}
		if len(g.Different) > 0 {
			fmt.Fprintf(c.out, "; DIFFERENT on %s", numbers(g.Different))
		}
		if len(g.Unchecked) > 0 {
			fmt.Fprintf(c.out, "; not known of %s", numbers(g.Unchecked))
		}
		if g.Problem != "" {
			fmt.Fprintf(c.out, "; %s", g.Problem)
		}
		fmt.Fprintln(c.out)
	}
	for _, n := range status.Nodes {
		if n.Problem != "" {
			fmt.Fprintf(c.out, "node %d: DAMAGED, or not known: %s\n", n.Node, n.Problem)
		} else {
			fmt.Fprintf(c.out, "node %d: read %s of tables on its disk, as they were written\n", n.Node, size(uint64(n.Bytes)))
		}
	}
	if len(status.Groups) == 0 {
		fmt.Fprintln(c.out, "no group has a leader")
	}
}
