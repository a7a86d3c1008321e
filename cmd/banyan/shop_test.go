package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func shopFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", "shop", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestShopFilesAgree wants the shop's two files to differ in the tables alone.
func TestShopFilesAgree(t *testing.T) {
	plain, err := topology.Load(shopFile(t, "banyan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := topology.Load(shopFile(t, "tables.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tables.Tables) == 0 {
		t.Fatal("tables.yaml has no tables")
	}
	used := map[string]bool{}
	for _, s := range tables.Services {
		s.Uses = slices.DeleteFunc(s.Uses, func(name string) bool { used[name] = true; return strings.HasPrefix(name, "tables.") })
		if len(s.Uses) == 0 {
			s.Uses = nil
		}
	}
	for name := range tables.Tables {
		if !used["tables."+name] {
			t.Errorf("nobody uses the table %s", name)
		}
	}
	for _, part := range []struct {
		name          string
		plain, tables any
	}{
		{"services", plain.Services, tables.Services},
		{"routes", plain.Routes, tables.Routes},
		{"workload", plain.Workload, tables.Workload},
		{"slos", plain.SLOs, tables.SLOs},
		{"demands", plain.Demands, tables.Demands},
	} {
		a, errA := json.Marshal(part.plain)
		b, errB := json.Marshal(part.tables)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: banyan.yaml and tables.yaml say different things (%v, %v)", part.name, errA, errB)
		}
	}
}

// shop is the example on tables, as 'banyan up' runs it.
type shop struct {
	*place
	address string
	flags   []string
}

func upShop(t *testing.T) *shop {
	t.Helper()
	// What 'up' builds as well, so that there is less to do in the time that it has.
	warm := exec.CommandContext(t.Context(), "go", "build", "./web", "./catalog", "./cart", "./orders", "./payments")
	warm.Dir = filepath.Dir(shopFile(t, "tables.yaml"))
	if out, err := warm.CombinedOutput(); err != nil {
		t.Fatalf("building the shop: %v\n%s", err, out)
	}
	p := newPlace(t, "listen: 127.0.0.1:0\n")
	s := &shop{place: p, flags: []string{"-f", shopFile(t, "tables.yaml"), "-f", "banyan.yaml", "--state", filepath.Join(p.dir, "state")}}
	t.Cleanup(func() { p.run(append(s.flags, "down")...) })
	p.must(append(s.flags, "up", "--detach")...)
	s.address = s.status().Info.Address
	return s
}

func (s *shop) status() (a statusAnswer) {
	s.t.Helper()
	s.ask(&a, append(s.flags, "status")...)
	return a
}

// post sends JSON and returns the status, 0 if there was no answer.
func (s *shop) post(path, key string, body, out any) int {
	data, err := json.Marshal(body)
	if err != nil {
		return 0
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+s.address+path, bytes.NewReader(data))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if data, err = io.ReadAll(answer.Body); err != nil || json.Unmarshal(data, out) != nil {
		return 0
	}
	return answer.StatusCode
}

type shopOrder struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// buy puts one of a product in a cart of the buyer's and pays for it, until there is an answer that says what became of it.
func (s *shop) buy(key string, product int) (status int, o shopOrder) {
	cart := ""
	patience := time.Now().Add(5 * time.Minute)
	for try := 0; time.Now().Before(patience); try++ {
		cart = fmt.Sprintf("cart-%02d-of-%s", try, key) // a new one, as an answer that got lost may have filled the last
		if s.post("/api/cart/"+cart+"/items", "", map[string]int{"product_id": product, "quantity": 1}, &struct{}{}) == http.StatusCreated {
			break
		}
	}
	checkout := map[string]any{"cart": cart, "card": "4242424242424242",
		"customer": map[string]string{"name": "Ann", "email": "ann@example.org", "address": "1 Banyan Road"}}
	for patience = time.Now().Add(5 * time.Minute); time.Now().Before(patience); {
		o = shopOrder{}
		if status = s.post("/api/checkout", key, checkout, &o); status != 0 && status < 500 {
			break
		}
	}
	return status, o
}

// TestShopOnTables has fifty buyers want a limited edition of five at once, while a replica of orders is killed.
func TestShopOnTables(t *testing.T) {
	t.Parallel()
	s := upShop(t)
	status, first := s.buy("the-first-buyer-of-all", 7)
	if status != http.StatusCreated || first.Status != "confirmed" {
		t.Fatalf("%d %+v", status, first)
	}
	if code, body, err := get("http://" + s.address + "/api/orders/" + first.ID); err != nil || code != 200 || !strings.Contains(body, first.ID) {
		t.Fatalf("the order: %d %s %v", code, body, err)
	}
	before := s.status()
	const edition, buyers = 2000, 50
	var mu sync.Mutex
	sold, refused := map[string]bool{}, 0
	var wg sync.WaitGroup
	for b := range buyers {
		wg.Go(func() {
			status, o := s.buy(fmt.Sprintf("a-buyer-in-a-hurry-%02d", b), edition)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case (status == http.StatusCreated || status == http.StatusOK) && o.Status == "confirmed":
				sold[o.ID] = true
			case status == http.StatusConflict:
				refused++
			default:
				t.Errorf("a checkout: %d %+v", status, o)
			}
		})
	}
	for _, svc := range before.Replicas {
		if svc.Service == "orders" && len(svc.Replicas) > 0 {
			if err := syscall.Kill(svc.Replicas[0].PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	wg.Wait()
	if len(sold) != 5 || refused != buyers-5 {
		t.Errorf("%d of an edition of five were sold, %d checkouts refused", len(sold), refused)
	}
	for id := range sold {
		if code, body, err := get("http://" + s.address + "/api/orders/" + id); err != nil || code != 200 || !strings.Contains(body, `"status":"confirmed"`) {
			t.Errorf("an order that was acknowledged: %d %s %v", code, body, err)
		}
	}
	eventually(t, "the page says that the edition is sold", func() bool { // for which it waits 300 ms
		code, body, err := get("http://" + s.address + "/product/2000")
		return err == nil && code == 200 && strings.Contains(body, "All 5 pieces are sold")
	})
	s.must(append(s.flags, "down")...)
	if _, err := os.Stat(filepath.Join(s.dir, "state", "data", "orders", "orders.log")); err == nil {
		t.Error("orders kept a journal although it has tables")
	}
}
