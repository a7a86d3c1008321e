package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/autoscale/replay"
)

// replayFlags of the command.
type replayFlags struct {
	trace, html, slo, warmUp         string
	policies                         []string
	startUp, tick, step, serviceTime time.Duration
	each, scv, hold                  float64
	concurrency, min, max            int
}

func (c *cli) replay() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:     "replay --trace FILE.csv",
		GroupID: "predict",
		Short:   "Play recorded traffic against autoscaling policies and compare their cost at equal service",
		Long: `Replay plays recorded traffic (a value, or a time and a value in each row) against autoscaling policies: what scales
services with 'scale.predict', by a forecast where that has proved to pay and as Kubernetes does where not (predictive),
Kubernetes' (hpa), Knative's (kpa), target tracking as AWS does it (aws), and a table of steps (step). Each is swept over its one knob, and compared at the setting at which the asked share of time holds the objective: so that a
policy which is cheap because it serves badly gains nothing. Costs are over those of an oracle that always has exactly
the replicas that are needed.

What a replica holds is either said (--each 120/s), or follows from its service time, its concurrency and the objective by
queueing (--service-time 20ms --concurrency 8 --slo 'p99<300ms').`,
		Example: "  banyan replay --trace requests.csv --each 120/s --startup 180s\n" +
			"  banyan replay --trace requests.csv --service-time 20ms --concurrency 8 --slo 'p99<300ms' --policy predictive,hpa --html replay.html",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(c.files) > 0 {
				return usagef("replay reads recorded traffic, not a topology: name it with --trace")
			}
			if f.trace == "" {
				return usagef("no traffic is named: want --trace FILE.csv")
			}
			trace, plant, err := c.replayInputs(&f)
			if err != nil {
				return wrongUse{err}
			}
			result, err := replay.Compare(cmd.Context(), trace, plant, f.policies, f.hold)
			if err != nil {
				if cmd.Context().Err() != nil {
					return err
				}
				return wrongUse{fmt.Errorf("replaying %s: %w", f.trace, err)}
			}
			if f.html != "" {
				if err := os.WriteFile(f.html, []byte(result.HTML("Replay of "+f.trace)), 0o644); err != nil {
					return fmt.Errorf("writing the report: %w", err)
				}
			}
			if c.json {
				return writeJSON(c.out, result)
			}
			printReplay(c.out, result, trace.Step)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.trace, "trace", "", "CSV `file` of the traffic; '-' is standard input")
	flags.StringSliceVar(&f.policies, "policy", replay.Policies(), "policies to compare")
	flags.DurationVar(&f.startUp, "startup", 3*time.Minute, "how long a new replica takes to serve")
	flags.DurationVar(&f.tick, "tick", autoscale.Interval, "time between two decisions")
	flags.DurationVar(&f.step, "step", 0, "how long a step is (default: from the times in the file)")
	flags.StringVar(&f.slo, "slo", "p99<300ms", "objective of latency, with --service-time")
	flags.Float64Var(&f.hold, "hold", 0.995, "share of the time in which the objective must hold")
	flags.Var(rateFlag{&f.each}, "each", "requests a second that one replica holds, such as 120/s")
	flags.DurationVar(&f.serviceTime, "service-time", 0, "mean time that a request is served for")
	flags.Float64Var(&f.scv, "scv", 1, "squared coefficient of variation of that time")
	flags.IntVar(&f.concurrency, "concurrency", 1, "requests that a replica serves at once")
	flags.IntVar(&f.min, "min", 1, "least replicas")
	flags.IntVar(&f.max, "max", 1000, "most replicas")
	flags.StringVar(&f.warmUp, "warm-up", "", "time at the beginning that is played but not scored (default: a fifth of the trace, at most two days)")
	flags.StringVar(&f.html, "html", "", "write a report with plots to a `file`")
	return cmd
}

// rateFlag is a number of requests a second, with or without "/s".
type rateFlag struct{ v *float64 }

func (f rateFlag) String() string {
	if f.v == nil || *f.v == 0 {
		return ""
	}
	return digits(*f.v) + "/s"
}
func (rateFlag) Type() string { return "rate" }
func (f rateFlag) Set(s string) error {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(v > 0) {
		return fmt.Errorf("%q is no rate: want one such as 120/s", s)
	}
	*f.v = v
	return nil
}

func (c *cli) replayInputs(f *replayFlags) (replay.Trace, replay.Plant, error) {
	fail := func(err error) (replay.Trace, replay.Plant, error) { return replay.Trace{}, replay.Plant{}, err }
	series, err := c.readSeries(f.trace, f.step)
	if err != nil {
		return fail(err)
	}
	if f.tick <= 0 {
		return fail(fmt.Errorf("--tick %v: want more than nothing", f.tick))
	}
	trace := replay.Trace{Step: series.Step, Rates: series.Rates()}.Coarser(f.tick)
	plant := replay.Plant{StartUp: f.startUp, Tick: f.tick, Min: f.min, Max: f.max,
		WarmUp: min(int(48*time.Hour/trace.Step), len(trace.Rates)/5)}
	if f.warmUp != "" {
		d, err := time.ParseDuration(f.warmUp)
		if err != nil || d < 0 {
			return fail(fmt.Errorf("--warm-up %q: want a duration such as 24h", f.warmUp))
		}
		plant.WarmUp = int(d / trace.Step)
	}
	plant.Capacity, err = f.capacity()
	if err != nil {
		return fail(err)
	}
	return trace, plant, nil
}

func (f *replayFlags) capacity() (*autoscale.Capacity, error) {
	switch {
	case f.each > 0 && f.serviceTime > 0:
		return nil, fmt.Errorf("--each and --service-time both say what a replica holds: want one of them")
	case f.each > 0:
		return autoscale.LinearCapacity(f.each)
	case f.serviceTime > 0:
		objective, err := parseLatencyObjective(f.slo)
		if err != nil {
			return nil, err
		}
		return autoscale.StationCapacity(autoscale.Station{Service: f.serviceTime, SCV: f.scv, Concurrency: f.concurrency}, objective, min(f.max, autoscale.MaxReplicas))
	}
	return nil, fmt.Errorf("what a replica holds is not said: want --each 120/s, or --service-time 20ms with --concurrency and --slo")
}

var latencyObjective = regexp.MustCompile(`^\s*p(\d+(?:\.\d+)?)\s*<\s*(\S+)\s*$`)

func parseLatencyObjective(s string) (autoscale.Objective, error) {
	m := latencyObjective.FindStringSubmatch(s)
	if m == nil {
		return autoscale.Objective{}, fmt.Errorf("--slo %q: want one such as p99<300ms", s)
	}
	p, err := strconv.ParseFloat(m[1], 64)
	if err != nil || !(p > 0 && p < 100) {
		return autoscale.Objective{}, fmt.Errorf("--slo %q: p%s is no percentile", s, m[1])
	}
	d, err := time.ParseDuration(m[2])
	if err != nil || d <= 0 {
		return autoscale.Objective{}, fmt.Errorf("--slo %q: %q is no duration", s, m[2])
	}
	return autoscale.Objective{Quantile: p / 100, Latency: d}, nil
}

// setting is the knob of a policy in words.
func setting(r replay.Result) string {
	return r.Knob + " " + strconv.FormatFloat(math.Round(1000*r.At.Knob)/10, 'f', -1, 64) + "%"
}

func printReplay(w io.Writer, c *replay.Comparison, step time.Duration) {
	fmt.Fprintf(w, "%d steps of %v; the objective holds in %s%% of them\n", c.Steps, step, strconv.FormatFloat(100*c.Objective, 'f', -1, 64))
	t := table{head: []string{"POLICY", "COST/ORACLE", "REPLICA-HOURS", "VIOLATED", "CHANGES/DAY", "SETTING"}, gap: true}
	for _, r := range c.Results {
		if !r.Reached {
			best := r.Curve[0]
			for _, p := range r.Curve {
				if p.Held() > best.Held() {
					best = p
				}
			}
			t.row(r.Policy, "-", "-", "-", "-", fmt.Sprintf("not reached: at best %.2f%%, at %s times the oracle's cost", 100*best.Held(), digits(best.Cost())))
			continue
		}
		days := (time.Duration(c.Steps) * step).Hours() / 24
		t.row(r.Policy, fmt.Sprintf("%.3f", r.Cost), digits(r.At.ReplicaHours), fmt.Sprint(r.At.Violated), digits(float64(r.At.Changes)/days),
			setting(r))
	}
	t.write(w)
}
