// Command streams keeps WebSocket and gRPC streams open through a gateway on the loopback interface while its
// configuration is reloaded again and again, and says which of them survived.
//
//	go run ./bench/streams [-for 10m] [-reload 30s] [-websockets 50] [-calls 50] [-every 100ms]
//
// Half of each kind go over TLS. Each stream sends a message with its number, and random bytes drawn from it, every so
// often, and waits for the echo, which must be the same: so bytes that were lost, doubled or out of order are found at the
// first. Each reload changes what the streams go by: the balancing policy, the time-outs (which are shorter than the
// streams), the breaker, and a route that comes and goes. It exits with 1 if a stream ended before its time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

type options struct {
	lasting, reload, every time.Duration
	websockets, calls      int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flag.DurationVar(&o.lasting, "for", 10*time.Minute, "how long the streams last")
	flag.DurationVar(&o.reload, "reload", 30*time.Second, "time from one reload to the next")
	flag.DurationVar(&o.every, "every", 100*time.Millisecond, "time from one message of a stream to the next")
	flag.IntVar(&o.websockets, "websockets", 50, "streams by WebSocket")
	flag.IntVar(&o.calls, "calls", 50, "streams by gRPC")
	flag.Parse()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.lasting <= 0 || o.reload <= 0 || o.every <= 0 || o.websockets < 0 || o.calls < 0 || o.websockets+o.calls == 0 {
		return errors.New("times must be above 0, and there must be a stream")
	}
	r, err := newRig()
	if err != nil {
		return err
	}
	defer r.close()
	var kinds []*kind
	for _, secure := range []bool{false, true} {
		kinds = append(kinds,
			&kind{name: "WebSocket", secure: secure, n: share(o.websockets, secure), dial: r.dialWebSocket},
			&kind{name: "gRPC", secure: secure, n: share(o.calls, secure), dial: r.dialCall})
	}
	began := time.Now()
	reloads, err := drive(ctx, r, kinds, o)
	fmt.Fprintf(out, "%v, %d reloads\n%-12s %-5s %8s %9s %10s %14s %14s\n", time.Since(began).Round(time.Second), reloads,
		"streams", "TLS", "started", "survived", "messages", "bytes in order", "longest echo")
	lost := 0
	for _, k := range kinds {
		fmt.Fprintf(out, "%-12s %-5v %8d %9d %10d %14d %14v\n", k.name, k.secure, k.n, k.survived.Load(), k.messages.Load(), k.bytes.Load(), time.Duration(k.longest.Load()).Round(time.Microsecond))
		for _, e := range k.errors {
			fmt.Fprintf(out, "  %v\n", e)
		}
		lost += k.n - int(k.survived.Load())
	}
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d streams ended before their time", lost)
	}
	return err
}

// share is how many of n streams are of one of two kinds.
func share(n int, second bool) int {
	if second {
		return n / 2
	}
	return n - n/2
}
