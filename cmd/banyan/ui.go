package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/ui"
)

func (c *cli) ui() *cobra.Command {
	var open bool
	cmd := &cobra.Command{
		Use:     "ui",
		GroupID: "run",
		Short:   "Print the address of the running system's page, or open it",
		Long: `Print the address of the page of the running system: the live map, each service with what is expected beside what is
measured, plan and what-if, load tests, SLOs, the time-line. The address ends in the token that changes take; only
programs of this machine are answered.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, info, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			if info.Page == "" {
				return errors.New("the system that runs has no page: it was started by an older version")
			}
			address, err := pageWithToken(client, info)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, map[string]string{"page": address})
			}
			fmt.Fprintln(c.out, address)
			if !open {
				return nil
			}
			return openPage(address)
		},
	}
	cmd.Flags().BoolVar(&open, "open", false, "open it in the browser")
	return cmd
}

// pageWithToken is the address of the page, with the token in its fragment, which browsers keep to themselves.
func pageWithToken(client *control.Client, info control.Info) (string, error) {
	token, err := ui.ReadToken(client.Dir())
	if err != nil {
		return "", err
	}
	return info.Page + "#token=" + token, nil
}

// openPage asks the desktop to show an address, and does not wait for the browser.
func openPage(address string) error {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("opening the page: there is no %s here; put the address into a browser", name)
	}
	cmd := exec.Command(path, address)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("opening the page: %w", err)
	}
	return cmd.Process.Release()
}

// printPage says where the page is. What is not a terminal may be a log that others read: the token is left out there.
func (c *cli) printPage(client *control.Client, info control.Info) {
	if info.Page == "" {
		return
	}
	address := info.Page
	if terminal(c.out) {
		if full, err := pageWithToken(client, info); err == nil {
			address = full
		}
	}
	fmt.Fprintf(c.out, "page on %s\n", address)
}
