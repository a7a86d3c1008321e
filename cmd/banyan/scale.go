package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) scale() *cobra.Command {
	var cpu, memory string
	cmd := &cobra.Command{
		Use:     "scale SERVICE[=REPLICAS] ...",
		GroupID: "run",
		Short:   "Change replicas, CPU or memory of a service while it serves",
		Long: `Change the number of replicas (horizontally) or the limits of each replica (vertically) of a running service. Limits
change on the replicas that run, without a restart. Returns when the change has been carried out.`,
		Example: "  banyan scale catalog=4\n  banyan scale catalog --cpu 0.5 --memory 128MiB\n  banyan scale catalog=2 cart=3",
		Args:    someService,
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := scaleRequests(args, cpu, memory)
			if err != nil {
				return err
			}
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			for _, r := range requests {
				if err := client.Scale(cmd.Context(), r); err != nil {
					return err // it names the service
				}
			}
			c.noteChanged(info)
			if c.json {
				return writeJSON(c.out, requests)
			}
			for _, r := range requests {
				fmt.Fprintln(c.out, describeScale(r))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&cpu, "cpu", "", "CPU limit of each replica in cores, such as 0.5; 0 removes it")
	cmd.Flags().StringVar(&memory, "memory", "", "memory limit of each replica, such as 128MiB; 0 removes it")
	return cmd
}

func scaleRequests(args []string, cpu, memory string) ([]control.ScaleRequest, error) {
	var requests []control.ScaleRequest
	for _, arg := range args {
		name, number, given := strings.Cut(arg, "=")
		r := control.ScaleRequest{Service: name}
		if given {
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 {
				return nil, usagef("%s: %q is not a number of replicas", arg, number)
			}
			r.Replicas = &n
		}
		if cpu != "" {
			v, err := topology.ParseCPU(cpu)
			if err != nil {
				return nil, usagef("--cpu: %w", err)
			}
			r.CPU = &v
		}
		if memory != "" {
			v, err := topology.ParseBytes(memory)
			if err != nil {
				return nil, usagef("--memory: %w", err)
			}
			r.Memory = &v
		}
		if r.Replicas == nil && r.CPU == nil && r.Memory == nil {
			return nil, usagef("%s: say what to change: %s=REPLICAS, --cpu or --memory", arg, name)
		}
		requests = append(requests, r)
	}
	return requests, nil
}

func describeScale(r control.ScaleRequest) string {
	var parts []string
	if r.Replicas != nil {
		parts = append(parts, plural(*r.Replicas, "replica"))
	}
	if r.CPU != nil {
		parts = append(parts, "cpu "+r.CPU.String())
	}
	if r.Memory != nil {
		parts = append(parts, "memory "+r.Memory.String())
	}
	return r.Service + ": " + strings.Join(parts, ", ")
}
