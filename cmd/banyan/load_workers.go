package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
)

// secretVariable holds the secret of load workers where no file is given.
const secretVariable = "BANYAN_LOAD_SECRET"

// maxSecret bounds the secret's file.
const maxSecret = 64 << 10

// workerFlags are the flags of 'banyan load' about generators in several processes.
type workerFlags struct {
	worker     string
	workers    []string
	secretFile string
}

func (f *workerFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.worker, "worker", "", "wait at this `address` for parts of load tests; ':7070' is one of this machine alone")
	fl.StringSliceVar(&f.workers, "workers", nil, "have the load sent by the workers at these `addresses`, in equal parts")
	fl.StringVar(&f.secretFile, "secret-file", "", "`file` with the secret that workers and their coordinator share (default $"+secretVariable+")")
}

// apply gives cfg the workers that were asked for.
func (f *workerFlags) apply(cfg *load.Config) error {
	if len(f.workers) == 0 {
		if f.secretFile != "" {
			return usagef("--secret-file is for --worker and --workers")
		}
		return nil
	}
	for i, w := range f.workers {
		w = strings.TrimSpace(w)
		if strings.HasPrefix(w, ":") {
			w = "127.0.0.1" + w
		}
		if _, _, err := net.SplitHostPort(w); err != nil {
			return usagef("--workers: %q: want HOST:PORT", f.workers[i])
		}
		cfg.Workers = append(cfg.Workers, w)
	}
	var err error
	cfg.Secret, err = f.secret()
	return err
}

// secret reads the shared secret; a line break at its end is no part of it.
func (f *workerFlags) secret() ([]byte, error) {
	data := []byte(os.Getenv(secretVariable))
	if f.secretFile != "" {
		file, err := os.Open(f.secretFile)
		if err != nil {
			return nil, fmt.Errorf("reading the secret: %w", err)
		}
		defer file.Close()
		if data, err = io.ReadAll(io.LimitReader(file, maxSecret)); err != nil {
			return nil, fmt.Errorf("reading the secret: %w", err)
		}
	}
	if data = bytes.TrimRight(data, "\r\n"); len(data) == 0 {
		return nil, usagef("workers and their coordinator share a secret: give --secret-file or set %s", secretVariable)
	}
	return data, nil
}

// loadWorker waits for parts of load tests until it is interrupted.
func (c *cli) loadWorker(cmd *cobra.Command, args []string, f *workerFlags) error {
	for _, name := range []string{"workers", "rate", "users", "duration", "trace", "threshold"} {
		if cmd.Flags().Changed(name) {
			return usagef("--worker and --%s exclude each other: the coordinator says what is sent", name)
		}
	}
	if len(args) > 0 {
		return usagef("a worker is told by the coordinator what to load")
	}
	secret, err := f.secret()
	if err != nil {
		return err
	}
	w, err := load.NewWorker(secret)
	if err != nil {
		return err
	}
	address := f.worker
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	var listen net.ListenConfig
	l, err := listen.Listen(context.WithoutCancel(cmd.Context()), "tcp", address)
	if err != nil {
		return fmt.Errorf("the worker's address: %w", err)
	}
	fmt.Fprintf(c.out, "waiting for work at %s\n", l.Addr())
	return w.Run(cmd.Context(), l)
}
