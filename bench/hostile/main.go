//go:build linux

// Command hostile attacks a gateway on the loopback interface, in a process of its own, in the ways that HTTP servers and
// proxies have been brought down by, one after another:
//
//	go run ./bench/hostile [-for 5s] [-conns 500] [-only rapid] [-max 200]
//
// While each goes on, a client that means well asks for something every few milliseconds, each time on a new connection. The
// table says what the attack did, how far the gateway's memory grew beyond what it was before, how much of the processor it
// took, and what became of the good client. With -max the gateway takes fewer connections than the attackers open: so many, half of
// them of one address; the good client comes from another. It is a bound on one attacker at loopback's speed, not on a botnet.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := error(nil)
	if len(os.Args) > 1 && os.Args[1] == "gateway" {
		err = serve(ctx, os.Args[2:])
	} else {
		err = run(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/hostile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fl := flag.NewFlagSet("hostile", flag.ContinueOnError)
	each := fl.Duration("for", 5*time.Second, "time of each attack")
	conns := fl.Int("conns", 500, "connections of an attack")
	most := fl.Int("max", 0, "connections that the gateway takes (0: as many as it likes)")
	only := fl.String("only", "", "regular expression of the attacks' names")
	if err := fl.Parse(args); err != nil {
		return err
	}
	which, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *each < time.Second || *conns < 1 || *conns > 10_000 || *most < 0 {
		return fmt.Errorf("-for %v, -conns %d, -max %d: want a second or more, 1 to 10,000, and 0 or more", *each, *conns, *most)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "attack\tdid\tof\tmemory +MiB\tCPU %\tgood\tfailed\tp50 ms\tmax ms\t")
	for _, a := range attacks {
		if !which.MatchString(a.name) || ctx.Err() != nil {
			continue
		}
		r, err := measure(ctx, a, *each, *conns, *most)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.0f\t%d\t%d\t%.1f\t%.0f\t\n", a.name, r.did, a.of, float64(r.grown)/(1<<20), 100*r.cpu.Seconds()/r.took.Seconds(),
			r.good, r.failed, ms(r.p50), ms(r.worst))
	}
	return w.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
