package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// loadFlags are the flags of 'banyan load', as they were given.
type loadFlags struct {
	rate, arrivals, think     string
	users, connections        int
	duration, warmup, timeout string
	trace                     string
	speed, scale              float64
	from, length              string
	thresholds                []string
	seed                      uint64
	maxLate                   time.Duration
	method, body, bodyFile    string
	headers                   []string
	knee                      kneeFlags
	target                    targetFlags
	out                       reportFlags
	export                    exportFlags
	distributed               workerFlags
}

func (c *cli) load() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:     "load [URL]",
		GroupID: "predict",
		Short:   "Load the running system, or any URL, and measure it honestly",
		Long: `Send the workload of the file to the running system and measure latency from the instant that each request was due, so
that a system that stalls cannot hide it. Flags replace what the file says. With a URL, that address is loaded instead
and no file is needed; with a URL and --file, the workload of the file goes there.

With --workers the load is sent by other processes, each waiting with --worker, in equal parts of one schedule.

The record is kept in the state directory, for 'banyan compare' and 'banyan calibrate'. Exit code 1: a threshold was
broken, or a worker was lost. Ctrl-C ends the test and reports what was done.`,
		Example: `  banyan load
  banyan load --rate 200/s --duration 1m --threshold 'p99 < 200ms' --threshold 'errors < 0.1%'
  banyan load --users 500 --think 2s
  banyan load --trace requests.csv.gz --speed 60 --from 40d --length 1h
  banyan load http://127.0.0.1:8080/ --connections 64 --duration 10s
  banyan load https://staging.example.com --file scenarios.yaml --rate 50/s
  banyan load redis://127.0.0.1:6379 --command 'GET key:{{seq}}' --rate 5000/s
  banyan load grpc://127.0.0.1:9090/shop.Catalog/Get --body '{"id": "7"}' --rate 500/s
  banyan load ws://127.0.0.1:8080/chat --send hello --match hello --users 100 --think 1s
  banyan load --find-knee --slo 'p99<200ms,errors<0.1%'
  banyan load http://127.0.0.1:8080/ --sweep users=1,2,4,8,16,32 --duration 5s
  banyan load --worker :7070 --secret-file secret
  banyan load --workers 127.0.0.1:7070,127.0.0.1:7071 --secret-file secret --rate 5000/s`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.seed == 0 {
				f.seed = rand.Uint64() >> 11 // short enough for a float64, as readers of JSON may keep it
			}
			if cmd.Flags().Changed("worker") {
				return c.loadWorker(cmd, args, &f.distributed)
			}
			if err := f.check(cmd, args, len(c.files) > 0); err != nil {
				return err
			}
			if search, err := f.knee.set(cmd); err != nil {
				return err
			} else if search {
				return c.loadSearch(cmd, args, f)
			}
			if len(args) == 1 && len(c.files) > 0 {
				return c.loadElsewhere(cmd, args[0], f)
			}
			if len(args) == 1 {
				return c.loadURL(cmd.Context(), args[0], f)
			}
			return c.loadSystem(cmd, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.rate, "rate", "r", "", "open load: starts of scenarios, such as 200/s")
	fl.StringVar(&f.arrivals, "arrivals", "", "arrivals of an open load: poisson or constant")
	fl.IntVarP(&f.users, "users", "u", 0, "closed load: users who wait for each answer, and think")
	fl.StringVar(&f.think, "think", "", "mean pause of a user between two requests, such as 1s")
	fl.IntVarP(&f.connections, "connections", "c", 0, "with a URL: connections on which one request follows the other; otherwise the most that are opened")
	fl.StringVarP(&f.duration, "duration", "d", "", "length of the test, such as 30s, the warm-up not included")
	fl.StringVar(&f.warmup, "warmup", "", "run first, and left out of all figures")
	fl.StringVar(&f.timeout, "timeout", "", "of one request")
	fl.StringVar(&f.trace, "trace", "", "replay arrivals from a CSV `file` (time, count; gzip'd or not)")
	fl.Float64Var(&f.speed, "speed", 1, "of the trace: 60 turns an hour into a minute")
	fl.Float64Var(&f.scale, "scale", 1, "of the trace: multiplies its counts")
	fl.StringVar(&f.from, "from", "", "of the trace: offset at which the replay starts")
	fl.StringVar(&f.length, "length", "", "of the trace: length of the part that is replayed, in its own time")
	fl.StringArrayVar(&f.thresholds, "threshold", nil, "limit to keep, such as 'p99 < 200ms', 'errors < 0.1%', 'p99{GET /} < 50ms' or 'p99[10s] < 1s', in each 10s")
	fl.Uint64Var(&f.seed, "seed", 0, "of all that is drawn: arrivals, mix, think times, values, UUIDs too; 0: another one for each test")
	fl.DurationVar(&f.maxLate, "max-late", 0, "do not send what is due for longer than this, and count it; 0: send everything, however late")
	fl.StringVarP(&f.method, "method", "X", "", "with a URL: the request's method")
	fl.StringVar(&f.body, "body", "", "with a URL: the request's body")
	fl.StringVar(&f.bodyFile, "body-file", "", "with a URL: a `file` with the request's body")
	fl.StringArrayVarP(&f.headers, "header", "H", nil, "with a URL: a header, such as 'Accept: text/html'")
	f.knee.register(cmd)
	f.target.register(cmd)
	f.out.register(cmd)
	f.export.register(cmd)
	f.distributed.register(cmd)
	cmd.AddCommand(c.loadDiff())
	cmd.AddCommand(c.importRecording())
	return cmd
}

// loadURL loads one address.
func (c *cli) loadURL(ctx context.Context, url string, f loadFlags) error {
	o, err := f.adHoc()
	if err != nil {
		return err
	}
	w, target, err := load.AdHoc(url, o)
	if err != nil {
		return wrongUse{err}
	}
	cfg := load.Config{Target: target, Workload: w, Seed: f.seed, MaxLate: f.maxLate}
	if err := errors.Join(f.distributed.apply(&cfg), f.target.apply(&cfg)); err != nil {
		return err
	}
	return c.send(ctx, cfg, f)
}

// loadElsewhere sends the workload of the file to an address, whoever serves it. No record is kept, for nothing is known of
// what is behind the address.
func (c *cli) loadElsewhere(cmd *cobra.Command, url string, f loadFlags) error {
	sys, cfg, err := c.ofFile(cmd, f)
	if err != nil {
		return err
	}
	cfg.Target, cfg.Workload = withScheme(url), sys.Workload
	return c.send(cmd.Context(), cfg, f)
}

// ofFile is the file, its workload as the flags would have it, and how that is to be sent.
func (c *cli) ofFile(cmd *cobra.Command, f loadFlags) (*topology.System, load.Config, error) {
	sys, err := c.open()
	if err != nil {
		return nil, load.Config{}, err
	}
	if err := f.override(cmd, sys); err != nil {
		return nil, load.Config{}, err
	}
	if err := f.checkKind(cmd, sys.Workload); err != nil {
		return nil, load.Config{}, err
	}
	cfg := load.Config{Router: topology.NewRouter(sys.Routes), Dir: sys.Dir, Seed: f.seed, MaxLate: f.maxLate, Connections: f.connections}
	return sys, cfg, errors.Join(f.distributed.apply(&cfg), f.target.apply(&cfg))
}

// withScheme is the address with that of HTTP, if it has none.
func withScheme(address string) string {
	if !strings.Contains(address, "://") {
		return "http://" + address
	}
	return address
}

// send runs a test of which no record is kept, and reports it.
func (c *cli) send(ctx context.Context, cfg load.Config, f loadFlags) error {
	var r *load.Result
	err := c.watched(cfg, f, func(cfg load.Config) (err error) {
		r, err = load.Run(ctx, cfg)
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(f.out.write(r), c.report(r, &app.Run{Name: app.RunName(r), Result: r}))
}

// watched runs a test whose progress is shown, and exported if that was asked for.
func (c *cli) watched(cfg load.Config, f loadFlags, run func(load.Config) error) error {
	progress, err := c.loadProgress(f.out.progress)
	if err != nil {
		return err
	}
	cfg.Progress = progress.show
	endExport, err := f.export.export(c, &cfg)
	if err != nil {
		return err
	}
	err = run(cfg)
	progress.end()
	endExport()
	return err
}

func (f loadFlags) adHoc() (o load.AdHocOptions, err error) {
	if f.trace != "" {
		return o, usagef("--trace needs a topology file whose scenarios it drives")
	}
	o = load.AdHocOptions{Arrivals: f.arrivals, Users: f.users, Connections: f.connections, Method: f.method, Body: f.body, Thresholds: f.thresholds}
	if err := f.target.adHoc(&o); err != nil {
		return o, err
	}
	if f.rate != "" {
		r, err := topology.ParseRate(f.rate)
		if err != nil {
			return o, usagef("--rate: %w", err)
		}
		o.Rate = float64(r)
	}
	for _, d := range []struct {
		flag, text string
		to         *time.Duration
	}{{"think", f.think, &o.Think}, {"duration", f.duration, &o.Duration}, {"warmup", f.warmup, &o.Warmup}, {"timeout", f.timeout, &o.Timeout}} {
		if d.text == "" {
			continue
		}
		v, err := topology.ParseDuration(d.text)
		if err != nil {
			return o, usagef("--%s: %w", d.flag, err)
		}
		*d.to = v.Std()
	}
	for _, t := range f.thresholds {
		if _, err := load.ParseThreshold(t); err != nil {
			return o, usagef("--%w", err)
		}
	}
	if f.bodyFile != "" {
		if f.body != "" {
			return o, usagef("--body and --body-file exclude each other")
		}
		data, err := readBounded(f.bodyFile, maxBodyFile)
		if err != nil {
			return o, fmt.Errorf("--body-file: %w", err)
		}
		o.Body = string(data)
	}
	o.Headers, err = parseHeaders("header", f.headers)
	return o, err
}

// maxBodyFile bounds the body of a request: each one under way has its own copy.
const maxBodyFile = 16 << 20

// readBounded reads a file of at most that many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return data, err
}

// loadSystem loads the running system with its workload.
func (c *cli) loadSystem(cmd *cobra.Command, f loadFlags) error {
	sys, cfg, err := c.ofFile(cmd, f)
	if err != nil {
		return err
	}
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	var run *app.Run
	err = c.watched(cfg, f, func(cfg load.Config) (err error) {
		run, err = app.Measure(cmd.Context(), dir, sys, cfg)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := app.SaveRun(dir, run); err != nil {
		// What was measured is shown all the same.
		_ = errors.Join(f.out.write(run.Result), c.report(run.Result, &app.Run{Name: run.Name, Result: run.Result}))
		return err
	}
	return errors.Join(f.out.write(run.Result), c.report(run.Result, run))
}

// override replaces what the file says of the workload by the flags.
func (f loadFlags) override(cmd *cobra.Command, sys *topology.System) error {
	if name := given(cmd, "method", "body", "body-file", "header", "command", "send", "hex", "until", "match", "length-bytes", "call",
		"descriptors", "messages", "publish", "action"); name != "" {
		return usagef("--%s is for loading a URL without a file; the file's scenarios say what is requested", name)
	}
	if f.trace != "" && (f.rate != "" || f.users != 0) {
		return usagef("--trace, --rate and --users exclude each other")
	}
	if err := overrideLoad(sys, f.rate, f.users, f.think); err != nil {
		return err
	}
	if sys.Workload != nil {
		if err := f.target.override(sys.Workload); err != nil {
			return err
		}
	}
	w := sys.Workload
	if w == nil {
		return usagef("the file has no workload: give it one, or load a URL")
	}
	if f.trace != "" {
		path, err := filepath.Abs(f.trace)
		if err != nil {
			return err
		}
		w.Trace = &topology.Trace{File: path}
		w.Rate, w.Users, w.Stages = 0, 0, nil
	}
	if f.arrivals != "" {
		if f.arrivals != "poisson" && f.arrivals != "constant" {
			return usagef("--arrivals %q: want poisson or constant", f.arrivals)
		}
		w.Arrivals = f.arrivals
	}
	if err := f.overrideTrace(cmd, w); err != nil {
		return err
	}
	for _, d := range []struct {
		flag, text string
		to         *topology.Duration
	}{{"duration", f.duration, &w.Duration}, {"warmup", f.warmup, &w.Warmup}, {"timeout", f.timeout, &w.Timeout}} {
		if d.text == "" {
			continue
		}
		v, err := topology.ParseDuration(d.text)
		if err != nil {
			return usagef("--%s: %w", d.flag, err)
		}
		*d.to = v
	}
	w.Thresholds = append(w.Thresholds, f.thresholds...)
	for _, t := range f.thresholds {
		if _, err := topology.ParseThreshold(t); err != nil {
			return usagef("--threshold %q: %w", t, err)
		}
	}
	return nil
}

func (f loadFlags) overrideTrace(cmd *cobra.Command, w *topology.Workload) error {
	changed := func(name string) bool { return cmd.Flags().Changed(name) }
	if w.Trace == nil {
		for _, name := range []string{"speed", "scale", "from", "length"} {
			if changed(name) {
				return usagef("--%s is about a trace: give one with --trace", name)
			}
		}
		return nil
	}
	if changed("speed") || w.Trace.Speed == 0 {
		w.Trace.Speed = f.speed
	}
	if changed("scale") || w.Trace.Scale == 0 {
		w.Trace.Scale = f.scale
	}
	if w.Trace.Speed <= 0 || w.Trace.Scale <= 0 {
		return usagef("--speed and --scale must be positive")
	}
	for _, d := range []struct {
		flag, text string
		to         *topology.Duration
	}{{"from", f.from, &w.Trace.From}, {"length", f.length, &w.Trace.Length}} {
		if d.text == "" {
			continue
		}
		v, err := topology.ParseDuration(d.text)
		if err != nil {
			return usagef("--%s: %w", d.flag, err)
		}
		*d.to = v
	}
	return nil
}

// report prints a result; a broken threshold is a no.
func (c *cli) report(r *load.Result, run *app.Run) error {
	if c.json {
		if err := writeJSON(c.out, run); err != nil {
			return err
		}
	} else {
		if err := r.WriteText(c.out); err != nil {
			return err
		}
		if run.Measurement != nil {
			fmt.Fprintf(c.out, "\nRecord %s: hold it against the prediction with 'banyan compare'.\n", run.Name)
		}
	}
	if !r.OK() {
		return errNo
	}
	return nil
}
