// Command saga buys in the example shop, whose checkout is a saga, while the whole system is killed with SIGKILL again and
// again, and then counts: each checkout must be an order that is confirmed and paid, or nothing at all, and the stock must
// be short of what was sold, no more and no less.
//
//	go run ./bench/saga -checkouts 1000 -kills 12
//
// It builds banyan and the shop from the working folder, and needs nothing else. A fifth of the cards are declined.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	checkouts := flag.Int("checkouts", 1000, "how many are bought")
	kills := flag.Int("kills", 12, "how often the system is killed, at least")
	buyers := flag.Int("buyers", 8, "who buy at once")
	every := flag.Duration("every", 2*time.Second, "longest time from being ready to a kill")
	flag.Parse()
	if err := run(ctx, *checkouts, *kills, *buyers, *every); err != nil {
		fmt.Fprintln(os.Stderr, "saga:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	dir, address string
	done         atomic.Int64
	started      time.Time
}

func run(ctx context.Context, checkouts, kills, buyers int, every time.Duration) error {
	dir, err := os.MkdirTemp("", "saga-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, started: time.Now()}
	if err := b.build(ctx); err != nil {
		return err
	}
	if b.address, err = freeAddress(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "listen.yaml"), []byte("listen: "+b.address+"\n"), 0o600); err != nil {
		return err
	}
	var buying sync.WaitGroup
	bought := make([]outcome, checkouts)
	next := atomic.Int64{}
	for range buyers {
		buying.Go(func() {
			for i := int(next.Add(1)) - 1; i < checkouts && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				bought[i] = b.buy(ctx, i)
				b.done.Add(1)
			}
		})
	}
	all := make(chan struct{})
	go func() { buying.Wait(); close(all) }()
	killed, err := b.keepKilling(ctx, kills, every, all)
	if err != nil {
		return err
	}
	fmt.Printf("%d checkouts in %s, the system was killed %d times\n", checkouts, time.Since(b.started).Round(time.Second), killed)
	return b.audit(ctx, bought)
}

func (b *bench) build(ctx context.Context) error {
	for _, what := range []string{"./cmd/banyan", "./examples/shop/orders", "./examples/shop/payments"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.dir+"/", what)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", what, err)
		}
	}
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// keepKilling has the system run, and kills it, until all is bought and it was killed often enough. The last one that runs
// is left to end what is under way, and then ended.
func (b *bench) keepKilling(ctx context.Context, kills int, every time.Duration, all <-chan struct{}) (killed int, err error) {
	for {
		log := &bytes.Buffer{}
		cmd := exec.Command(filepath.Join(b.dir, "banyan"), "up", "-f", "examples/shop/banyan.yaml", "-f", "examples/shop/saga.yaml",
			"-f", filepath.Join(b.dir, "listen.yaml"), "--state", filepath.Join(b.dir, "state"))
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return killed, err
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		if err := b.ready(ctx, exited); err != nil {
			_ = cmd.Process.Kill()
			return killed, fmt.Errorf("%w: %s", err, log)
		}
		wait := time.NewTimer(time.Duration(rand.Int64N(int64(every))))
		select {
		case <-wait.C:
		case <-all:
			if killed >= kills {
				err := b.settle(ctx)
				_ = cmd.Process.Signal(os.Interrupt)
				<-exited
				return killed, err
			}
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-exited
			return killed, ctx.Err()
		}
		wait.Stop()
		_ = cmd.Process.Kill()
		<-exited
		killed++
		fmt.Printf("kill %d after %d checkouts\n", killed, b.done.Load())
	}
}

// ready waits until the shop answers.
func (b *bench) ready(ctx context.Context, exited <-chan error) error {
	for tick := time.Tick(20 * time.Millisecond); ; {
		if answer, err := http.Get("http://" + b.address + "/"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick:
		case err := <-exited:
			return fmt.Errorf("the system ended by itself: %v", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until no run is under way.
func (b *bench) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for tick := time.Tick(100 * time.Millisecond); ; {
		out, err := exec.CommandContext(ctx, filepath.Join(b.dir, "banyan"), "--json", "--state", filepath.Join(b.dir, "state"), "saga", "list").Output()
		var sagas []struct {
			Runs map[string]int `json:"runs"`
		}
		if err == nil && json.Unmarshal(out, &sagas) == nil && len(sagas) == 1 {
			runs := sagas[0].Runs
			if runs["running"]+runs["compensating"] == 0 {
				fmt.Printf("runs: %v\n", runs)
				return nil
			}
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return errors.New("runs are still under way after two minutes")
		}
	}
}

// outcome of a checkout, as its buyer knows it.
type outcome struct {
	key, order string
	product    int
	cents      int64
	declined   bool
}

func keyOf(i int) string { return fmt.Sprintf("bench-checkout-%08d", i) }

// buy fills a cart and buys it, with one key, until there is an answer.
func (b *bench) buy(ctx context.Context, i int) outcome {
	o := outcome{key: keyOf(i), product: 1 + i%50}
	card := "4242424242424242"
	if i%5 == 4 {
		card = "4000000000000002"
	}
	var c struct {
		Cart string `json:"cart"`
	}
	cart := fmt.Sprintf("bench-cart-%012d", i)
	b.until(ctx, func() bool {
		return b.post(ctx, "/api/cart/"+cart+"/items", "", map[string]int{"product_id": o.product, "quantity": 1}, &c) == http.StatusCreated
	})
	b.until(ctx, func() bool {
		var answer struct {
			ID    string `json:"id"`
			Total int64  `json:"total_cents"`
		}
		status := b.post(ctx, "/api/checkout", o.key, map[string]any{"cart": c.Cart, "card": card,
			"customer": map[string]string{"name": "Ann", "email": "ann@example.org", "address": "1 Banyan Road"}}, &answer)
		o.order, o.cents, o.declined = answer.ID, answer.Total, status == http.StatusPaymentRequired
		return status == http.StatusCreated || status == http.StatusOK || o.declined
	})
	return o
}

func (b *bench) until(ctx context.Context, ok func() bool) {
	for tick := time.Tick(20 * time.Millisecond); !ok() && ctx.Err() == nil; {
		<-tick
	}
}

// post returns the status, 0 where there was no answer.
func (b *bench) post(ctx context.Context, path, key string, body, into any) int {
	text, err := json.Marshal(body)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.address+path, bytes.NewReader(text))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return answered(r, into)
}

func answered(r *http.Request, into any) int {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil || answer.StatusCode/100 == 2 && json.Unmarshal(text, into) != nil {
		return 0
	}
	return answer.StatusCode
}
