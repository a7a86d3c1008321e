package main

import (
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/topology"
)

func (c *cli) schema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		GroupID: "file",
		Short:   "Print the JSON Schema of the topology file",
		Long:    "Print the JSON Schema of the topology file, for editors that complete and check YAML by it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := topology.Schema()
			if err != nil {
				return err
			}
			_, err = c.out.Write(schema)
			return err
		},
	}
}
