package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/slo"
)

// monitorClient returns a client for the monitor at a URL, or for that of the system that runs.
func (c *cli) monitorClient(ctx context.Context, url string) (*monitor.Client, error) {
	if url != "" {
		if !strings.Contains(url, "://") {
			url = "http://" + url
		}
		return monitor.Dial(url), nil
	}
	_, info, err := c.running(ctx)
	if err != nil {
		return nil, err
	}
	if info.Monitor == "" {
		return nil, fmt.Errorf("%s keeps no metrics: see 'monitoring' in its file, and its log", info.System)
	}
	return monitor.Dial(info.Monitor), nil
}

const urlUsage = "`address` of a monitor ('banyan observe'), in place of that of the system that runs"

func (c *cli) slo() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:     "slo",
		GroupID: "run",
		Short:   "Show how it stands with what was promised: objectives, budgets left, how fast they burn",
		Long: `Show how it stands with the SLOs of the file: for each promise the share of good requests in its window, how much of the
error budget is left, and how fast it burns. A burn rate of 1 uses the budget up exactly by the end of the window.
Exit code 1 if a budget is used up.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.monitorClient(cmd.Context(), url)
			if err != nil {
				return err
			}
			b, err := client.Board(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				if err := writeJSON(c.out, b); err != nil {
					return err
				}
			} else {
				c.printBoard(b)
			}
			for _, s := range b.Standings {
				if s.Left <= 0 {
					return errNo
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", "", urlUsage)
	return cmd
}

func (c *cli) printBoard(b monitor.Board) {
	if len(b.Standings) == 0 {
		fmt.Fprintln(c.out, "the file promises nothing: see 'banyan explain slos'")
		return
	}
	t := table{left: 2, head: []string{"SLO", "OBJECTIVE", "PROMISED", "GOOD", "REQUESTS", "BAD", "BUDGET LEFT", "BURN RATE", "ENDS IN"}}
	for _, s := range b.Standings {
		good := "-"
		if s.Events > 0 {
			good = fmt.Sprintf("%.4g%%", 100*(1-s.Bad/s.Events))
		}
		ends := "-"
		if s.Ends > 0 && s.Ends < s.Window {
			ends = roughly(s.Ends)
		}
		t.row(s.SLO, s.Kind, fmt.Sprintf("%.6g%% of %s", 100*s.Target, slo.Promql(s.Window)), good, fmt.Sprintf("%.0f", s.Events),
			fmt.Sprintf("%.0f", s.Bad), fmt.Sprintf("%.1f%%", 100*s.Left), burnText(s.Rates), ends)
	}
	t.write(c.out)
	for _, s := range b.Standings {
		if s.Data < s.Window {
			fmt.Fprintf(c.out, "\nThe metrics reach back %s; for the rest of a window the same traffic without a failure is assumed.\n", roughly(s.Data))
			break
		}
	}
}

// burnText shows the shortest and the longest window.
func burnText(rates []slo.Rate) string {
	var parts []string
	for _, r := range rates {
		mark := ""
		if r.Burn > r.Alert {
			mark = "!"
		}
		parts = append(parts, fmt.Sprintf("%.3g%s (%s)", r.Burn, mark, slo.Promql(r.Window)))
	}
	return strings.Join(parts, " ")
}

// roughly writes a length of time by its two largest units.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return d.Round(time.Second).String()
}
