package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) restart() *cobra.Command {
	return &cobra.Command{
		Use:     "restart SERVICE ...",
		GroupID: "run",
		Short:   "Replace the replicas of a service one after the other, without a gap",
		Args:    someService,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			c.noteChanged(info)
			for _, name := range args {
				if err := client.Restart(cmd.Context(), name); err != nil {
					return err // it names the service
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
