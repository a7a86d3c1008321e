package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
)

func (c *cli) reload() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		GroupID: "run",
		Short:   "Have the running system go by its file as it is now",
		Long: `Have the running system, or the gateway that stands alone, go by its file as it is now: routes, how calls are balanced,
retried, broken and limited, backends elsewhere, the access log (which is opened anew). It holds from one request to the
next: no connection is closed and no request fails. SIGHUP does the same. What would take the services' processes to be
started anew is refused as a whole; so is a file with a mistake.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			changed, err := client.Reload(cmd.Context())
			if err != nil {
				return fmt.Errorf("reloading %s: %w", info.System, err)
			}
			if c.json {
				return writeJSON(c.out, map[string]any{"system": info.System, "changed": append([]string{}, changed...)})
			}
			if len(changed) == 0 {
				fmt.Fprintln(c.out, "nothing changed")
			}
			for _, line := range changed {
				fmt.Fprintln(c.out, line)
			}
			return nil
		},
	}
}

// reloadOnHangUp reloads with each SIGHUP until the returned function is called.
func (c *cli) reloadOnHangUp(a *app.App) (stop func()) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-hangUp:
			}
			changed, err := a.Reload()
			if err != nil {
				fmt.Fprintf(c.err, "banyan: reloading: %v\n", err)
				continue
			}
			fmt.Fprintf(c.err, "reloaded: %d changes\n", len(changed))
		}
	}()
	return func() {
		signal.Stop(hangUp)
		close(done)
		<-ended
	}
}
