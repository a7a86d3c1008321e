package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

// services completes an argument by the names of the file's services; a file that cannot be read completes nothing.
func (c *cli) services(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		sys, err := c.open()
		if err != nil || most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(slices.Sorted(maps.Keys(sys.Services)), func(name string) bool {
			return slices.Contains(args, name)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}
