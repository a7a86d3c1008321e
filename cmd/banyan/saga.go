package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/workflow"
	"github.com/banyanhq/banyan/policy/saga"
)

func (c *cli) saga() *cobra.Command {
	q := &queueClient{cli: c}
	cmd := &cobra.Command{
		Use:     "saga",
		GroupID: "run",
		Short:   "Look after sagas: runs, their steps, signals, cancelling, those that are stuck",
		Long: `Look after the sagas of the system that runs here, or of a 'banyan bus' at --url.

A run goes through the steps of its saga; when one fails for good, or when the run is cancelled, what was done is undone,
last first. After its pivot, where the saga has one, a run only goes forward. A run whose compensation, or a step after its
pivot, fails for good is stuck: it waits for 'retry', once its cause is out of the way.`,
		Example: `  banyan saga start checkout --key 7f3a --input '{"cart": "c1"}'
  banyan saga runs --status stuck
  banyan saga show checkout_7f3a
  banyan saga signal checkout_7f3a paid '{"by": "card"}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	q.add(cmd.PersistentFlags())
	cmd.AddCommand(q.listSagas(), q.sagaRuns(), q.startSaga(), q.showRun(), q.signalRun(),
		q.changeRun("cancel", "Cancel a run: what it did is undone"), q.changeRun("retry", "Have a run that is stuck try again what it is stuck at"))
	return cmd
}

func (q *queueClient) listSagas() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the sagas with the number of their runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []workflow.Status
			if err := q.call(cmd.Context(), "GET", "/sagas", &all); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, all)
			}
			t := table{head: []string{"SAGA", "RUNNING", "COMPENSATING", "STUCK", "COMPLETED", "COMPENSATED", "OLDEST", "STEPS"}}
			for _, s := range all {
				name := s.Name
				if !s.Declared {
					name += " (not in the file)"
				}
				row := []string{name}
				for _, status := range []saga.Status{saga.Running, saga.Compensating, saga.Stuck, saga.Completed, saga.Compensated} {
					row = append(row, strconv.Itoa(s.Runs[status]))
				}
				t.row(append(row, s.Oldest.Round(time.Millisecond).String(), strings.Join(s.Steps, " > "))...)
			}
			t.write(q.cli.out)
			return nil
		},
	}
}

func (q *queueClient) sagaRuns() *cobra.Command {
	var name, status string
	var most int
	cmd := &cobra.Command{
		Use: "runs", Short: "List runs, those that began last first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := url.Values{"max": {strconv.Itoa(most)}}
			for key, value := range map[string]string{"saga": name, "status": status} {
				if value != "" {
					v.Set(key, value)
				}
			}
			var runs []bus.Run
			if err := q.call(cmd.Context(), "GET", "/runs?"+v.Encode(), &runs); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, runs)
			}
			t := table{head: []string{"RUN", "STATUS", "STEP", "BEGUN", "REASON"}, left: 5}
			for _, r := range runs {
				t.row(r.ID, string(r.Status), r.Step, r.Begun.Local().Format(time.DateTime), printable(r.Reason, 80))
			}
			t.write(q.cli.out)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "saga", "", "only those of this `saga`")
	cmd.Flags().StringVar(&status, "status", "", "only those that are running, compensating, completed, compensated or stuck")
	cmd.Flags().IntVar(&most, "max", 50, "at most so many")
	return cmd
}

func (q *queueClient) startSaga() *cobra.Command {
	var key, input string
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "start SAGA", Short: "Start a run, and wait for its end with --wait", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := url.Values{"wait": {wait.String()}}
			if key != "" {
				v.Set("key", key)
			}
			var r bus.Run
			if err := q.send(cmd.Context(), "POST", "/sagas/"+url.PathEscape(args[0])+"?"+v.Encode(), []byte(input), &r); err != nil {
				return err
			}
			return q.printRun(r)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "`key` of the run: a second start with it finds the first one (default: a new one)")
	cmd.Flags().StringVar(&input, "input", "", "`JSON` that the run is started with")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for its end, up to 1m")
	return cmd
}

func (q *queueClient) showRun() *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run: its steps, what they were answered, and its history", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r bus.Run
			if err := q.call(cmd.Context(), "GET", "/runs/"+url.PathEscape(args[0]), &r); err != nil {
				return err
			}
			return q.printRun(r)
		},
	}
}

func (q *queueClient) signalRun() *cobra.Command {
	return &cobra.Command{
		Use: "signal RUN NAME [JSON]", Short: "Give a run the signal that it waits for, or will", Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			var body []byte
			if len(args) == 3 {
				body = []byte(args[2])
			}
			var r bus.Run
			if err := q.send(cmd.Context(), "POST", "/runs/"+url.PathEscape(args[0])+"/signals/"+url.PathEscape(args[1]), body, &r); err != nil {
				return err
			}
			return q.printRun(r)
		},
	}
}

func (q *queueClient) changeRun(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " RUN", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r bus.Run
			if err := q.call(cmd.Context(), "POST", "/runs/"+url.PathEscape(args[0])+"/"+verb, &r); err != nil {
				return err
			}
			return q.printRun(r)
		},
	}
}

func (q *queueClient) printRun(r bus.Run) error {
	if q.cli.json {
		return writeJSON(q.cli.out, r)
	}
	out := q.cli.out
	fmt.Fprintf(out, "%s is %s, begun %s", r.ID, r.Status, r.Begun.Local().Format(time.DateTime))
	if r.Ended != nil {
		fmt.Fprintf(out, ", ended after %s", r.Ended.Sub(r.Begun).Round(time.Millisecond))
	} else {
		fmt.Fprintf(out, ", at step %s", r.Step)
	}
	fmt.Fprintln(out)
	if r.Reason != "" {
		fmt.Fprintf(out, "because: %s\n", printable(r.Reason, 300))
	}
	if len(r.Input) > 0 {
		fmt.Fprintf(out, "input: %s\n", printable(string(r.Input), 500))
	}
	if r.Committed && r.Ended == nil {
		fmt.Fprintln(out, "its pivot is done: nothing is undone any more, it can only go forward")
	}
	for _, s := range r.Steps {
		state := s.State
		if state == "" {
			state = "-"
		}
		if s.Doubt {
			state += ", an attempt may have been carried out without an answer"
		}
		name := s.Name
		if s.Pivot {
			name += " (pivot)"
		}
		fmt.Fprintf(out, "step %s: %s", name, state)
		if len(s.Result) > 0 {
			fmt.Fprintf(out, ": %s", printable(string(s.Result), 300))
		}
		fmt.Fprintln(out)
	}
	for _, h := range r.History {
		what := string(h.Kind)
		if h.Step != "" {
			what = h.Step + " " + what
		}
		if h.Undo {
			what = "undo " + what
		}
		if h.Attempt > 0 {
			what += fmt.Sprintf(" (attempt %d)", h.Attempt)
		}
		if h.Reason != "" {
			what += ": " + printable(h.Reason, 200)
		}
		fmt.Fprintf(out, "  %s  %s\n", h.At.Local().Format("15:04:05.000"), what)
	}
	return nil
}
