// Command banyan predicts, runs, loads and measures a backend from one topology file.
//
// There is one file here for each subcommand: its flags, what it prints, its exit code. What it does lives in the
// packages below. Exit codes: 0 done, 1 the answer is no (a wrong file, a broken threshold, a failure), 2 wrong use.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/reactor"
)

func main() {
	// Replicas and the watchdog start as this very program; see package orchestrate.
	if orchestrate.IsShim(os.Args) {
		os.Exit(orchestrate.ShimMain(os.Args))
	}
	reactor.CalmMonitor()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once, whatever it waits for; the watchdog then ends the replicas. Signals that
	// come together are one: 'timeout' sends its signal to the program and to its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// sameSignal is how long after a signal another one is taken for the same.
const sameSignal = time.Second

// errNo is a negative answer that has been printed already.
var errNo = errors.New("no")

// wrongUse marks an error of the caller: exit code 2.
type wrongUse struct{ error }

func (w wrongUse) Unwrap() error { return w.error }

func usagef(format string, a ...any) error { return wrongUse{fmt.Errorf(format, a...)} }

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var wrong wrongUse
	var invalid load.Invalid
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return 1
	case errors.As(err, &wrong) || errors.As(err, &invalid):
		fmt.Fprintf(stderr, "banyan: %v\n", err)
		return 2
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "banyan: interrupted")
		return 1
	}
	fmt.Fprintf(stderr, "banyan: %v\n", err)
	return 1
}

// cli is what all subcommands share.
type cli struct {
	in       io.Reader
	out, err io.Writer
	files    []string
	state    string
	json     bool
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	c := &cli{in: stdin, out: stdout, err: stderr}
	root := &cobra.Command{
		Use:   "banyan",
		Short: "Predict, run, load and measure a backend from one topology file",
		Long: `Banyan takes one file, banyan.yaml, that says what a backend is, and predicts how it will do (plan), runs it on this
machine (up), measures it under load (load), and holds prediction against measurement (compare).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
		Args:          cobra.NoArgs,
		// So that 'banyan -f FILE logs -f' has both flags mean what they say.
		TraverseChildren: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.PersistentFlags().StringArrayVarP(&c.files, "file", "f", nil, "topology `file`; further ones are laid over the first (default banyan.yaml)")
	root.PersistentFlags().StringVar(&c.state, "state", "", "state `folder` (default .banyan beside the file)")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return wrongUse{err} })
	root.AddGroup(
		&cobra.Group{ID: "file", Title: "The file:"},
		&cobra.Group{ID: "predict", Title: "Predict and measure:"},
		&cobra.Group{ID: "run", Title: "Run:"},
	)
	root.AddCommand(
		c.check(), c.schema(), c.explain(), c.architecture(),
		c.plan(), c.queueing(), c.simulate(), c.load(), c.calibrate(), c.compare(), c.whatif(), c.forecast(), c.replay(),
		c.up(), c.ui(), c.status(), c.top(), c.bottleneck(), c.logs(), c.traces(), c.scale(), c.restart(), c.reload(), c.purge(), c.down(), c.gateway(), c.autoscale(),
		c.cache(), c.bus(), c.queue(), c.saga(), c.topic(), c.store(),
		c.observe(), c.slo(), c.alerts(), c.export(),
	)
	wrapAll(root)
	return root
}

// wrapAll makes wrong arguments of a command and of those below it wrong use.
func wrapAll(cmd *cobra.Command) {
	wrapArgs(cmd)
	for _, sub := range cmd.Commands() {
		wrapAll(sub)
	}
}

// someService wants the names of services.
func someService(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no service is named")
	}
	return nil
}

// wrapArgs makes wrong arguments wrong use.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; see '%s --help'", err, cmd.CommandPath())
		}
		return nil
	}
}
