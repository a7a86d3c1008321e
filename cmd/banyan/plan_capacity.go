package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// shownRows is how many losses and sensitivities are printed; --json has all.
const shownRows = 8

// lookAhead is the flags of a plan that looks ahead.
type lookAhead struct {
	span, growth, from, write, uncertainty string
	seed                                   uint64
	spare, zones                           int
}

func (l *lookAhead) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.span, "for", "", "look ahead so far, such as 18months or 2years")
	f.StringVar(&l.growth, "growth", "", "growth of the requests instead of the file's, such as 8%/month")
	f.StringVar(&l.from, "from", "", "day of today's load, such as 2026-12-01 (default today)")
	f.StringVar(&l.uncertainty, "uncertainty", "", "take all inputs as uncertain, such as 20%: nine in ten lie within 1.2 times or 1/1.2 of what is stated")
	f.Uint64Var(&l.seed, "seed", 1, "seed of the draws for --uncertainty")
	f.IntVar(&l.spare, "spare", 0, "with --for: find changes that hold with so many replicas of every service gone at once: 1 for N+1, 2 for N+2")
	f.IntVar(&l.zones, "zones", 0, "with --for: show the loss of one of so many zones, over which replicas and cores are spread evenly")
	f.StringVar(&l.write, "write", "", "write the cheapest changes that hold through the horizon, with --uncertainty those of least regret, as an overlay `FILE`")
}

// options are nil where nothing asks to look ahead.
func (l *lookAhead) options(o plan.Options) (*plan.CapacityOptions, error) {
	if l.span == "" {
		for name, value := range map[string]string{"growth": l.growth, "from": l.from, "uncertainty": l.uncertainty, "write": l.write} {
			if value != "" {
				return nil, usagef("--%s needs --for, such as --for 18months", name)
			}
		}
		if l.spare != 0 || l.zones != 0 {
			return nil, usagef("--spare and --zones need --for, such as --for 18months")
		}
		return nil, nil
	}
	c := &plan.CapacityOptions{Options: o, Seed: l.seed, Spare: l.spare, Zones: l.zones}
	var err error
	if c.For, err = plan.ParseHorizon(l.span); err != nil {
		return nil, usagef("--for %w", err)
	}
	if l.growth != "" {
		g, err := topology.ParseGrowthRate(l.growth)
		if err != nil {
			return nil, usagef("--growth: %w", err)
		}
		c.Growth = &g
	}
	if l.uncertainty != "" {
		u, err := topology.ParsePercent(l.uncertainty)
		if err != nil {
			return nil, usagef("--uncertainty: %w", err)
		}
		if u > 10 {
			return nil, usagef("--uncertainty %s: at most 1000%%", l.uncertainty)
		}
		c.Uncertainty = float64(u)
	}
	if l.from != "" {
		if _, err := time.Parse(time.DateOnly, l.from); err != nil {
			return nil, usagef("--from %s: want a day such as 2026-12-01", l.from)
		}
	}
	return c, nil
}

// start is the day of today's load.
func (l *lookAhead) start() time.Time {
	if t, err := time.Parse(time.DateOnly, l.from); err == nil {
		return t
	}
	return time.Now()
}

// lookAhead prints a plan with its capacity, and writes the remedy where one was asked for.
func (c *cli) lookAhead(sys *topology.System, p *plan.Plan, g *plan.Capacity, o plan.CapacityOptions, l lookAhead) error {
	if c.json {
		err := writeJSON(c.out, struct {
			*plan.Plan
			Capacity *plan.Capacity `json:"capacity"`
		}{p, g})
		if err != nil {
			return err
		}
	} else {
		c.printPlan(sys, p)
		c.printCapacity(g, l.start())
	}
	if l.write == "" {
		return nil
	}
	remedy := g.Remedy
	if g.Doubt != nil {
		remedy = g.Doubt.Options[g.Doubt.Least].Remedy // of least regret
	}
	if remedy.Possible && !remedy.Needed {
		fmt.Fprintf(c.err, "The system holds as it is: %s was not written.\n", l.write)
		return nil
	}
	return c.writeOverlay(sys, remedy, o, l.write)
}

// overlayFits says before the work of a plan whether what comes of it can be written where it is asked for.
func (c *cli) overlayFits(file string) error {
	paths, err := c.paths()
	if err != nil {
		return err
	}
	there, err := os.Stat(file)
	for _, p := range paths {
		if itself, errOf := os.Stat(p); err == nil && errOf == nil && os.SameFile(itself, there) {
			return usagef("--write %s: that is the topology itself; name another file", file)
		}
	}
	if err := writable(file); err != nil {
		return fmt.Errorf("writing the overlay: --write %s: %w", file, err)
	}
	return nil
}

// writeOverlay writes the remedy and makes sure that it is accepted.
func (c *cli) writeOverlay(sys *topology.System, remedy plan.Remedy, o plan.CapacityOptions, file string) error {
	text, err := plan.Overlay(sys, o.Options, remedy)
	if err != nil {
		return fmt.Errorf("--write %s: %w", file, err)
	}
	paths, err := c.paths()
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing the overlay: %w", err)
	}
	if _, err := topology.Load(append(append([]string{}, paths...), file)...); err != nil {
		return fmt.Errorf("the overlay %s does not fit the topology: %w", file, err)
	}
	fmt.Fprintf(c.err, "Wrote %s; run it with 'banyan -f %s -f %s up'.\n", file, strings.Join(paths, " -f "), filepath.Clean(file))
	return nil
}

func (c *cli) printCapacity(g *plan.Capacity, from time.Time) {
	on := func(at time.Duration) string { return dayOf(from, at) }
	fmt.Fprintf(c.out, "\nGrowing by %s until %s:\n\n", g.Growth, on(g.For))
	users := g.Steps[0].Users > 0
	t := table{head: []string{"DAY", "GROWTH", "REQ/S", "MACHINE", "BUSIEST", "P99", "BROKEN"}}
	if users {
		t.head[2] = "USERS"
	}
	for _, s := range g.Steps {
		load, p99, broken := digits(s.Rate), duration(s.P99), strings.Join(s.Broken, ", ")
		if users {
			load = fmt.Sprintf("%.0f", s.Users)
		}
		if s.Saturated {
			p99 = "-"
			broken = strings.TrimSuffix("overload; "+broken, "; ")
		}
		t.row(on(s.At), "x"+digits(s.Factor), load, percent(s.Machine), s.Bottleneck, p99, broken)
	}
	t.write(c.out)

	fmt.Fprintln(c.out)
	t = table{head: []string{"ENDS", "DAY", "GROWTH", "REQ/S"}}
	for _, e := range g.Ends {
		t.row(e.What, whenEnds(e.Factor, e.At, e.Never, on), "x"+digits(e.Factor), digits(e.Throughput))
	}
	t.write(c.out)
	c.printLosses(g.Losses, on)
	c.printZone(g.Zone, on)
	c.printShards(g.Shards)
	c.printRemedy(g, on)
	c.printDoubt(g, on)
}

// dayOf counts whole months by the calendar, and the rest in days.
func dayOf(from time.Time, at time.Duration) string {
	const month time.Duration = 730.5 * 3600e9 // a twelfth of a year
	months := (at + time.Minute) / month
	return from.AddDate(0, int(months), 0).Add(max(0, at-months*month)).Format(time.DateOnly)
}

// whenEnds is a day in words.
func whenEnds(factor float64, at time.Duration, never bool, on func(time.Duration) string) string {
	switch {
	case never:
		return "never"
	case factor < 1:
		return "already"
	}
	return on(at)
}

func (c *cli) printLosses(losses []plan.Loss, on func(time.Duration) string) {
	for lost := 1; lost <= 2; lost++ {
		t := table{head: []string{fmt.Sprintf("WITHOUT %d OF", lost), "LEFT", "HOLDS", "KNEE", "UNTIL"}}
		more := 0
		for _, l := range losses {
			switch {
			case l.Lost != lost:
			case len(t.rows) == shownRows:
				more++
			case l.Left == 0:
				t.row(l.Service, "0", "-", "-", "down at once")
			default:
				t.row(l.Service, fmt.Sprint(l.Left), digits(l.Saturation)+"/s", digits(l.Knee)+"/s", whenEnds(l.Factor, l.Until, l.Never, on))
			}
		}
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintln(c.out)
		t.write(c.out)
		if more > 0 {
			fmt.Fprintf(c.out, "and %d more that hold longer\n", more)
		}
	}
}

func (c *cli) printZone(l *plan.Loss, on func(time.Duration) string) {
	switch {
	case l == nil:
	case l.Saturation == 0:
		fmt.Fprintf(c.out, "\nWithout %s: down at once, for the zone that holds the most has all replicas of a service.\n", l.Service)
	default:
		fmt.Fprintf(c.out, "\nWithout %s (%d replicas of %d, and its cores): holds %s/s, knee at %s/s, until %s.\n", l.Service, l.Lost, l.Lost+l.Left,
			digits(l.Saturation), digits(l.Knee), whenEnds(l.Factor, l.Until, l.Never, on))
	}
}

func (c *cli) printShards(list []plan.ShardLoss) {
	if len(list) == 0 {
		return
	}
	t := table{head: []string{"WITHOUT A SHARD OF", "SHARDS", "REPLICAS", "REQUESTS THAT FAIL"}}
	for _, l := range list {
		var fails []string
		for _, route := range slices.Sorted(maps.Keys(l.Fails)) {
			fails = append(fails, fmt.Sprintf("%s of %s", percent(l.Fails[route]), route))
		}
		t.row("tables."+l.Table, fmt.Sprint(l.Shards), fmt.Sprint(l.Replicas), strings.Join(fails, ", "))
	}
	fmt.Fprintln(c.out)
	t.write(c.out)
}

func (c *cli) printRemedy(g *plan.Capacity, on func(time.Duration) string) {
	fmt.Fprintln(c.out)
	if g.Cost != nil {
		fmt.Fprintf(c.out, "Costs %s.\n", describeCost(g.Cost))
	}
	r := g.Remedy
	switch {
	case !r.Needed:
		fmt.Fprintf(c.out, "Holds until %s as it is.\n", on(g.For))
	case !r.Possible:
		fmt.Fprintf(c.out, "Nothing found that holds until %s: %s.\n", on(g.For), r.Why)
	default:
		with := ""
		if g.Spare > 0 {
			with = fmt.Sprintf(" with %d of the replicas of every service gone", g.Spare)
		}
		fmt.Fprintf(c.out, "To hold until %s%s:\n", on(g.For), with)
		for _, ch := range r.Changes {
			fmt.Fprintf(c.out, "  %s\n", ch)
		}
		fmt.Fprintf(c.out, "Then the knee is at %s requests/s", digits(r.Knee))
		if !r.Never {
			fmt.Fprintf(c.out, " and lasts until %s", on(r.Lasts))
		}
		if r.Cost != nil {
			fmt.Fprintf(c.out, "; it costs %s", describeCost(r.Cost))
		}
		fmt.Fprintln(c.out, ".")
	}
	if len(g.Sensitivity) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	t := table{head: []string{"THE KNEE, WHERE AN INPUT IS", "10% LESS", "10% MORE"}}
	for _, s := range g.Sensitivity[:min(shownRows, len(g.Sensitivity))] {
		t.row(s.Input, deviation(s.Less), deviation(s.More))
	}
	t.write(c.out)
}

func (c *cli) printDoubt(g *plan.Capacity, on func(time.Duration) string) {
	d := g.Doubt
	if d == nil {
		return
	}
	day := func(at time.Duration) string {
		if at >= 99*365*24*time.Hour {
			return "never"
		}
		return on(at)
	}
	fmt.Fprintf(c.out, "\nWith every input uncertain by %s (%d draws), the first end is\n", percent(d.Uncertainty), d.Samples)
	t := table{head: []string{"BEFORE", "5%", "25%", "50%", "75%", "95%"}}
	t.row("", day(d.P5), day(d.P25), day(d.P50), day(d.P75), day(d.P95))
	t.write(c.out)
	fmt.Fprintf(c.out, "Holds until %s in %s of the cases", on(g.For), percent(d.Holds))
	if g.Remedy.Needed && g.Remedy.Possible {
		fmt.Fprintf(c.out, ", with the changes in %s", percent(d.HoldsChanged))
	}
	fmt.Fprintln(c.out, ".")
	c.printRegret(d)
}

// printRegret weighs the options against each other.
func (c *cli) printRegret(d *plan.Doubt) {
	if len(d.Options) < 2 {
		return
	}
	unit := d.Options[0].Bill
	t := table{head: []string{"IF SIZED FOR", "COSTS", "HOLDS IN", "REGRET"}}
	for k, o := range d.Options {
		name := "as it is"
		if o.Margin > 0 {
			name = fmt.Sprintf("%.3g x the load", o.Margin)
		}
		if k == d.Least {
			name += " *"
		}
		t.row(name, fmt.Sprintf("x%.3g", o.Bill/unit), percent(o.Holds), fmt.Sprintf("%.1f%%", 100*o.Regret/unit))
	}
	fmt.Fprintln(c.out)
	t.write(c.out)
	fmt.Fprintln(c.out, "* least regret: what is paid beyond the cheapest that holds, or again where it does not hold, as a share of today's cost.")
	for _, change := range d.Options[d.Least].Remedy.Changes {
		fmt.Fprintf(c.out, "  %s\n", change)
	}
}

func describeCost(k *plan.Cost) string {
	text := fmt.Sprintf("%s %s a month (%s cores, %s GiB)", digits(k.Month), k.Currency, digits(k.Cores), digits(k.MemoryGiB))
	if k.MillionRequests > 0 {
		text += fmt.Sprintf(", %.3g for a million requests", k.MillionRequests)
	}
	return text
}
