package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// start: from 'up' to the first 200 through the gateway, once built.
func start(ctx context.Context, b *bench) error {
	if _, err := b.up(ctx); err != nil { // builds
		return err
	}
	b.down()
	begin := time.Now()
	address, err := b.up(ctx)
	if err != nil {
		return err
	}
	if code, err := get(ctx, "http://"+address+"/"); err != nil || code != http.StatusOK {
		return fmt.Errorf("home page: %d, %v", code, err)
	}
	took := time.Since(begin)
	b.check("first 200 within 3 s of up, once built", took < 3*time.Second, took.Round(time.Millisecond).String())
	return nil
}

// kill: kill -9 of one of two replicas under 200 GETs a second.
func kill(ctx context.Context, b *bench) error {
	address, err := b.up(ctx)
	if err != nil {
		return err
	}
	for _, service := range []string{"web", "catalog"} {
		if _, err := b.banyan(ctx, "scale", service+"=2"); err != nil {
			return err
		}
		traffic := sendGETs(ctx, address, 200)
		time.Sleep(time.Second) // let the traffic reach its rate; nothing is decided by this
		s, err := b.status(ctx)
		if err != nil {
			return err
		}
		victim := 0
		for _, svc := range s.Replicas {
			if svc.Service == service {
				victim = svc.Replicas[0].PID
			}
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing a replica of %s: %w", service, err)
		}
		back, err := until(ctx, 10*time.Second, service+" to be back", func() bool {
			s, err := b.status(ctx)
			if err != nil {
				return false
			}
			for _, svc := range s.Replicas {
				if svc.Service != service {
					continue
				}
				for _, r := range svc.Replicas {
					if r.PID == victim {
						return false
					}
				}
				return svc.Ready == 2
			}
			return false
		})
		sent, failed, first := traffic.stop()
		if err != nil {
			return err
		}
		b.check("kill -9 of a "+service+" replica: no failed GET", failed == 0, fmt.Sprintf("%d of %d failed %s", failed, sent, first))
		b.check("kill -9 of a "+service+" replica: back within 2 s", back < 2*time.Second, back.Round(time.Millisecond).String())
	}
	return nil
}

// scale: 1 -> 4 -> 2 replicas and a rolling replacement, under load.
func scale(ctx context.Context, b *bench) error {
	address, err := b.up(ctx)
	if err != nil {
		return err
	}
	if _, err := b.banyan(ctx, "scale", "catalog=1"); err != nil {
		return err
	}
	traffic := sendGETs(ctx, address, 200)
	for _, step := range [][]string{{"scale", "catalog=4"}, {"scale", "catalog=2"}, {"restart", "catalog"}, {"restart", "web"},
		{"scale", "catalog", "--cpu", "0.5", "--memory", "128MiB"}, {"scale", "catalog", "--cpu", "0"}} {
		begin := time.Now()
		if _, err := b.banyan(ctx, step...); err != nil {
			return err
		}
		time.Sleep(time.Second) // of traffic for what the step has left behind; nothing is decided by this
		fmt.Printf("     %-50s %s\n", "banyan "+strings.Join(step, " "), (time.Since(begin) - time.Second).Round(time.Millisecond))
	}
	sent, failed, first := traffic.stop()
	b.check("scale 1 -> 4 -> 2, replace, limit: no failed request", failed == 0, fmt.Sprintf("%d of %d failed %s", failed, sent, first))
	return nil
}

// orphans: kill -9 of banyan itself while orders are placed.
func orphans(ctx context.Context, b *bench) error {
	address, err := b.up(ctx)
	if err != nil {
		return err
	}
	s, err := b.status(ctx)
	if err != nil {
		return err
	}
	var placed []string
	for i := range 30 {
		id, err := buy(ctx, address, fmt.Sprintf("spine-order-%d-%04d", os.Getpid(), i))
		if err != nil {
			return fmt.Errorf("buying: %w", err)
		}
		placed = append(placed, id)
	}
	if err := syscall.Kill(s.Info.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing banyan: %w", err)
	}
	gone, err := until(ctx, 10*time.Second, "the replicas to be gone", func() bool { return len(b.survivors()) == 0 })
	b.check("kill -9 of banyan: no orphan", err == nil, fmt.Sprintf("all gone after %s %v", gone.Round(time.Millisecond), b.survivors()))
	begin := time.Now()
	if address, err = b.up(ctx); err != nil {
		return err
	}
	if code, err := get(ctx, "http://"+address+"/"); err != nil || code != http.StatusOK {
		return fmt.Errorf("home page: %d, %v", code, err)
	}
	took := time.Since(begin)
	b.check("the next up serves within 3 s", took < 3*time.Second, took.Round(time.Millisecond).String())
	lost := 0
	for _, id := range placed {
		if code, err := get(ctx, "http://"+address+"/api/orders/"+id); err != nil || code != http.StatusOK {
			lost++
		}
	}
	b.check("no order lost", lost == 0, fmt.Sprintf("%d of %d lost", lost, len(placed)))
	return nil
}

// survivors are processes that run from the state directory's programs.
func (b *bench) survivors() (pids []string) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, filepath.Join(b.state, "bin")) {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

// buy puts one product into a cart and checks out; it returns the order's id.
func buy(ctx context.Context, address, key string) (string, error) {
	cart := "http://" + address + "/api/cart/" + key + "/items"
	if _, err := post(ctx, cart, "", map[string]any{"product_id": 1, "quantity": 1}); err != nil {
		return "", err
	}
	answer, err := post(ctx, "http://"+address+"/api/checkout", key, map[string]any{"cart": key, "card": "4242424242424242",
		"customer": map[string]any{"name": "Ada", "email": "ada@example.org", "address": "1 Banyan Road"}})
	if err != nil {
		return "", err
	}
	var order struct{ ID string }
	if err := json.Unmarshal(answer, &order); err != nil {
		return "", fmt.Errorf("reading the order %s: %w", answer, err)
	}
	return order.ID, nil
}

func post(ctx context.Context, url, key string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("POST %s: %s: %s", url, resp.Status, answer)
	}
	return answer, err
}

func get(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, err
}

// traffic is a steady stream of GETs, by a client that is not Banyan's.
type traffic struct {
	cancel       context.CancelFunc
	wg           sync.WaitGroup
	mu           sync.Mutex
	sent, failed int
	first        string
}

// sendGETs requests pages at a steady rate until stop is called, for two minutes at most.
func sendGETs(ctx context.Context, address string, perSecond int) *traffic {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t := &traffic{cancel: cancel}
	pages := []string{"/", "/search?q=lamp", "/product/1", "/api/products/2"}
	t.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				t.wg.Go(func() { t.one(ctx, "http://"+address+pages[n%len(pages)]) })
			}
		}
	})
	return t
}

func (t *traffic) one(ctx context.Context, url string) {
	// The request outlives the end of the traffic: what was begun is finished.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	code, err := get(own, url)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	if err != nil || code >= 500 || code == 404 {
		t.failed++
		if t.first == "" {
			t.first = fmt.Sprintf("(first: %d %v)", code, err)
		}
	}
}

func (t *traffic) stop() (sent, failed int, first string) {
	t.cancel()
	t.wg.Wait()
	return t.sent, t.failed, t.first
}
