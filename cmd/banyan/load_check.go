package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// check refuses, before anything is sent, flags that would not do what they say: a zero that would be taken for "not
// given", an option that means nothing to the test that is asked for, and a file that cannot be written at its end.
func (f *loadFlags) check(cmd *cobra.Command, args []string, file bool) error {
	if err := f.checkZeros(cmd); err != nil {
		return err
	}
	if err := f.out.check(); err != nil {
		return err
	}
	if len(args) == 1 && !file {
		return f.checkURL(cmd, args[0])
	}
	return nil
}

// given returns the first of the flags that was given, empty if none was.
func given(cmd *cobra.Command, names ...string) string {
	for _, name := range names {
		if fl := cmd.Flags().Lookup(name); fl != nil && fl.Changed {
			return name
		}
	}
	return ""
}

// checkZeros refuses flags that were given as 0.
func (f *loadFlags) checkZeros(cmd *cobra.Command) error {
	for flag, n := range map[string]int{
		"users": f.users, "connections": f.connections, "streams": f.target.streams, "messages": f.target.messages,
		"length-bytes": f.target.length, "max-probes": f.knee.maxProbes,
	} {
		if given(cmd, flag) != "" && n <= 0 {
			return usagef("--%s %d: must be above 0", flag, n)
		}
	}
	if given(cmd, "max-late") != "" && f.maxLate < 0 {
		return usagef("--max-late %s: must not be negative", f.maxLate)
	}
	for flag, text := range map[string]string{"rate": f.rate, "max-rate": f.knee.maxRate} {
		if v, err := topology.ParseRate(text); err == nil && v <= 0 && given(cmd, flag) != "" {
			return usagef("--%s %s: must be above 0", flag, text)
		}
	}
	for flag, text := range map[string]string{"duration": f.duration, "timeout": f.timeout} {
		if v, err := topology.ParseDuration(text); err == nil && v <= 0 && given(cmd, flag) != "" {
			return usagef("--%s %s: must be above 0", flag, text)
		}
	}
	return nil
}

// checkURL refuses what means nothing to a test of the address.
func (f *loadFlags) checkURL(cmd *cobra.Command, address string) error {
	if name := given(cmd, "speed", "scale", "from", "length"); name != "" {
		return usagef("--%s is of a trace, which a topology file names", name)
	}
	scheme, secure, streams := load.SchemeOf(address)
	if name := given(cmd, "ca", "insecure"); name != "" && !secure {
		return usagef("--%s is about TLS, which %s:// does not use", name, scheme)
	}
	if name := given(cmd, "streams"); name != "" && !streams {
		return usagef("--%s is for h2://, h2c://, grpc://, grpcs://", name)
	}
	if f.knee.find || f.knee.sweep != "" {
		return nil // which looks at the kind of load by itself
	}
	if f.rate == "" && f.target.stages == "" {
		if f.target.thinkTimes != "" && f.think == "" {
			return usagef("--think-times is the distribution of --think: give it too")
		}
		return f.checkKind(cmd, &topology.Workload{Users: 1})
	}
	if name := given(cmd, "think", "think-times"); name != "" {
		return usagef("--%s is of --users and --connections: an open load starts requests by its schedule", name)
	}
	return nil
}

// checkKind refuses what is about a schedule where there is none.
func (f *loadFlags) checkKind(cmd *cobra.Command, w *topology.Workload) error {
	if name := given(cmd, "arrivals", "catch-up", "max-late"); name != "" && w.Users > 0 {
		return usagef("--%s is of an open load: give --rate or --stages", name)
	}
	return nil
}

// check makes sure that the reports can be written: a test must not be run for nothing.
func (f *reportFlags) check() error {
	var errs []error
	for _, x := range []struct{ flag, path string }{{"html", f.html}, {"hdr", f.hdr}, {"prometheus", f.prometheus}} {
		if x.path == "" {
			continue
		}
		if err := writable(x.path); err != nil {
			errs = append(errs, usagef("--%s %s: %w", x.flag, x.path, err))
		}
	}
	return errors.Join(errs...)
}

// writable reports why a file cannot be written or replaced.
func writable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return errors.New("is a directory")
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil // a pipe, or /dev/stdout: opening it now could block
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	var failed *fs.PathError // whose path is that of a file which nobody has named
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return fmt.Errorf("cannot be written: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
