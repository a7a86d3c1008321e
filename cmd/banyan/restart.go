package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
)

func (c *cli) restart() *cobra.Command {
	return &cobra.Command{
		Use:     "restart SERVICE ...",
		GroupID: "run",
		Short:   "Replace the replicas of a service one after the other, without a gap",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			client := control.Dial(dir)
			for _, name := range args {
				if err := client.Restart(cmd.Context(), name); err != nil {
					return fmt.Errorf("restarting %s: %w", name, err)
				}
				if !c.json {
					fmt.Fprintf(c.out, "%s: all replicas replaced\n", name)
				}
			}
			if c.json {
				return writeJSON(c.out, map[string]any{"restarted": args})
			}
			return nil
		},
	}
}
