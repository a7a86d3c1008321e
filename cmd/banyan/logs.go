package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/orchestrate"
)

func (c *cli) logs() *cobra.Command {
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:               "logs [SERVICE]",
		GroupID:           "run",
		Short:             "Print what the replicas wrote, merged by time",
		Long:              "Print what the replicas of a service (left out: of all services) wrote, merged by time. Works on a stopped system too.",
		Example:           "  banyan logs web\n  banyan logs -f\n  banyan -f prod.yaml logs -f orders",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.services(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sys, err := c.open()
			if err != nil {
				return err
			}
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			service := ""
			if len(args) > 0 {
				if service = args[0]; sys.Services[service] == nil {
					return usagef("there is no service %s", service)
				}
			}
			if tail < 0 {
				return usagef("--tail %d: must not be negative", tail)
			}
			logs := orchestrate.OpenLogs(dir)
			if follow {
				return logs.Follow(cmd.Context(), service, tail, c.out)
			}
			lines, err := logs.Tail(service, tail)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, lines)
			}
			for _, l := range lines {
				fmt.Fprintln(c.out, l)
			}
			return nil
		},
	}
	// Here -f follows, as it does everywhere else in the world; a file is named by --file, or before 'logs'.
	cmd.Flags().StringArrayVar(&c.files, "file", nil, "topology `file`; further ones are laid over the first (default banyan.yaml)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().IntVarP(&tail, "tail", "n", 100, "print the last `lines`")
	return cmd
}
