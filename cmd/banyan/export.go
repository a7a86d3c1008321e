package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/observe/grafana"
	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/slo"
)

func (c *cli) export() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "export",
		GroupID: "file",
		Short:   "Write what other tools read: dashboards for Grafana, rules for Prometheus",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.exportGrafana(), c.exportRules())
	return cmd
}

// objectives of the file, none where there is no file.
func (c *cli) objectives() ([]slo.Objective, slo.Config, error) {
	if len(c.files) == 0 && !fileExists(defaultFile) {
		return nil, slo.Config{}, nil
	}
	sys, err := c.open()
	if err != nil {
		return nil, slo.Config{}, err
	}
	return slo.Objectives(sys), slo.Config{MinEvents: sys.Monitoring.Alerts.MinEvents, Scrape: sys.Monitoring.Interval.Std()}, nil
}

func (c *cli) exportGrafana() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "grafana",
		Short: "Write dashboards for Grafana: system, service, caches, queues, and the file's SLOs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			objectives, _, err := c.objectives()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("making the folder for dashboards: %w", err)
			}
			for _, d := range grafana.All(objectives) {
				data, err := d.JSON()
				path := filepath.Join(dir, d.Name+".json")
				if err = errors.Join(err, os.WriteFile(path, data, 0o644)); err != nil {
					return fmt.Errorf("writing a dashboard: %w", err)
				}
				fmt.Fprintln(c.out, path)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "dashboards", "`folder` that they are written to")
	return cmd
}

func (c *cli) exportRules() *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Write the alerts of the file's SLOs as rules for Prometheus",
		RunE: func(cmd *cobra.Command, _ []string) error {
			objectives, cfg, err := c.objectives()
			if err != nil {
				return err
			}
			text, err := monitor.RulesYAML(objectives, cfg)
			if err != nil {
				return fmt.Errorf("writing the rules: %w", err)
			}
			_, err = c.out.Write(text)
			return err
		},
	}
}
