package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) up() *cobra.Command {
	var detach, verbose bool
	var lapse float64
	cmd := &cobra.Command{
		Use:     "up",
		GroupID: "run",
		Short:   "Build and run the system on this machine",
		Long: `Build the services and run the system on this machine: the gateway, each service's replicas, health checks, metrics.
Ends with Ctrl-C, SIGTERM or 'banyan down': replicas finish what is in flight first; a second Ctrl-C ends at once. With
--detach it goes on in the background, and the command returns once the system serves. 'banyan reload' has it go by the
file as it is then.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !(lapse >= 1 && lapse <= maxLapse) {
				return usagef("--lapse %v: want 1 to %d", lapse, maxLapse)
			}
			dir, err := c.stateDir()
			if err != nil {
				return err
			}
			if detach {
				if _, err := c.open(); err != nil { // say what is wrong with the file here, not in a log
					return err
				}
				args := []string{"up"}
				if verbose {
					args = append(args, "-v")
				}
				if lapse != 1 {
					args = append(args, "--lapse", strconv.FormatFloat(lapse, 'g', -1, 64))
				}
				return c.detached(cmd.Context(), dir, args)
			}
			return c.upHere(cmd.Context(), dir, verbose, lapse)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return once the system serves; it goes on in the background")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log every event")
	cmd.Flags().Float64Var(&lapse, "lapse", 1, "`times` faster that time passes for the autoscaler, to rehearse traffic that is played so much faster")
	return cmd
}

// maxLapse leaves Kubernetes' 15 s four looks at least.
const maxLapse = 150

// upHere runs the system in this process.
func (c *cli) upHere(ctx context.Context, dir string, verbose bool, lapse float64) error {
	sys, err := c.open()
	if err != nil {
		return err
	}
	if err := alreadyUp(ctx, control.Dial(dir)); err != nil {
		return err
	}
	files, err := c.absolute()
	if err != nil {
		return err
	}
	return c.serve(ctx, app.Config{
		System: sys, Files: files, Dir: dir, Log: c.logger(verbose), Lapse: lapse, Load: func() (*topology.System, error) { return topology.Load(files...) },
	})
}

// logger writes to standard error.
func (c *cli) logger(verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
}

// serve runs a system in this process until ctx ends or it is told to stop.
func (c *cli) serve(ctx context.Context, cfg app.Config) error {
	cfg.Version = version()
	cfg.Progress = func(line string) {
		if !c.json {
			fmt.Fprintln(c.out, line)
		}
	}
	cfg.Serving = func(i control.Info) {
		if c.json {
			_ = writeJSON(c.out, i) // a closed standard output ends nothing
			return
		}
		c.printServing(i)
		c.printPage(control.Dial(cfg.Dir), i)
	}
	cfg.Page = c.page(cfg.Files)
	a, err := app.New(cfg)
	if err != nil {
		return err
	}
	defer c.reloadOnHangUp(a)()
	quiet := context.AfterFunc(ctx, func() {
		fmt.Fprintln(c.err, "stopping: what is in flight is finished first; Ctrl-C again ends at once")
	})
	defer quiet()
	if err := a.Run(ctx); err != nil {
		return err
	}
	if !c.json {
		fmt.Fprintf(c.out, "%s is down\n", cfg.System.Name)
	}
	return nil
}

// printServing says where everything is.
func (c *cli) printServing(i control.Info) {
	fmt.Fprintf(c.out, "%s serves on http://%s (metrics: %s)\n", i.System, i.Address, i.Metrics)
	if i.Monitor != "" {
		fmt.Fprintf(c.out, "Prometheus's API, for Grafana, on %s\n", i.Monitor)
	}
	for _, e := range i.Endpoints {
		fmt.Fprintln(c.out, e)
	}
}

// logFile is where a detached system's own output goes, in the state directory.
const logFile = "banyan.log"

// detached starts this program again with the given arguments, in a session of its own, and waits until the system serves
// or has given up.
func (c *cli) detached(ctx context.Context, dir string, args []string) error {
	client := control.Dial(dir)
	if err := alreadyUp(ctx, client); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	path := filepath.Join(dir, logFile)
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	args = append(args, "--state", dir)
	for _, f := range c.files {
		args = append(args, "-f", f)
	}
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }() // ends with the child, or with this process
	return c.waitServing(ctx, client, child, exited, path)
}

// waitServing waits until the child serves, shows what it prints meanwhile, and says why if it ended instead. When the
// wait is broken off the child is stopped: it has not been promised to anybody.
func (c *cli) waitServing(ctx context.Context, client *control.Client, child *exec.Cmd, exited <-chan error, path string) error {
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			return lastError(path, err)
		case <-ctx.Done():
			// It may have ended already: nothing is lost then.
			_ = child.Process.Signal(syscall.SIGTERM)
			<-exited
			return errors.New("interrupted while starting; nothing was left running")
		case <-tick.C:
		}
		i, err := client.Info(ctx)
		if err != nil || i.PID != child.Process.Pid || i.State != control.Serving {
			continue
		}
		if c.json {
			return writeJSON(c.out, i)
		}
		c.printServing(i)
		c.printPage(client, i)
		fmt.Fprintf(c.out, "pid %d, log %s\n", i.PID, path)
		return nil
	}
}

// lastError is what the program said as it ended with exit: its last lines from "banyan:" on.
func lastError(path string, exit error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("it ended (%v) without a word; its log is gone too: %w", exit, err)
	}
	defer f.Close()
	const tail = 16 << 10
	if end, err := f.Seek(0, io.SeekEnd); err == nil && end > tail {
		_, _ = f.Seek(-tail, io.SeekEnd) // at worst all of it is read
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(f, tail))
	s := strings.TrimSpace(string(text))
	if i := strings.LastIndex(s, "banyan: "); i >= 0 {
		return errors.New(s[i+len("banyan: "):])
	}
	if s == "" {
		return fmt.Errorf("it ended (%v), and its log %s is empty, as on a full disk; 'banyan up' shows what it says", exit, path)
	}
	return errors.New(s)
}
