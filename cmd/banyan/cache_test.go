package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// counting is a handler that counts its requests in a cache.
func counting(url string) http.HandlerFunc {
	options, err := redis.ParseURL(url)
	if err != nil {
		return func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	// A slow answer is waited for: what is sent again would be counted twice.
	options.DialTimeout, options.ReadTimeout, options.MaxRetries = time.Minute, time.Minute, -1
	client := redis.NewClient(options)
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := client.Incr(r.Context(), "requests").Result()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, n)
	}
}

// Replicas of a service share the cache that it uses, through an ordinary client; status says where that is, and the
// metrics what it has counted.
func TestServicesShareACache(t *testing.T) {
	t.Parallel()
	text := strings.Replace(smallSystem, "uses: [back]", "uses: [back, caches.products]", 1) + "caches: {products: {memory: 2MiB, ttl: 1h}}\n"
	p := newPlace(t, text)
	p.must("up", "--detach")
	var s statusAnswer
	p.ask(&s, "status")
	for i := range 10 {
		resp, err := http.Get("http://" + s.Info.Address + "/count")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != fmt.Sprint(i+1) {
			t.Fatalf("request %d is answered %d %s", i+1, resp.StatusCode, body)
		}
	}
	url := ""
	for _, e := range s.Info.Endpoints {
		if rest, ok := strings.CutPrefix(e, "cache products on "); ok {
			url = rest
		}
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("status tells of no cache: %q", s.Info.Endpoints)
	}
	options.DialTimeout, options.ReadTimeout = time.Minute, time.Minute
	client := redis.NewClient(options)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if left, err := client.TTL(ctx, "requests").Result(); err != nil || left <= 0 || left > time.Hour {
		t.Errorf("a key without an expiry of its own has %v left, %v", left, err)
	}
	if m, err := client.ConfigGet(ctx, "maxmemory").Result(); err != nil || m["maxmemory"] != "2097152" {
		t.Errorf("the budget is %v, %v", m, err)
	}
	resp, err := http.Get(s.Info.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if page, _ := io.ReadAll(resp.Body); !strings.Contains(string(page), `banyan_cache_server_keys{cache="products",system="small"} 1`) {
		t.Errorf("the metrics do not count the key:\n%s", page)
	}
}

// variable is what the replica of a service that uses caches finds in its environment.
func (p *place) variable(s statusAnswer, name string) string {
	p.t.Helper()
	for _, service := range s.Replicas {
		for _, r := range service.Replicas {
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.PID))
			if err != nil {
				p.t.Fatal(err)
			}
			for v := range strings.SplitSeq(string(env), "\x00") {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
		}
	}
	p.t.Fatalf("no service finds %s in its environment", name)
	return ""
}

// A cache of the file with several nodes is a cluster that services reach by one URL or by all, and status shows its nodes.
func TestServicesShareAClusteredCache(t *testing.T) {
	t.Parallel()
	text := strings.Replace(smallSystem, "uses: [back]", "uses: [back, caches.products]", 1) + "caches: {products: {memory: 6MiB, nodes: 6, replicas: 1}}\n"
	p := newPlace(t, text)
	p.must("up", "--detach")
	var s statusAnswer
	p.ask(&s, "status")
	if len(s.Stores) != 1 || len(s.Stores[0].Nodes) != 6 || !strings.Contains(fmt.Sprint(s.Info.Endpoints), ", a cluster of 6 nodes with 3 of them as replicas") {
		t.Fatalf("status: %+v, %q", s.Stores, s.Info.Endpoints)
	}
	var addresses []string
	for i, n := range s.Stores[0].Nodes {
		if n.State != "ok" || (n.Of == 0) != (i < 3) || n.Limit != 2<<20 || n.Of == 0 && n.Slots < 5461 {
			t.Errorf("node %d: %+v", i+1, n)
		}
		addresses = append(addresses, n.Address)
	}
	// The service's own client knows nothing of clusters: one that does finds all nodes by the addresses that it is given.
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(p.variable(s, "PRODUCTS_REDIS_NODES"), ","), DialTimeout: time.Minute, ReadTimeout: time.Minute})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := range 100 {
		if err := client.Set(ctx, fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.variable(s, "PRODUCTS_REDIS_NODES"); got != strings.Join(addresses, ",") {
		t.Errorf("the service is told of %s", got)
	}
	if got := p.variable(s, "REDIS_URL"); got != "redis://"+addresses[0] {
		t.Errorf("the service is told of %s", got)
	}
	p.ask(&s, "status")
	if s.Stores[0].Keys != 100 {
		t.Errorf("there are %d keys", s.Stores[0].Keys)
	}
	for _, verb := range []string{"status", "top"} {
		if out := p.must(verb); !strings.Contains(out, "replica of 3") {
			t.Errorf("%s does not show the nodes:\n%s", verb, out)
		}
	}
	p.must("cache", "hot", "products")
}

// The cache that stands alone takes its budget from the file or from flags, and says what is wrong with them.
func TestCacheAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "banyan.yaml")
	if err := os.WriteFile(file, []byte(smallSystem+"caches: {products: {memory: 2MiB, ttl: 1m}, spread: {nodes: 3}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"cache", "--memory", "lots"}, "--memory"},
		{[]string{"cache", "--policy", "best"}, "maxmemory-policy"},
		{[]string{"cache", "--listen", "nowhere"}, "listen"},
		{[]string{"-f", file, "cache"}, "name the one"},
		{[]string{"-f", file, "cache", "pages"}, `no cache "pages"`},
		{[]string{"-f", file, "cache", "spread"}, "'banyan up' runs"},
		{[]string{"-f", file, "cache", "products", "--node", "1", "--peer", "1=127.0.0.1:1", "--peer", "2=127.0.0.1:2"}, "--peer names 2"},
	} {
		var errs strings.Builder
		if code := run(t.Context(), c.args, strings.NewReader(""), io.Discard, &errs); code != 2 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v: %d %s", c.args, code, errs.String())
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"-f", file, "cache", "products", "--listen", "127.0.0.1:0"}, strings.NewReader(""), write, io.Discard)
	}()
	var addr string
	if _, err := fmt.Fscanf(read, "cache on %s", &addr); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, read)
	addr = strings.TrimSuffix(addr, ",")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Minute, ReadTimeout: time.Minute})
	if m, err := client.ConfigGet(ctx, "maxmemory*").Result(); err != nil || m["maxmemory"] != "2097152" || m["maxmemory-policy"] != "allkeys-lfu" {
		t.Errorf("the budget is %v, %v", m, err)
	}
	client.Close()
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("it ended with %d", code)
	}
}
