//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/banyanhq/banyan/load"
)

// beBanyan is the child that is measured: load.Run in a process of its own.
func beBanyan(args []string) error {
	fl := flag.NewFlagSet("child", flag.ExitOnError)
	url := fl.String("url", "", "address")
	rate := fl.Float64("rate", 0, "requests a second; 0: as fast as it goes")
	connections := fl.Int("connections", 64, "connections, where it goes as fast as it goes")
	duration := fl.Duration("duration", 5*time.Second, "length")
	users := fl.Int("users", 0, "users who think, instead")
	think := fl.Duration("think", 0, "how long")
	warmup := fl.Duration("warmup", 0, "left out")
	_ = fl.Parse(args)
	a := load.AdHocOptions{Rate: *rate, Arrivals: "constant", Duration: *duration, Warmup: *warmup}
	switch {
	case *users > 0:
		a.Users, a.Think, a.Arrivals = *users, *think, ""
	case *rate == 0:
		a.Connections = *connections
	}
	w, target, err := load.AdHoc(*url, a)
	if err != nil {
		return err
	}
	r, err := load.Run(context.Background(), load.Config{Target: target, Workload: w})
	if err != nil {
		return err
	}
	t := r.Total
	if n := t.Failed(); n > t.Requests/1000 {
		return fmt.Errorf("%d of %d requests failed: %v", n, t.Requests, t.Errors)
	}
	return json.NewEncoder(os.Stdout).Encode(figures{
		Requests: t.Requests, P50: t.Latency.QuantileDuration(0.5), P90: t.Latency.QuantileDuration(0.9), P99: t.Latency.QuantileDuration(0.99),
		Max: time.Duration(t.Latency.Max()), Late: [2]time.Duration{t.Lateness.QuantileDuration(0.5), t.Lateness.QuantileDuration(0.99)},
	})
}
