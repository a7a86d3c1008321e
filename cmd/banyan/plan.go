package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) plan() *cobra.Command {
	var rate, think string
	var users int
	var replicas map[string]int
	var ahead lookAhead
	var explore bool
	var method string
	var promises []string
	cmd := &cobra.Command{
		Use:     "plan",
		GroupID: "predict",
		Short:   "Predict latency, throughput, limits and the first bottleneck",
		Long: `Predict how the system does under its workload: latency of each route, use of each service, how much it holds, what
fills up first, and what one change would do. Costs of requests come from a calibration beside the file where there is
one, otherwise from 'work' and 'demands' in the file.

With --for it looks ahead: when, at the file's 'growth', each resource is full and each SLO breaks, what the loss of one
and two replicas does, what it costs by 'prices', which inputs matter most, and the cheapest changes that hold through the
horizon. --write makes a file of these, to be laid over the topology: banyan -f banyan.yaml -f FILE up.`,
		Example: "  banyan plan\n  banyan plan --rate 500/s --replicas catalog=3\n  banyan plan --users 2000 --think 5s --json\n" +
			"  banyan plan --for 18months --uncertainty 20% --write larger.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if method != "auto" && method != "analytic" {
				return usagef("--method %s: want auto or analytic", method)
			}
			sys, err := c.openCalibrated()
			if err != nil {
				return err
			}
			if err := overrideLoad(sys, rate, users, think); err != nil {
				return err
			}
			if err := promise(sys, promises); err != nil {
				return err
			}
			for name := range replicas {
				if sys.Services[name] == nil {
					return usagef("--replicas: there is no service %s", name)
				}
			}
			load, err := app.PlannedLoad(sys)
			if err != nil {
				return err
			}
			options := plan.Options{Cores: float64(runtime.NumCPU()), Replicas: replicas, Curves: c.liveCurves(cmd.Context(), sys)}
			wanted, err := ahead.options(options)
			if err != nil {
				return err
			}
			if ahead.write != "" {
				if err := c.overlayFits(ahead.write); err != nil {
					return err
				}
			}
			if explore {
				if wanted != nil {
					return usagef("--explore looks around at today's load, --for ahead: give one of them")
				}
				return c.explore(sys, load, options)
			}
			p, err := plan.Make(sys, load, options)
			if err != nil {
				return err
			}
			if method == "auto" {
				if err := simulateBeyond(cmd.Context(), sys, p, options); err != nil {
					return err
				}
			}
			if wanted == nil {
				if c.json {
					return writeJSON(c.out, p)
				}
				c.printPlan(sys, p)
				return nil
			}
			grown, err := plan.Grow(sys, load, *wanted)
			if errors.Is(err, plan.ErrNoGrowth) {
				return wrongUse{err}
			}
			if err != nil {
				return err
			}
			return c.lookAhead(sys, p, grown, *wanted, ahead)
		},
	}
	cmd.Flags().StringVar(&rate, "rate", "", "plan for an open load of so many scenario starts, such as 200/s")
	cmd.Flags().IntVar(&users, "users", 0, "plan for a closed load of so many users")
	cmd.Flags().StringVar(&think, "think", "", "mean pause of a user between two requests, such as 1s")
	cmd.Flags().StringToIntVar(&replicas, "replicas", nil, "plan with other numbers of replicas, such as catalog=3,cart=2")
	cmd.Flags().BoolVar(&explore, "explore", false, "show what faster services, caches and larger replicas would do, and the bottlenecks over mix and load")
	cmd.Flags().StringArrayVar(&promises, "slo", nil, "promise a latency beside the file's, such as 'GET /search p99=100ms'; may be repeated")
	cmd.Flags().StringVar(&method, "method", "auto", "auto: simulate what the closed form leaves out, and check the metastable region by simulation; analytic: neither")
	ahead.flags(cmd)
	return cmd
}

// simulateBeyond asks the simulator for what the closed form does not know, and for a check of the metastable region.
func simulateBeyond(ctx context.Context, sys *topology.System, p *plan.Plan, o plan.Options) error {
	if _, err := p.Simulate(ctx, sys, o); err != nil {
		return err
	}
	if p.Storm == nil {
		return nil
	}
	return p.Storm.Check(ctx, sys, p.Saturation.Throughput, o)
}

// promise adds SLOs of the form 'ROUTE p99=100ms'.
func promise(sys *topology.System, promises []string) error {
	for _, text := range promises {
		at := strings.LastIndex(strings.TrimSpace(text), " ")
		if at < 0 {
			return usagef("--slo %q: want a route and a limit, such as 'GET /search p99=100ms'", text)
		}
		name := strings.TrimSpace(text[:at])
		key, limit, _ := strings.Cut(strings.TrimSpace(text[at:]), "=")
		d, err := topology.ParseDuration(limit)
		switch {
		case err != nil || d <= 0 || !strings.HasPrefix(key, "p"):
			return usagef("--slo %q: want a limit such as p99=100ms after the route", text)
		case sys.RouteByName(name) == nil:
			return usagef("--slo %q: there is no route %s", text, name)
		}
		if sys.SLOs == nil {
			sys.SLOs = map[string]*topology.SLO{}
		}
		sys.SLOs[text] = &topology.SLO{Route: name, Latency: map[string]topology.Duration{key: d}}
	}
	return nil
}

// overrideLoad replaces the load of the file's workload by the flags that were given.
func overrideLoad(sys *topology.System, rate string, users int, think string) error {
	if rate == "" && users == 0 && think == "" {
		return nil
	}
	if sys.Workload == nil {
		return usagef("the file has no workload whose scenarios --rate or --users could drive")
	}
	w := sys.Workload
	switch {
	case rate != "" && users != 0:
		return usagef("--rate is an open load and --users a closed one: give one of them")
	case users < 0:
		return usagef("--users %d: must be positive", users)
	case rate != "":
		r, err := topology.ParseRate(rate)
		if err != nil {
			return usagef("--rate: %w", err)
		}
		w.Rate, w.Users, w.Stages, w.Trace = r, 0, nil, nil
	case users != 0:
		w.Users, w.Rate, w.Stages, w.Trace = users, 0, nil, nil
	}
	if think != "" {
		d, err := topology.ParseDuration(think)
		if err != nil {
			return usagef("--think: %w", err)
		}
		w.Think = d
	}
	return nil
}

func (c *cli) printPlan(sys *topology.System, p *plan.Plan) {
	fmt.Fprintf(c.out, "%s under %s\n\n", sys.Name, describeLoad(p.Load))
	t := table{head: []string{"ROUTE", "REQ/S", "MEAN", "P50", "P95", "P99"}}
	for _, r := range p.Routes {
		t.row(r.Route, digits(r.Rate), duration(r.Mean), duration(r.P50), duration(r.P95), duration(r.P99))
	}
	t.write(c.out)
	for _, r := range p.Routes {
		if r.HitRatio != nil {
			fmt.Fprintf(c.out, "http_cache of %s: %s of its requests are hits, which no service is asked for.\n", r.Route, percent(*r.HitRatio))
		}
	}
	printPlanCaches(c.out, p.Caches)
	if p.Saturated {
		fmt.Fprintf(c.out, "\nThe load is more than %s holds: these rates are what is served, and latencies grow for as long as the load lasts.\n", p.Bottleneck)
	}
	printBound(c.out, p.Bound)
	fmt.Fprintln(c.out)
	t = table{head: []string{"SERVICE", "REPLICAS", "CALLS/S", "CPU", "LIMIT", "USED"}}
	for _, s := range p.Services {
		n, limit := fmt.Sprint(s.Replicas), "-"
		if s.Limit > 0 {
			limit = digits(s.Limit)
		}
		if kind, _ := topology.ServiceOf(s.Service); sys.Services[s.Service] == nil && kind != "tables" {
			n = "-"
		}
		t.row(s.Service, n, digits(s.Rate), digits(s.CPU), limit, percent(s.Utilisation))
	}
	t.row("machine", "", "", digits(p.Machine.CPU), digits(p.Machine.Cores), percent(p.Machine.Utilisation))
	t.write(c.out)

	printPlanTables(c.out, p.Tables)
	c.printQueues(p.Queues)
	fmt.Fprintf(c.out, "\nHolds %s before %s is full.\n", describeLimit(p.Saturation), p.Saturation.By)
	if p.Knee.Throughput > 1e-6*p.Saturation.Throughput {
		fmt.Fprintf(c.out, "Knee at %s (%s).\n", describeLimit(p.Knee), p.Knee.By)
	} else {
		fmt.Fprintf(c.out, "No knee: %s is broken at any load.\n", p.Knee.By)
	}
	fmt.Fprintf(c.out, "First bottleneck: %s.\n", p.Bottleneck)
	if st := p.Storm; st != nil {
		fmt.Fprintf(c.out, "Metastable from %s requests/s (%s of what is held) on: once calls time out, retries multiply those to %s by %s and keep it so.\n",
			digits(st.From), percent(st.Share), st.Service, digits(st.Tries))
		printCheck(c.out, st)
	}
	fmt.Fprintln(c.out)
	c.printChanges(p)
	fmt.Fprintln(c.out)
	for _, k := range p.Claims {
		fmt.Fprintf(c.out, "%-22s  %-4s  by %s\n", k.What, k.Trust, k.Method)
	}
	var why []string
	for _, k := range p.Claims {
		for _, w := range k.Why {
			if !slices.Contains(why, w) {
				why = append(why, w)
			}
		}
	}
	if len(why) > 0 {
		fmt.Fprintf(c.out, "No further, since %s.\n", strings.Join(why, "; "))
	}
	if k := sys.Calibration; k != nil {
		fmt.Fprintf(c.out, "Costs measured: %s, at %s requests/s on %g cores.\n", k.Source, digits(k.Throughput), float64(k.Cores))
	} else {
		fmt.Fprintln(c.out, "Costs are the file's, not measured: 'banyan calibrate' derives them from a load test.")
	}
	for _, n := range p.Notes {
		fmt.Fprintf(c.out, "Note: %s.\n", n)
	}
}

// printBound says what the adaptive bound does to the load.
func printBound(out io.Writer, b *plan.BoundPrediction) {
	switch {
	case b == nil:
	case b.Refused > 0:
		fmt.Fprintf(out, "\nadaptive bounds %s at about %d requests at once: of %s requests/s, %s are refused (503), and these are the others.\n", b.Service, b.Limit, digits(b.Offered), percent(b.Refused))
	default:
		fmt.Fprintf(out, "\nadaptive bounds %s at about %d requests at once, of which %s are there: none is refused.\n", b.Service, b.Limit, digits(b.InFlight))
	}
}

// printQueues says what becomes of queues.
func (c *cli) printQueues(queues []plan.QueuePrediction) {
	if len(queues) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	t := table{head: []string{"QUEUE", "MESSAGES/S", "WAITING", "HANDLED AFTER", "AGAIN", "DEAD", "REFUSED"}}
	for _, q := range queues {
		t.row(q.Queue, digits(q.Published), digits(q.Backlog), duration(q.Handled), percent(q.Again), percent(q.Dead), percent(q.Refused))
	}
	t.write(c.out)
	for _, q := range queues {
		if q.Outlook != "" {
			fmt.Fprintf(c.out, "%s: %s.\n", q.Queue, q.Outlook)
		}
	}
}

// printCheck says what the simulator makes of the metastable region.
func printCheck(out io.Writer, st *plan.Storm) {
	check := st.Simulated
	switch {
	case check == nil:
	case check.Why != "":
		fmt.Fprintf(out, "  Not checked by simulation: %s.\n", check.Why)
	case check.Confirmed:
		fmt.Fprintf(out, "  Simulated, two minutes after a second of overload: it has recovered at %s/s, and not at %s/s.\n", digits(check.Recovers), digits(check.Stays))
	case check.Stays == 0:
		fmt.Fprintf(out, "  The simulator does not bear it out: two minutes after a second of overload it has recovered, at %s/s too.\n", digits(check.Recovers))
	case check.Recovers == 0:
		fmt.Fprintf(out, "  The simulator says that it begins lower: two minutes after a second of overload it has not recovered, at %s/s neither.\n", digits(check.Stays))
	default:
		fmt.Fprintf(out, "  The simulator says that it begins lower: two minutes after a second of overload it has recovered at %s/s, and not at %s/s.\n",
			digits(check.Recovers), digits(check.Stays))
	}
}

// printChanges prints what each single change would do; those that would do nothing share a line.
func (c *cli) printChanges(p *plan.Plan) {
	now := p.Unchanged
	t := table{head: []string{"CHANGE", "HOLDS", "KNEE", "GAIN", "MEAN", "P99"}}
	t.row(now.What, digits(now.Saturation)+"/s", digits(now.Knee)+"/s", "", duration(now.Mean), duration(now.P99))
	var idle []string
	for _, ch := range p.Changes {
		if noDifference(ch, now.Saturation, now.P99) {
			idle = append(idle, ch.What)
			continue
		}
		t.row(ch.What, digits(ch.Saturation)+"/s", digits(ch.Knee)+"/s", deviation(ch.Gain), duration(ch.Mean), duration(ch.P99))
	}
	t.write(c.out)
	if len(idle) > 0 {
		fmt.Fprintf(c.out, "No difference: %s.\n", strings.Join(idle, "; "))
	}
}

// noDifference says that a change does nothing worth a line.
func noDifference(ch plan.Change, held float64, p99 time.Duration) bool {
	return math.Abs(ch.Gain) < 0.005 && math.Abs(ch.Saturation/held-1) < 0.005 && math.Abs(float64(ch.P99-p99)) < 0.01*float64(p99)
}

func describeLoad(l plan.Load) string {
	if l.Users > 0 {
		return fmt.Sprintf("%d users, thinking %s between requests", l.Users, l.Think.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s requests/s", digits(l.Total()))
}

func describeLimit(l plan.Limit) string {
	if l.Users > 0 {
		return fmt.Sprintf("%s requests/s (%d users)", digits(l.Throughput), l.Users)
	}
	return digits(l.Throughput) + " requests/s"
}
