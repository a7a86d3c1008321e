package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
)

func (c *cli) busNodes() *cobra.Command {
	q := &queueClient{cli: c}
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show the nodes that have the replicated queues and topics: state, which one leads, lag",
		Long: `Show the nodes that have the replicated queues of the system that runs here, or of a 'banyan bus' at --url. LAG is how many writes
to the journal of the queues a node is behind. Exit code 1 if a node is down.`,
		Example: "  banyan bus nodes --url http://10.0.0.1:4280",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var nodes []bus.Node
			if err := q.call(cmd.Context(), "GET", "/nodes", &nodes); err != nil {
				return err
			}
			if c.json {
				if err := writeJSON(c.out, nodes); err != nil {
					return err
				}
			} else if len(nodes) == 0 {
				fmt.Fprintln(c.out, "this bus stands alone")
			} else {
				c.printBusNodes(nodes)
			}
			for _, n := range nodes {
				if !n.Up {
					return errNo
				}
			}
			return nil
		},
	}
	q.add(cmd.Flags())
	return cmd
}

func (c *cli) printBusNodes(nodes []bus.Node) {
	t := table{head: []string{"NODE", "ADDRESS", "STATE", "LEADS", "LAG"}, left: 4}
	for _, n := range nodes {
		state, leads := "up", "-"
		switch {
		case !n.Up:
			state = "down"
		case !n.Current:
			state = "catching up"
		}
		if n.Leads {
			leads = "queues"
		}
		t.row(fmt.Sprint(n.Node), n.Address, state, leads, fmt.Sprint(n.Lag))
	}
	t.write(c.out)
}
