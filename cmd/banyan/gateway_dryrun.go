package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) gatewayDryRun() *cobra.Command {
	var old string
	cmd := &cobra.Command{
		Use:   "dry-run [RECORDING]",
		Short: "Say what the changed file would do to recorded requests, before it is reloaded",
		Long: `Hold the file as it is now against what runs (or against another file, with --old), request by request of a recording,
and say which would go another way: to another route, service or backend, over a limit, over a time-out. Nothing is
sent: the router, the limits and the hashes that decide for real decide here, at the times of the recording. What depends
on the state of backends is left out.

The recording is an access log in 'format: json', by default the file's own, or what 'banyan gateway --record FILE' has
written; - reads standard input. Headers that routes
match, hash or limit by must be in it ('access_log: {headers: [...]}'). Exit code 1 says that something would change.`,
		Example: `  banyan gateway dry-run && banyan reload
  banyan gateway dry-run --old before.yaml -f after.yaml access.log`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			now, err := c.open()
			if err != nil {
				return err
			}
			before, err := c.before(cmd, old)
			if err != nil {
				return err
			}
			recording, err := c.recording(now, args)
			if err != nil {
				return err
			}
			defer recording.Close()
			d, err := gateway.NewDryRun(before, now)
			if err != nil {
				return err
			}
			skipped, err := gateway.ReadRecording(recording, d.Add)
			if err != nil {
				return err
			}
			return c.printDiff(d.Diff(), skipped)
		},
	}
	cmd.Flags().StringVar(&old, "old", "", "`file` to compare with (default: what runs)")
	return cmd
}

// before is the system that the file is held against.
func (c *cli) before(cmd *cobra.Command, old string) (*topology.System, error) {
	if old != "" {
		return c.read([]string{old})
	}
	dir, err := c.gatewayState()
	if err != nil {
		return nil, err
	}
	text, err := control.Dial(dir).Topology(cmd.Context())
	if errors.Is(err, control.ErrNotRunning) {
		return nil, usagef("nothing runs that the file could be held against: name the version before with --old FILE")
	}
	if err != nil {
		return nil, err
	}
	sys, err := topology.Parse(topology.Source{Name: "what runs", Data: []byte(text)})
	if err != nil {
		return nil, fmt.Errorf("reading what runs: %w", err)
	}
	return sys, nil
}

// recording opens what was recorded.
func (c *cli) recording(sys *topology.System, args []string) (io.ReadCloser, error) {
	path := ""
	switch {
	case len(args) == 1 && args[0] == "-":
		return io.NopCloser(c.in), nil
	case len(args) == 1:
		path = args[0]
	case sys.AccessLog == nil || sys.AccessLog.File == "-":
		return nil, usagef("no recording is named, and the file has no access log in a file: %s", howToRecord)
	case sys.AccessLog.Format != "" && sys.AccessLog.Format != "json":
		return nil, usagef("the file's access log is in 'format: %s', which cannot be replayed: %s", sys.AccessLog.Format, howToRecord)
	default:
		path = sys.Path(sys.AccessLog.File)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("there is no recording %s: %s", path, howToRecord)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the recording: %w", err)
	}
	return f, nil
}

// howToRecord is what to do without a recording.
const howToRecord = "record some traffic with 'banyan gateway --record requests.json' (or 'access_log: {file: access.log}' in the file) and name that file here"

func (c *cli) printDiff(d gateway.Diff, skipped int) error {
	if c.json {
		if err := writeJSON(c.out, d); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.out, "%d requests from %s to %s: %d would go another way\n",
			d.Requests, d.From.Format("2006-01-02 15:04:05"), d.To.Format("2006-01-02 15:04:05"), d.Changed)
		for _, e := range d.Differences {
			fmt.Fprintf(c.out, "\n%d: %s\n   -> %s\n", e.Requests, e.Old, e.New)
			for _, line := range e.Examples {
				fmt.Fprintf(c.out, "      %s\n", line)
			}
		}
	}
	if skipped > 0 {
		fmt.Fprintf(c.err, "note: %d lines of the recording are no requests in JSON\n", skipped)
	}
	if d.Changed > 0 {
		return errNo
	}
	return nil
}
