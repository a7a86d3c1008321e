package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
)

func (c *cli) down() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "down",
		GroupID: "run",
		Short:   "Stop the running system: drain, then end every replica",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, info, err := c.running(cmd.Context())
			if errors.Is(err, control.ErrNotRunning) {
				fmt.Fprintln(c.out, "not running")
				return nil
			}
			if err != nil {
				return err
			}
			if err := client.Stop(cmd.Context()); err != nil {
				return fmt.Errorf("stopping %s: %w", info.System, err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := app.WaitGone(ctx, info.PID); err != nil {
				return fmt.Errorf("%s (pid %d) is still stopping: %w", info.System, info.PID, err)
			}
			fmt.Fprintf(c.out, "%s is down\n", info.System)
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for it to end")
	return cmd
}
