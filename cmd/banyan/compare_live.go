package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// liveFlags are the flags of 'banyan compare --live'.
type liveFlags struct {
	on                        bool
	length, interval, alarmIn time.Duration
	tolerance                 string
}

func (f *liveFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.on, "live", false, "watch the running system against the calibrated model, and say when it leaves it")
	fl.DurationVar(&f.length, "for", 5*time.Minute, "of --live: how long to watch; 0: until interrupted or left")
	fl.DurationVar(&f.interval, "interval", 5*time.Second, "of --live: how often to look")
	fl.StringVar(&f.tolerance, "tolerance", "25%", "of --live: how far the CPU and the number of visits may be from the model's for good; their time may by twice that")
	fl.DurationVar(&f.alarmIn, "false-alarm", 24*time.Hour, "of --live: mean time until a system within the tolerance is falsely said to have left")
}

// options checks the flags.
func (f *liveFlags) options(cmd *cobra.Command, args []string) (plan.WatchOptions, error) {
	if !f.on {
		for _, name := range []string{"for", "interval", "tolerance", "false-alarm"} {
			if cmd.Flags().Changed(name) {
				return plan.WatchOptions{}, usagef("--%s belongs to --live", name)
			}
		}
		return plan.WatchOptions{}, nil
	}
	if len(args) > 0 || cmd.Flags().Changed("simulate") {
		return plan.WatchOptions{}, usagef("--live takes no RUN and no --simulate: it looks at what runs now")
	}
	tolerance, err := topology.ParsePercent(f.tolerance)
	if err != nil {
		return plan.WatchOptions{}, usagef("--tolerance: %w", err)
	}
	if f.interval < time.Second || f.interval > time.Minute || f.length < 0 {
		return plan.WatchOptions{}, usagef("--interval %v, --for %v: want an interval of 1s to 1m", f.interval, f.length)
	}
	return plan.WatchOptions{Tolerance: float64(tolerance), FalseAlarm: f.alarmIn, Interval: f.interval}, nil
}

// liveAnswer is what --json prints.
type liveAnswer struct {
	Left []plan.Departure `json:"left"`
	// Intervals that were looked at.
	Intervals []*plan.WatchInterval `json:"intervals"`
}

// compareLive watches the running system until it leaves the model or the time is over.
func (c *cli) compareLive(ctx context.Context, f *liveFlags, o plan.WatchOptions) error {
	client, info, err := c.running(ctx)
	if err != nil {
		return err
	}
	c.noteChanged(info)
	sys, err := c.openCalibrated()
	if err != nil {
		return err
	}
	replicas, cpu, err := runningSizes(ctx, client, sys)
	if err != nil {
		return err
	}
	w, err := plan.NewWatch(sys, plan.Options{Cores: float64(runtime.NumCPU()), Replicas: replicas, CPU: cpu}, o)
	if err != nil {
		return err
	}
	a := liveAnswer{Left: []plan.Departure{}}
	if f.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.length)
		defer cancel()
	}
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	from := time.Now()
	for len(a.Left) == 0 {
		select {
		case <-ctx.Done():
			return c.tellLive(a, w, f)
		case <-tick.C:
		}
		// Samples are a second apart: the last one may still be missing, and belongs to the next interval.
		to := time.Now().Add(-2 * observe.PulseInterval)
		window, err := client.Window(ctx, from, to)
		switch {
		case ctx.Err() != nil:
			continue
		case errors.Is(err, observe.ErrNoData):
			continue
		case err != nil:
			return err
		}
		from = window.End
		iv := app.WatchInterval(sys, window)
		a.Intervals = append(a.Intervals, iv)
		if a.Left, err = w.Observe(iv); err != nil {
			return err
		}
	}
	return c.tellLive(a, w, f)
}

// runningSizes is how many replicas of each service run, and their limits.
func runningSizes(ctx context.Context, client *control.Client, sys *topology.System) (replicas map[string]int, cpu map[string]float64, err error) {
	services, err := client.Replicas(ctx)
	if err != nil {
		return nil, nil, err
	}
	replicas, cpu = map[string]int{}, map[string]float64{}
	for _, s := range services {
		if sys.Services[s.Service] != nil {
			replicas[s.Service], cpu[s.Service] = s.Desired, float64(s.CPU)
		}
	}
	return replicas, cpu, nil
}

// tellLive says how it ended; the answer is no where the system left the model.
func (c *cli) tellLive(a liveAnswer, w *plan.Watch, f *liveFlags) error {
	if c.json {
		if err := writeJSON(c.out, a); err != nil {
			return err
		}
	} else if len(a.Left) > 0 {
		fmt.Fprintln(c.out, "The live system left the model:")
		for _, d := range a.Left {
			fmt.Fprintln(c.out, "  "+describeDeparture(d))
		}
		fmt.Fprintf(c.out, "Calibrate anew if that is meant; 'banyan bottleneck' says what hurts. (Within the tolerance of %s this is said falsely once in %s.)\n", f.tolerance, f.alarmIn)
	} else if w.Intervals() == 0 {
		return errors.New("the system was given too few requests to hold against the model")
	} else {
		fmt.Fprintf(c.out, "Within the model, to %s, in %d intervals of %s.\n", f.tolerance, w.Intervals(), f.interval)
	}
	if len(a.Left) > 0 {
		return errNo
	}
	return nil
}

func describeDeparture(d plan.Departure) string {
	observed, predicted := duration(secs(d.Observed)), duration(secs(d.Predicted))
	if d.Quantity == plan.WatchVisits {
		observed, predicted = digits(d.Observed)+"/s", digits(d.Predicted)+"/s"
	}
	return fmt.Sprintf("%s: %s %s, the model says %s (%+.0f%%), since %s, known at %s", d.Service, d.Quantity, observed, predicted,
		100*(d.Ratio-1), d.Since.Local().Format(time.TimeOnly), d.At.Local().Format(time.TimeOnly))
}
