package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// kneeFlags are the flags of 'banyan load' that search for the knee or sweep.
type kneeFlags struct {
	find      bool
	slo       string
	maxRate   string
	precision string
	maxProbes int
	coolDown  string
	sweep     string
}

func (k *kneeFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&k.find, "find-knee", false, "search for the highest rate that holds --slo, from --rate (default 10/s) on; --duration is that of a probe near the knee")
	fl.StringVar(&k.slo, "slo", "", "what must hold at the knee, such as 'p99<200ms,errors<0.1%' (default: the file's thresholds)")
	fl.StringVar(&k.maxRate, "max-rate", "", "of a search: the highest rate that is tried")
	fl.StringVar(&k.precision, "precision", "", "of a search: half-width of the knee's 95% interval at which it ends (default 4%)")
	fl.IntVar(&k.maxProbes, "max-probes", 0, "of a search: most probes (default 40)")
	fl.StringVar(&k.coolDown, "cool-down", "", "of a search: how long the target may take to recover from a probe (default 1m)")
	fl.StringVar(&k.sweep, "sweep", "", "run once for each number of users, such as 'users=1,2,4,8,16', and fit the Universal Scalability Law")
}

// set says that something other than one plain test is asked for.
func (k *kneeFlags) set(cmd *cobra.Command) (bool, error) {
	if k.find && k.sweep != "" {
		return false, usagef("--find-knee and --sweep exclude each other")
	}
	if !k.find {
		for _, name := range []string{"slo", "max-rate", "precision", "max-probes", "cool-down"} {
			if cmd.Flags().Changed(name) {
				return false, usagef("--%s belongs to --find-knee", name)
			}
		}
	}
	if !k.find && k.sweep == "" {
		return false, nil
	}
	// What a search and a sweep say by themselves, or cannot do.
	mode, others := "--find-knee", []string{"stages", "warmup", "think", "think-times"}
	if k.sweep != "" {
		mode, others = "--sweep", []string{"rate", "stages", "connections", "arrivals", "catch-up", "max-late"}
	}
	others = append(others, "trace", "speed", "scale", "from", "length", "users", "threshold", "html", "hdr", "prometheus", "workers", "secret-file")
	if name := given(cmd, others...); name != "" {
		return false, usagef("--%s does not go with %s", name, mode)
	}
	return true, nil
}

// options reads the flags of a search.
func (k *kneeFlags) options(f loadFlags) (o load.KneeConfig, err error) {
	for _, r := range []struct {
		flag, text string
		to         *float64
	}{{"rate", f.rate, &o.Search.Start}, {"max-rate", k.maxRate, &o.Search.Max}} {
		if r.text == "" {
			continue
		}
		v, err := topology.ParseRate(r.text)
		if err != nil {
			return o, usagef("--%s: %w", r.flag, err)
		}
		if *r.to = float64(v); *r.to <= 0 {
			return o, usagef("--%s must be above 0", r.flag)
		}
	}
	if k.precision != "" {
		v, err := topology.ParsePercent(k.precision)
		if err != nil {
			return o, usagef("--precision: %w", err)
		}
		o.Search.Precision = float64(v)
	}
	for _, d := range []struct {
		flag, text string
		to         *time.Duration
	}{{"duration", f.duration, &o.Probe}, {"cool-down", k.coolDown, &o.CoolDown}} {
		if d.text == "" {
			continue
		}
		v, err := topology.ParseDuration(d.text)
		if err != nil {
			return o, usagef("--%s: %w", d.flag, err)
		}
		*d.to = v.Std()
	}
	o.Search.MaxProbes = k.maxProbes
	return o, nil
}

// loadSearch searches for the knee of, or sweeps, a URL or the running system.
func (c *cli) loadSearch(cmd *cobra.Command, args []string, f loadFlags) error {
	cfg := load.Config{Seed: f.seed, MaxLate: f.maxLate, Connections: f.connections}
	if err := f.target.apply(&cfg); err != nil {
		return err
	}
	dir := ""
	var err error
	if len(args) == 1 && len(c.files) == 0 {
		bare := f
		bare.rate, bare.connections = "", 0
		o, err := bare.adHoc()
		if err != nil {
			return err
		}
		if cfg.Workload, cfg.Target, err = load.AdHoc(args[0], o); err != nil {
			return wrongUse{err}
		}
	} else if dir, err = c.searchFile(cmd, args, f, &cfg); err != nil {
		return err
	}
	endExport, err := f.export.export(c, &cfg)
	if err != nil {
		return err
	}
	defer endExport()
	if f.knee.sweep != "" {
		return c.sweep(cmd.Context(), dir, cfg, f)
	}
	return c.findKnee(cmd.Context(), dir, cfg, f)
}

// searchFile fills in cfg with the workload of the file and where it goes: to the address that is given, or to the system
// that runs from the file, whose state directory it returns.
func (c *cli) searchFile(cmd *cobra.Command, args []string, f loadFlags, cfg *load.Config) (dir string, err error) {
	sys, err := c.open()
	if err != nil {
		return "", err
	}
	thinks := f.think
	f.think = "" // it is for users
	if err := f.override(cmd, sys); err != nil {
		return "", err
	}
	if len(args) == 1 {
		cfg.Target = withScheme(args[0])
	} else {
		if dir, err = c.stateDir(); err != nil {
			return "", err
		}
		info, err := control.Dial(dir).Info(cmd.Context())
		if err != nil {
			return "", err
		}
		if info.System != sys.Name {
			return "", fmt.Errorf("the system that runs here is %s, not %s", info.System, sys.Name)
		}
		cfg.Target = "http://" + info.Address
	}
	cfg.Workload, cfg.Dir, cfg.Router = sys.Workload, sys.Dir, topology.NewRouter(sys.Routes)
	if f.knee.sweep != "" {
		cfg.Workload.Think = 0
		if thinks != "" {
			if cfg.Workload.Think, err = topology.ParseDuration(thinks); err != nil {
				return "", usagef("--think: %w", err)
			}
		}
	}
	return dir, nil
}

func (c *cli) findKnee(ctx context.Context, dir string, cfg load.Config, f loadFlags) error {
	o, err := f.knee.options(f)
	if err != nil {
		return err
	}
	slo := f.knee.slo
	if slo == "" {
		for _, t := range cfg.Workload.Thresholds {
			if _, err := load.ParseSLO(t); err == nil { // lower limits, of the rate for one, are no part of it
				slo += "," + t
			}
		}
		slo = strings.TrimPrefix(slo, ",")
	}
	if slo == "" {
		return usagef("--find-knee needs --slo, such as --slo 'p99<200ms,errors<0.1%%'")
	}
	if o.SLO, err = load.ParseSLO(slo); err != nil {
		return usagef("--slo: %w", err)
	}
	o.Config = cfg
	switch {
	case f.out.progress == "json":
		o.OnProbe = func(p load.KneeProbe) { _ = json.NewEncoder(c.err).Encode(p) } // whoever reads may have gone
	case !c.json:
		o.OnProbe = func(p load.KneeProbe) { fmt.Fprintln(c.err, p) }
	}
	k, err := load.FindKnee(ctx, o)
	if err != nil {
		return err
	}
	path, err := saveSearch(dir, "knee", k.Start, k)
	if err != nil {
		return err
	}
	if c.json {
		err = writeJSON(c.out, k)
	} else if err = k.WriteText(c.out); path != "" {
		fmt.Fprintf(c.out, "\nRecord %s\n", path)
	}
	if err != nil {
		return err
	}
	if !k.Found {
		return errNo
	}
	return nil
}

func (c *cli) sweep(ctx context.Context, dir string, cfg load.Config, f loadFlags) error {
	users, err := load.ParseSweep(f.knee.sweep)
	if err != nil {
		return wrongUse{err}
	}
	var onPoint func(load.SweepPoint)
	if !c.json {
		onPoint = func(p load.SweepPoint) { fmt.Fprintf(c.err, "%d users: %s/s\n", p.Users, digits(p.Throughput)) }
	}
	s, err := load.RunSweep(ctx, cfg, users, onPoint)
	if err != nil {
		return err
	}
	path, err := saveSearch(dir, "sweep", s.Start, s)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.out, s)
	}
	if err := s.WriteText(c.out); err != nil {
		return err
	}
	if path != "" {
		fmt.Fprintf(c.out, "\nRecord %s\n", path)
	}
	return nil
}

// saveSearch keeps what was found in the state directory, apart from the records of single tests. Without a state
// directory, for a plain URL, it does nothing.
func saveSearch(dir, kind string, start time.Time, v any) (string, error) {
	if dir == "" {
		return "", nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("saving the %s: %w", kind, err)
	}
	folder := filepath.Join(dir, "searches")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("saving the %s: %w", kind, err)
	}
	path := filepath.Join(folder, start.Format("20060102T150405.000Z")+"-"+kind+".json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return "", fmt.Errorf("saving the %s: %w", kind, err)
	}
	return path, nil
}
