package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/topology"
)

func (c *cli) explain() *cobra.Command {
	return &cobra.Command{
		Use:     "explain [FIELD]",
		GroupID: "file",
		Short:   "Print the documentation of a field of the topology file",
		Example: "  banyan explain services.scale\n  banyan explain routes.retry.budget",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := topology.Explain(strings.Join(args, ""))
			if err != nil {
				return wrongUse{err}
			}
			fmt.Fprintln(c.out, strings.TrimRight(text, "\n"))
			return nil
		},
	}
}
