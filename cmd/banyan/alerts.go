package main

import (
	"cmp"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/observe/monitor"
	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/observe/rules"
)

func (c *cli) alerts() *cobra.Command {
	var url string
	var all bool
	cmd := &cobra.Command{
		Use:     "alerts",
		GroupID: "run",
		Short:   "Show the alerts that fire, with what may have caused them; silence and replay them",
		Long: `Show the alerts that are pending or firing, and beside each what may have caused it: deploys, scalings, reloads and exits
shortly before it began, and what was saturated then, the likeliest first. Exit code 1 if one fires that is not silenced.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.monitorClient(cmd.Context(), url)
			if err != nil {
				return err
			}
			alerts, err := client.Alerts(cmd.Context())
			if err != nil {
				return err
			}
			if !all { // the watchdog's always fires
				alerts = slices.DeleteFunc(alerts, func(a monitor.Alert) bool { return a.Severity == "none" })
			}
			if c.json {
				if err := writeJSON(c.out, alerts); err != nil {
					return err
				}
			} else {
				c.printAlerts(alerts)
			}
			for _, a := range alerts {
				if a.State == string(rules.Firing) && a.Severity != "none" && len(a.SilencedBy) == 0 {
					return errNo
				}
			}
			return nil
		},
	}
	cmd.PersistentFlags().StringVar(&url, "url", "", urlUsage)
	cmd.Flags().BoolVar(&all, "all", false, "show the watchdog's too")
	cmd.AddCommand(c.alertsSilence(&url), c.alertsSilences(&url), c.alertsExpire(&url), c.alertsReplay(&url))
	return cmd
}

func (c *cli) printAlerts(all []monitor.Alert) {
	if len(all) == 0 {
		fmt.Fprintln(c.out, "no alert is pending or firing")
		return
	}
	slices.SortStableFunc(all, func(a, b monitor.Alert) int {
		return cmp.Or(cmp.Compare(a.State, b.State), a.ActiveAt.Compare(b.ActiveAt))
	})
	for _, a := range all {
		state := strings.ToUpper(a.State)
		if len(a.SilencedBy) > 0 {
			state += " (silenced)"
		}
		fmt.Fprintf(c.out, "%s  %s  %s  since %s\n", state, a.Severity, a.Name, a.ActiveAt.Local().Format(time.DateTime))
		var words []string
		for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
			if name != labels.AlertName && name != "severity" {
				words = append(words, name+"="+a.Labels[name])
			}
		}
		fmt.Fprintf(c.out, "  %s\n", strings.Join(words, " "))
		for _, name := range slices.Sorted(maps.Keys(a.Annotations)) {
			fmt.Fprintf(c.out, "  %s: %s\n", name, a.Annotations[name])
		}
		for i, s := range a.Suspects[:min(len(a.Suspects), 5)] {
			head := "         "
			if i == 0 {
				head = "suspects:"
			}
			fmt.Fprintf(c.out, "  %s %-10s  %-12s  %s\n", head, s.Kind, lagText(a.ActiveAt.Sub(s.At)), s.What)
		}
	}
}

// lagText says how long before an alert something was.
func lagText(lag time.Duration) string {
	switch lag = lag.Round(time.Second); {
	case lag > 0:
		return lag.String() + " before"
	case lag < 0:
		return (-lag).String() + " after"
	}
	return "then"
}

func (c *cli) alertsSilence(url *string) *cobra.Command {
	var d time.Duration
	var comment string
	cmd := &cobra.Command{
		Use:     "silence MATCHER ...",
		Short:   "Mute the alerts that all of the matchers meet, for a time",
		Example: `  banyan alerts silence slo=checkout --for 2h --comment "the provider is down"` + "\n" + `  banyan alerts silence 'route=~"GET /.*"' severity=ticket`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			matchers, err := parseMatchers(args)
			if err != nil {
				return err
			}
			if d <= 0 {
				return usagef("--for %v: want more than 0", d)
			}
			client, err := c.monitorClient(cmd.Context(), *url)
			if err != nil {
				return err
			}
			who := "banyan"
			if u, err := user.Current(); err == nil {
				who = u.Username
			}
			now := time.Now()
			id, err := client.Silence(cmd.Context(), notify.Silence{Matchers: matchers, StartsAt: now, EndsAt: now.Add(d), CreatedBy: who, Comment: comment})
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, map[string]string{"id": id})
			}
			fmt.Fprintf(c.out, "silenced until %s; 'banyan alerts expire %s' ends it\n", now.Add(d).Format(time.DateTime), id)
			return nil
		},
	}
	cmd.Flags().DurationVar(&d, "for", time.Hour, "how long")
	cmd.Flags().StringVar(&comment, "comment", "", "why")
	return cmd
}

// parseMatchers reads NAME=VALUE, also with !=, =~ and !~; quotes around the value may be left out.
func parseMatchers(args []string) (out []notify.Matcher, err error) {
	p := parser.NewParser(parser.Options{})
	for _, arg := range args {
		text := arg
		if i := strings.IndexAny(arg, "=!"); i > 0 && !strings.Contains(arg[i:], `"`) {
			op := i + 1
			for op < len(arg) && strings.ContainsRune("=~", rune(arg[op])) {
				op++
			}
			text = fmt.Sprintf("%s%q", arg[:op], arg[op:])
		}
		ms, err := p.ParseMetricSelector("{" + text + "}")
		if err != nil || len(ms) != 1 {
			return nil, usagef("%s: want a matcher such as slo=checkout or route=~\"GET /.*\"", arg)
		}
		equal := ms[0].Type == labels.MatchEqual || ms[0].Type == labels.MatchRegexp
		out = append(out, notify.Matcher{Name: ms[0].Name, Value: ms[0].Value, IsEqual: &equal,
			IsRegex: ms[0].Type == labels.MatchRegexp || ms[0].Type == labels.MatchNotRegexp})
	}
	return out, nil
}

func (c *cli) alertsSilences(url *string) *cobra.Command {
	return &cobra.Command{
		Use:   "silences",
		Short: "List the silences",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.monitorClient(cmd.Context(), *url)
			if err != nil {
				return err
			}
			all, err := client.Silences(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(c.out, "there are no silences")
				return nil
			}
			t := table{left: 5, head: []string{"ID", "STATE", "ENDS", "BY", "MATCHERS"}}
			for _, s := range all {
				t.row(s.ID, s.State(time.Now()), s.EndsAt.Local().Format(time.DateTime), s.CreatedBy, matchersText(s.Matchers))
			}
			t.write(c.out)
			return nil
		},
	}
}

func matchersText(all []notify.Matcher) string {
	var words []string
	for _, m := range all {
		op := "="
		if m.IsEqual != nil && !*m.IsEqual {
			op = "!"
		}
		switch {
		case m.IsRegex:
			op += "~"
		case op == "!":
			op += "="
		}
		words = append(words, m.Name+op+m.Value)
	}
	return strings.Join(words, " ")
}

func (c *cli) alertsExpire(url *string) *cobra.Command {
	return &cobra.Command{
		Use:   "expire ID",
		Short: "End a silence",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.monitorClient(cmd.Context(), *url)
			if err != nil {
				return err
			}
			return client.Expire(cmd.Context(), args[0])
		},
	}
}

func (c *cli) alertsReplay(url *string) *cobra.Command {
	var since, step time.Duration
	cmd := &cobra.Command{
		Use:   "replay [ALERT]",
		Short: "Say how often alerts would have fired on the metrics that are kept",
		Long: `Evaluate the alerts as they are now over the metrics that are kept, and say how often each would have fired, when, and
for how long: before a change of a threshold wakes anybody.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.monitorClient(cmd.Context(), *url)
			if err != nil {
				return err
			}
			now := time.Now()
			all, err := client.Replay(cmd.Context(), named(args), now.Add(-since), now, step)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, all)
			}
			c.printReplays(all, now)
			return nil
		},
	}
	cmd.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back")
	cmd.Flags().DurationVar(&step, "step", 0, "between two evaluations (default: the rule's own)")
	return cmd
}

func (c *cli) printReplays(all []rules.Replay, now time.Time) {
	for _, r := range all {
		if r.Labels.Get("severity") == "none" { // the watchdog's always fires
			continue
		}
		fmt.Fprintf(c.out, "%s would %s (%d evaluations, %d times pending only)\n", r.Title(), firedText(len(r.Fired)), r.Steps, r.Pending)
		for _, f := range r.Fired {
			end, length := "now", now.Sub(f.From)
			if !f.To.IsZero() {
				end, length = f.To.Local().Format(time.DateTime), f.To.Sub(f.From)
			}
			fmt.Fprintf(c.out, "  %s to %s (%s), at most %.4g\n", f.From.Local().Format(time.DateTime), end, roughly(length), f.Peak)
		}
	}
}

func firedText(n int) string {
	switch n {
	case 0:
		return "never have fired"
	case 1:
		return "have fired once"
	}
	return fmt.Sprintf("have fired %d times", n)
}
