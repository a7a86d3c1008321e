package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/banyanhq/banyan/app/control"
)

// running returns a client for the system that runs, and what it says of itself. Two files in one folder share a state
// directory: a command that names the one never touches the system of the other. A file that cannot be read now hinders
// nobody, since a system must be stopped even after its file was spoiled.
func (c *cli) running(ctx context.Context) (*control.Client, control.Info, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, control.Info{}, err
	}
	client := control.Dial(dir)
	info, err := client.Info(ctx)
	if err != nil {
		return nil, control.Info{}, err
	}
	if c.state == "" {
		if sys, err := c.open(); err == nil && sys.Name != info.System {
			return nil, control.Info{}, fmt.Errorf("the system that runs here is %s, not %s", info.System, sys.Name)
		}
	}
	return client, info, nil
}

// alreadyUp returns an error if a system runs in the state directory.
func alreadyUp(ctx context.Context, client *control.Client) error {
	i, err := client.Info(ctx)
	if err != nil {
		return nil
	}
	hint := ""
	if file := changed(i); file != "" {
		hint = fmt.Sprintf("; %s was changed since: 'banyan reload' has it go by that, or 'banyan down' first", file)
	}
	return fmt.Errorf("%s is already up (pid %d) on http://%s%s", i.System, i.PID, i.Address, hint)
}

// changed names the first file of the topology that was written after the system read it; empty if none was.
func changed(i control.Info) string {
	for _, path := range i.Files {
		if s, err := os.Stat(path); err == nil && s.ModTime().After(i.Loaded) {
			return filepath.Base(path)
		}
	}
	return ""
}

// noteChanged says that the system does not run what its file says now.
func (c *cli) noteChanged(i control.Info) {
	if file := changed(i); file != "" {
		fmt.Fprintf(c.err, "note: %s was changed since it was read; 'banyan reload' applies it\n", file)
	}
}
