package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// shop is a system that 'banyan up' runs.
type shop struct {
	binary, state string
	files         []string
	pid           int
	address       string // of the gateway
	page          string
}

// up starts the system of some files.
func (b *bench) up(ctx context.Context, state string, files ...string) (*shop, error) {
	s := &shop{binary: b.binary, state: state, files: files}
	if _, err := s.banyan(ctx, "up", "--detach"); err != nil {
		return nil, err
	}
	out, err := s.banyan(ctx, "status", "--json")
	if err != nil {
		s.down()
		return nil, err
	}
	var said struct {
		Info struct {
			PID           int
			Address, Page string
		}
	}
	if err := json.Unmarshal(out, &said); err != nil {
		s.down()
		return nil, fmt.Errorf("reading the status: %w", err)
	}
	s.pid, s.address, s.page = said.Info.PID, "http://"+said.Info.Address+"/", said.Info.Page
	return s, nil
}

func (s *shop) banyan(ctx context.Context, args ...string) ([]byte, error) {
	all := []string{"--state", s.state}
	for _, f := range s.files {
		all = append(all, "-f", f)
	}
	cmd := exec.CommandContext(ctx, s.binary, append(all, args...)...)
	// A system that is being started is ended by the command that starts it, if that is asked to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("banyan %s: %w: %s", args[0], err, said.Bytes())
	}
	return out, nil
}

// down ends the system, also when the run was broken off.
func (s *shop) down() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := s.banyan(ctx, "down"); err != nil {
		fmt.Fprintln(os.Stderr, "bench/observe:", err)
	}
}
