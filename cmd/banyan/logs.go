package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

// logsFlags say what is asked of the logs.
type logsFlags struct {
	follow, histogram bool
	tail              int
	since, until      string
	by                string
	step              time.Duration
}

// stored reports whether the store of logs is asked, which can search, rather than the replicas' files.
func (f *logsFlags) stored(query string) bool {
	return query != "" || f.since != "" || f.until != "" || f.histogram
}

func (c *cli) logs() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:     "logs [SERVICE] [QUERY]",
		GroupID: "run",
		Short:   "Print what the replicas wrote, merged by time, or search it",
		Long: `Print what the replicas of a service (left out: of all services) wrote, merged by time. Works on a stopped system too.

With a query, or --since, --until or --histogram, search all that is kept of what services wrote and sent:
  timeout, time*, "connection refused", /took \d{4,} ms/    words, their beginnings, phrases, regular expressions
  level=error, status>=500, path~"^/api/", user.id!=7        fields; level, trace_id, service and replica are always known
  a b, a or b, not a, ( )                                    and, or, not, groups
See docs/logs.md.`,
		Example: `  banyan logs web
  banyan logs -f
  banyan logs --since 1h 'level=error "timeout"'
  banyan logs web 'status>=500' --histogram --by path
  banyan -f prod.yaml logs -f orders`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: c.services(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sys, err := c.open()
			if err != nil {
				return err
			}
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			service, query, err := f.read(sys, args)
			if err != nil {
				return err
			}
			if f.stored(query) {
				return c.storedLogs(cmd.Context(), dir, service, query, &f)
			}
			files := orchestrate.OpenLogs(dir)
			if f.follow {
				return files.Follow(cmd.Context(), service, f.tail, c.out)
			}
			lines, err := files.Tail(service, f.tail)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, lines)
			}
			for _, l := range lines {
				fmt.Fprintln(c.out, l)
			}
			return nil
		},
	}
	// Here -f follows, as it does everywhere else in the world; a file is named by --file, or before 'logs'.
	cmd.Flags().StringArrayVar(&c.files, "file", nil, "topology `file`; further ones are laid over the first (default banyan.yaml)")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().IntVarP(&f.tail, "tail", "n", 100, "print the last `lines`")
	cmd.Flags().StringVar(&f.since, "since", "", "search from `when` on: how long ago (1h, 2d), or an instant (default 1h ago)")
	cmd.Flags().StringVar(&f.until, "until", "", "search up to `when` (default now)")
	cmd.Flags().BoolVar(&f.histogram, "histogram", false, "count over time instead of printing lines")
	cmd.Flags().StringVar(&f.by, "by", logs.FieldLevel, "`field` that a histogram is divided by")
	cmd.Flags().DurationVar(&f.step, "step", 0, "`span` of a histogram's bars (default a fortieth of the whole)")
	return cmd
}

// read tells a service from a query.
func (f *logsFlags) read(sys *topology.System, args []string) (service, query string, err error) {
	if f.tail < 0 {
		return "", "", usagef("--tail %d: must not be negative", f.tail)
	}
	if len(args) > 0 && sys.Services[args[0]] != nil {
		service, args = args[0], args[1:]
	} else if len(args) == 2 || len(args) == 1 && !f.stored("") && isName(args[0]) {
		return "", "", usagef("there is no service %s; to look for the word, quote it: '\"%s\"'", args[0], args[0])
	}
	if len(args) > 0 {
		query = args[0]
	}
	return service, query, nil
}

func isName(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// whenOf reads how long ago, or an instant.
func whenOf(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if d, err := time.ParseDuration(days + "h"); err == nil {
			return now.Add(-24 * d), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is neither a duration (15m, 2h, 3d) nor an instant (2026-11-29T18:00:00Z)", text)
}

func spanOf(since, until string, back time.Duration) (from, to time.Time, err error) {
	now := time.Now()
	from, to = now.Add(-back), now.Add(time.Second) // what is written while this runs is not in the future
	if since != "" {
		if from, err = whenOf(since, now); err != nil {
			return from, to, err
		}
	}
	if until != "" {
		if to, err = whenOf(until, now); err != nil {
			return from, to, err
		}
	}
	if !from.Before(to) {
		return from, to, usagef("--since is not before --until")
	}
	return from, to, nil
}

// storedLogs searches the store.
func (c *cli) storedLogs(ctx context.Context, dir, service, query string, f *logsFlags) error {
	filter, err := logs.Query(query)
	if err != nil {
		return wrongUse{err}
	}
	text := query
	if service != "" {
		text = fmt.Sprintf("service=%q (%s)", service, cmp.Or(query, "*"))
		filter = segment.And(segment.Equals(logs.LabelService, service), filter)
	}
	from, to, err := spanOf(f.since, f.until, time.Hour)
	if err != nil {
		return err
	}
	source, err := c.logSource(ctx, dir)
	if err != nil {
		return err
	}
	defer source.close()
	search := logs.Search{From: from, To: to, Filter: filter, Limit: f.tail}
	switch {
	case f.histogram && f.follow:
		return usagef("--histogram and --follow exclude each other")
	case f.histogram:
		step := f.step
		if step <= 0 {
			step = max(to.Sub(from)/40, time.Second).Round(time.Second)
		}
		bars, err := source.histogram(ctx, search, text, step, f.by)
		if err != nil {
			return err
		}
		return c.printBars(bars)
	case f.tail > logs.MaxEntries:
		return usagef("--tail %d: %d lines at most are searched for", f.tail, logs.MaxEntries)
	}
	if f.tail > 0 {
		answer, err := source.search(ctx, search, text)
		if err != nil {
			return err
		}
		if err := c.printEntries(answer, f); err != nil {
			return err
		}
	}
	if f.follow {
		return source.follow(ctx, filter, text, func(e logs.Entry) error { return c.printEntry(e) })
	}
	return nil
}

func (c *cli) printEntry(e logs.Entry) error {
	if c.json {
		return writeJSON(c.out, e)
	}
	_, err := fmt.Fprintln(c.out, e)
	return err
}

// printEntries prints what a search found, the oldest first.
func (c *cli) printEntries(answer logs.Answer, f *logsFlags) error {
	if c.json && !f.follow {
		return writeJSON(c.out, answer)
	}
	for i := len(answer.Entries) - 1; i >= 0; i-- {
		if err := c.printEntry(answer.Entries[i]); err != nil {
			return err
		}
	}
	if answer.Damaged > 0 {
		fmt.Fprintf(c.err, "note: %d blocks of the store are damaged and could not be searched\n", answer.Damaged)
	}
	if len(answer.Entries) == 0 && !f.follow {
		fmt.Fprintln(c.err, "nothing was found")
	} else if len(answer.Entries) == f.tail {
		fmt.Fprintf(c.err, "the last %d are shown; -n shows more\n", f.tail)
	}
	return nil
}

// printBars prints a histogram.
func (c *cli) printBars(bars []logs.Bar) error {
	if c.json {
		return writeJSON(c.out, bars)
	}
	most := int64(0)
	for _, b := range bars {
		most = max(most, b.Count)
	}
	if most == 0 {
		fmt.Fprintln(c.err, "nothing was found")
		return nil
	}
	for _, b := range bars {
		const width = 40
		n := int((b.Count*width + most - 1) / most)
		line := fmt.Sprintf("%s %8d %-*s %s", b.Start.Local().Format("01-02 15:04:05"), b.Count, width, strings.Repeat("#", n), groupsText(b.Groups))
		if _, err := fmt.Fprintln(c.out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}
