package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/traces"
)

func (c *cli) traces() *cobra.Command {
	var service, name, since, until string
	var failed bool
	var slow time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:     "traces",
		GroupID: "run",
		Short:   "List traces, show one as a tree, or say where the time of a route goes",
		Long: `List the traces that were kept, the latest first: of each route those with errors, the slowest, rare ones, and a share of the others.
Works on a stopped system too. 'banyan traces show ID' prints one with its critical path; 'banyan traces path SERVICE [OPERATION]' says
where the time of a route's traces goes, at the mean and in the slowest hundredth.`,
		Example: `  banyan traces --errors
  banyan traces --service catalog --slow 200ms --since 6h
  banyan traces show 4bf92f3577b34da6a3ce929d0e0e4736
  banyan traces path gateway`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := spanOf(since, until, time.Hour)
			if err != nil {
				return err
			}
			if limit < 1 || limit > traces.MaxTraces {
				return usagef("--limit %d: from 1 to %d", limit, traces.MaxTraces)
			}
			source, err := c.traceSource(cmd.Context())
			if err != nil {
				return err
			}
			defer source.close()
			found, err := source.find(cmd.Context(), traces.Search{From: from, To: to, Service: service, Name: name, Errors: failed, Min: slow, Limit: limit})
			if err != nil {
				return err
			}
			return c.printTraces(found)
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "only traces with a span of this `service`")
	cmd.Flags().StringVar(&name, "name", "", "only traces with a span of this `operation`")
	cmd.Flags().BoolVar(&failed, "errors", false, "only traces with a span that failed")
	cmd.Flags().DurationVar(&slow, "slow", 0, "only traces with a span that took at least so `long`")
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "list up to so many `traces`")
	cmd.PersistentFlags().StringVar(&since, "since", "", "from `when` on: how long ago, or an instant (default 1h ago)")
	cmd.PersistentFlags().StringVar(&until, "until", "", "up to `when` (default now)")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "show ID",
			Short: "Print a trace as a tree with its critical path",
			Args:  cobra.ExactArgs(1),
			RunE:  func(cmd *cobra.Command, args []string) error { return c.showTrace(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use:   "path SERVICE [OPERATION]",
			Short: "Say where the time of the traces that begin there goes",
			Args:  cobra.RangeArgs(1, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				from, to, err := spanOf(since, until, time.Hour)
				if err != nil {
					return err
				}
				return c.showPath(cmd.Context(), append(args, "")[0], append(args, "")[1], from, to)
			},
		},
	)
	return cmd
}

// traceSource answers questions about traces: the system that runs, or what one has left.
type traceSource struct {
	base string
	left *traces.Traces
}

func (c *cli) traceSource(ctx context.Context) (*traceSource, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	if base := telemetryBase(ctx, dir); base != "" {
		return &traceSource{base: base}, nil
	}
	left, err := traces.Open(traces.Config{Dir: app.TracesDir(dir), ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no traces are kept here yet: 'banyan up' keeps them")
	}
	return &traceSource{left: left}, err
}

func (s *traceSource) close() {
	if s.left != nil {
		_ = s.left.Close() // it was only read
	}
}

func traceValues(service, name string, from, to time.Time) url.Values {
	return url.Values{"service": {service}, "name": {name}, "from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}
}

func (s *traceSource) find(ctx context.Context, q traces.Search) (found []traces.Summary, err error) {
	if s.left != nil {
		return s.left.Find(ctx, q)
	}
	v := traceValues(q.Service, q.Name, q.From, q.To)
	v.Set("limit", strconv.Itoa(q.Limit))
	v.Set("errors", strconv.FormatBool(q.Errors))
	v.Set("min", q.Min.String())
	return found, getJSON(ctx, s.base+"/traces/search?"+v.Encode(), &found)
}

func (c *cli) printTraces(found []traces.Summary) error {
	if c.json {
		return writeJSON(c.out, found)
	}
	if len(found) == 0 {
		fmt.Fprintln(c.err, "nothing was found; a trace is decided on 10 s after its first span")
		return nil
	}
	for _, t := range found {
		errs := ""
		if t.Errors > 0 {
			errs = fmt.Sprintf("  %d failed", t.Errors)
		}
		fmt.Fprintf(c.out, "%s  %s  %9s  %s %s  (%d spans of %s; %s)%s\n", t.Start.Local().Format("01-02 15:04:05.000"), t.TraceID, round(t.Duration),
			logs.Printable(t.Service), logs.Printable(t.Name), t.Spans, logs.Printable(strings.Join(t.Services, ", ")), t.Kept, errs)
	}
	return nil
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

func (c *cli) showTrace(ctx context.Context, id string) error {
	source, err := c.traceSource(ctx)
	if err != nil {
		return err
	}
	defer source.close()
	var view *traces.View
	if source.left != nil {
		spans, err := source.left.Trace(ctx, id)
		if err != nil {
			return err
		}
		view = traces.NewView(spans)
	} else if err := getJSON(ctx, source.base+"/traces/trace/"+url.PathEscape(id), &view); err != nil {
		return err
	}
	if view == nil || len(view.Spans) == 0 {
		return fmt.Errorf("trace %s is not kept here", id)
	}
	if c.json {
		return writeJSON(c.out, view)
	}
	t := newTraceTree(view)
	for _, root := range t.roots() {
		t.print(c, root, 0)
	}
	return nil
}

// traceTree prints the spans of a trace below each other.
type traceTree struct {
	view     *traces.View
	children map[string][]*traces.Span
	path     map[string]time.Duration // on the critical path, of each span itself
	begin    int64
}

func newTraceTree(view *traces.View) *traceTree {
	t := &traceTree{view: view, children: map[string][]*traces.Span{}, path: map[string]time.Duration{}, begin: view.Spans[0].Start}
	for _, s := range view.Spans {
		t.children[s.Parent] = append(t.children[s.Parent], s)
		t.begin = min(t.begin, s.Start)
	}
	for _, list := range t.children {
		slices.SortFunc(list, func(a, b *traces.Span) int { return cmp.Compare(a.Start, b.Start) })
	}
	for _, s := range view.Path {
		t.path[s.SpanID] += s.Duration
	}
	return t
}

// roots are the spans whose parent is not there.
func (t *traceTree) roots() (roots []*traces.Span) {
	here := map[string]bool{}
	for _, s := range t.view.Spans {
		here[s.SpanID] = true
	}
	for _, s := range t.view.Spans {
		if s.Parent == "" || !here[s.Parent] || s.Parent == s.SpanID {
			roots = append(roots, s)
		}
	}
	return roots
}

func (t *traceTree) print(c *cli, s *traces.Span, depth int) {
	const deepest = 60
	if depth > deepest {
		return
	}
	mark, own := " ", ""
	if d := t.path[s.SpanID]; d > 0 {
		mark, own = "*", fmt.Sprintf("  path %s", round(d))
	}
	state := ""
	if s.Error {
		state = "  FAILED " + logs.Printable(s.Message)
	}
	fmt.Fprintf(c.out, "%s %9s %9s  %s%s %s%s%s\n", mark, "+"+round(time.Duration(s.Start-t.begin)).String(), round(s.Took()), strings.Repeat("  ", depth),
		logs.Printable(s.Service), logs.Printable(s.Name), own, strings.TrimRight(state, " "))
	for _, child := range t.children[s.SpanID] {
		if child != s {
			t.print(c, child, depth+1)
		}
	}
}

func (c *cli) showPath(ctx context.Context, service, name string, from, to time.Time) error {
	source, err := c.traceSource(ctx)
	if err != nil {
		return err
	}
	defer source.close()
	var sum traces.PathSummary
	if source.left != nil {
		sum, err = source.left.Paths(ctx, service, name, from, to)
	} else {
		err = getJSON(ctx, source.base+"/traces/paths?"+traceValues(service, name, from, to).Encode(), &sum)
	}
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.out, sum)
	}
	if sum.Traces == 0 {
		fmt.Fprintln(c.err, "no trace that begins there is kept")
		return nil
	}
	fmt.Fprintf(c.out, "%s: %d traces, for about %.0f; mean %s, p99 %s\n", logs.Printable(sum.Route), sum.Traces, sum.Of, round(sum.Mean), round(sum.P99))
	fmt.Fprintf(c.out, "%10s %6s %10s  on the critical path\n", "mean", "", "slowest")
	for _, s := range sum.Shares {
		fmt.Fprintf(c.out, "%10s %5.1f%% %10s  %s %s\n", round(s.Mean), 100*float64(s.Mean)/float64(max(sum.Mean, 1)), round(s.P99), logs.Printable(s.Service), logs.Printable(s.Name))
	}
	return nil
}
