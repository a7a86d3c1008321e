package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway"
)

func (c *cli) gatewayWhy() *cobra.Command {
	return &cobra.Command{
		Use:   "why ID",
		Short: "Explain a request: what there was to choose from, what was chosen, retried or refused",
		Long: `Explain a request by its id (the X-Request-Id of its answer, 'request_id' in the access log) or its trace id: which
route it took, what was known of each backend when one was picked, what came of each try. The gateway remembers the
latest 2,048 requests that went well (of more than 5,000 a second, a part) and the latest 1,024 that were retried, failed
or were refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.gatewayState()
			if err != nil {
				return err
			}
			d, err := control.Dial(dir).Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, d)
			}
			printDecision(c.out, d)
			return nil
		},
	}
}

func printDecision(w io.Writer, d gateway.Decision) {
	fmt.Fprintf(w, "%s %s at %s: %d", d.Method, d.Path, d.Time.Format("15:04:05.000"), d.Status)
	if d.Error != "" {
		fmt.Fprintf(w, " (%s: %s)", d.Error, d.Detail)
	}
	fmt.Fprintf(w, ", %s", duration(d.Took))
	switch {
	case d.Route == "":
		fmt.Fprint(w, ", no route")
	case d.Service == "":
		fmt.Fprintf(w, ", route %s", d.Route)
	default:
		fmt.Fprintf(w, ", route %s to %s", d.Route, d.Service)
	}
	fmt.Fprintf(w, ", attempts: %d\nrequest %s, trace %s\n", d.Attempts, d.RequestID, d.TraceID)
	for i, t := range d.Tries {
		fmt.Fprintf(w, "\ntry after %s: ", since(t.After))
		if t.Backend != "" {
			fmt.Fprintf(w, "%s, by %s among %d", t.Backend, t.Balance, t.All)
		} else {
			fmt.Fprintf(w, "no backend: %s", t.Refusal)
		}
		if t.Sticky {
			fmt.Fprint(w, "; the client is bound by its cookie")
		}
		if t.Probe {
			fmt.Fprint(w, "; it tests whether the backend is well again")
		}
		if t.Verdict != "" {
			fmt.Fprintf(w, "; it failed: %s", t.Verdict)
			if i+1 < len(d.Tries) || t.Pause > 0 {
				fmt.Fprintf(w, " after %s", since(t.Pause))
			}
			if t.Budget != nil {
				fmt.Fprintf(w, "; retries in ten seconds: %d, the share allows %.1f", t.Budget.Spent, t.Budget.Allowed)
			}
		}
		fmt.Fprintln(w)
		if len(t.Candidates) == 0 {
			continue
		}
		table := table{head: []string{"", "BACKEND", "ADDRESS", "STATE", "IN FLIGHT", "LATENCY", "SCORE"}, left: 4}
		for _, cand := range t.Candidates {
			mark, score := "", ""
			if cand.Backend == t.Backend {
				mark = "*"
			}
			if cand.Score != nil {
				if score = digits(*cand.Score); t.Balance == "p2c-ewma" {
					score = duration(time.Duration(*cand.Score)) // latency times requests in flight
				}
			}
			table.row(mark, cand.Backend, cand.Address, cand.State, fmt.Sprint(cand.InFlight), duration(cand.Latency), score)
		}
		table.write(w)
	}
}

// since prints a time from the beginning on, which may be 0.
func since(d time.Duration) string {
	if d <= 0 {
		return "0ms"
	}
	return duration(d)
}
