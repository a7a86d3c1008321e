package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startCacheProcess runs a cache as a process of its own, and returns where it is.
func startCacheProcess(t *testing.T, args ...string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self, append([]string{"cache"}, args...)...)
	cmd.Env = append(os.Environ(), playBanyan+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the cache does not come up: %v", err)
	}
	addr, _, _ = strings.Cut(strings.TrimPrefix(line, "cache on "), ",")
	return cmd, addr
}

// startCache runs a cache that stands alone, with a client of it.
func startCache(t *testing.T, args ...string) (*exec.Cmd, *redis.Client) {
	t.Helper()
	cmd, addr := startCacheProcess(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, PoolSize: 40, DialTimeout: time.Minute, ReadTimeout: time.Minute})
	t.Cleanup(func() { client.Close() })
	return cmd, client
}

// auditor writes what it can tell apart later, and remembers what was acknowledged.
type auditor struct {
	id      int
	counter int64 // last acknowledged value of its counter
	tried   int64
	pushed  int64 // entries of its list that were acknowledged
	hash    int64 // last value of its hash that was acknowledged
}

// work writes until the cache is gone.
func (a *auditor) work(ctx context.Context, client redis.UniversalClient) {
	key := strconv.Itoa(a.id)
	for {
		a.tried++
		n, err := client.Incr(ctx, "counter:"+key).Result()
		if err != nil {
			return
		}
		a.counter = n
		if n, err = client.RPush(ctx, "list:"+key, a.pushed).Result(); err != nil {
			return
		}
		a.pushed = n
		_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, "hash:"+key, "a", a.tried)
			p.HSet(ctx, "hash:"+key, "b", a.tried)
			return nil
		})
		if err != nil {
			return
		}
		a.hash = a.tried
	}
}

// check holds what is there against what was acknowledged: it may be one write further, and no more.
func (a *auditor) check(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx, key := t.Context(), strconv.Itoa(a.id)
	n, err := client.Get(ctx, "counter:"+key).Int64()
	if err != nil && err != redis.Nil || n < a.counter || n > a.counter+1 {
		t.Errorf("counter %s is %d, %d were acknowledged (%v)", key, n, a.counter, err)
	}
	list, err := client.LRange(ctx, "list:"+key, 0, -1).Result()
	if err != nil || int64(len(list)) < a.pushed || int64(len(list)) > a.pushed+1 {
		t.Errorf("list %s has %d entries, %d were acknowledged (%v)", key, len(list), a.pushed, err)
	}
	for i, v := range list {
		if v != strconv.Itoa(i) {
			t.Errorf("entry %d of list %s is %s", i, key, v)
			break
		}
	}
	h, err := client.HGetAll(ctx, "hash:"+key).Result()
	if err != nil || h["a"] != h["b"] {
		t.Errorf("half of a transaction is there: %v, %v", h, err)
	}
	if v, _ := strconv.ParseInt(h["a"], 10, 64); v < a.hash || v > a.tried {
		t.Errorf("hash %s is of round %d, %d was acknowledged", key, v, a.hash)
	}
	a.counter, a.pushed = n, int64(len(list))
	a.hash, _ = strconv.ParseInt(h["a"], 10, 64)
	a.tried = max(a.tried, a.hash)
}

// The process is killed under load again and again, also while files are written anew: nothing that was acknowledged is lost,
// whatever the policy (which is about machines that die), and nothing is there that was not asked for.
func TestCacheKilledUnderLoad(t *testing.T) {
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) {
			dir := t.TempDir()
			all := make([]*auditor, 16)
			for i := range all {
				all[i] = &auditor{id: i}
			}
			for round := range 5 {
				cmd, client := startCache(t, "--dir", dir, "--append", policy)
				for _, a := range all {
					a.check(t, client)
				}
				if t.Failed() {
					t.Fatalf("round %d", round)
				}
				want := all[0].counter // some work is done before the end
				var group sync.WaitGroup
				for _, a := range all {
					group.Go(func() { a.work(t.Context(), client) })
				}
				for reached := int64(0); reached < want+int64(20+17*round); {
					n, err := client.Get(t.Context(), "counter:0").Int64()
					if err != nil && err != redis.Nil {
						t.Fatal(err)
					}
					reached = n
					if round%2 == 1 {
						client.BgRewriteAOF(t.Context()) // one that goes on already is refused
					}
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				group.Wait()
				_ = cmd.Wait() // it was killed
			}
		})
	}
}

// All nodes of a cluster are killed under load at once, and started again: nothing that was acknowledged is lost.
func TestCacheClusterKilledUnderLoad(t *testing.T) {
	const nodes = 3
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", []byte("a secret of the tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, peers := freeAddresses(t, nodes), freeAddresses(t, nodes)
	start := func() (all []*exec.Cmd) {
		for i := range nodes {
			args := []string{"--listen", addrs[i], "--node", strconv.Itoa(i + 1), "--secret-file", dir + "/secret", "--bootstrap", "--loops", "1",
				"--dir", fmt.Sprint(dir, "/node-", i+1), "--append", "everysec"}
			for p, at := range peers {
				args = append(args, "--peer", fmt.Sprintf("%d=%s", p+1, at))
			}
			cmd, _ := startCacheProcess(t, args...)
			all = append(all, cmd)
		}
		return all
	}
	kill := func(all []*exec.Cmd) {
		for _, cmd := range all {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		for _, cmd := range all {
			_ = cmd.Wait() // it was killed
		}
	}
	all := make([]*auditor, 16)
	for i := range all {
		all[i] = &auditor{id: i}
	}
	for round := range 3 {
		cmds := start()
		// A slow answer is waited for: what is sent again would be there twice.
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8, DialTimeout: time.Minute, ReadTimeout: time.Minute})
		serves(t, client)
		for _, a := range all {
			a.check(t, client)
		}
		if t.Failed() || round == 2 {
			kill(cmds)
			client.Close()
			return
		}
		want := all[0].counter + 100 // some work is done before the end
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		ended := make(chan struct{})
		for i, a := range all {
			group.Go(func() {
				a.work(ctx, client)
				if i == 0 {
					close(ended)
				}
			})
		}
	work:
		for reached := int64(0); reached < want; {
			select {
			case <-ended: // a node that the others missed for a while answers with an error: what was acknowledged until then counts
				break work
			default:
			}
			if n, err := client.Get(t.Context(), "counter:0").Int64(); err == nil { // an error may be of such a node, too
				reached = n
			}
		}
		kill(cmds)
		stop()
		client.Close()
		group.Wait()
	}
}

// serves waits until every node of a cluster answers for its slots.
func serves(t *testing.T, client *redis.ClusterClient) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	over := time.NewTimer(2 * time.Minute)
	defer over.Stop()
	for {
		good := 0
		for _, key := range []string{"bar", "hello", "foo"} { // of each third of the slots
			if err := client.Get(t.Context(), key).Err(); err == redis.Nil {
				good++
			}
		}
		if good == 3 {
			return
		}
		select {
		case <-again.C:
		case <-over.C:
			t.Fatal("the cluster does not serve")
		}
	}
}

// A file that is damaged is refused with the way out, and one that ends torn is not.
func TestCacheFileDamaged(t *testing.T) {
	dir := t.TempDir()
	cmd, client := startCache(t, "--dir", dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 200 {
		if err := client.Set(ctx, fmt.Sprint("key", i), strings.Repeat("x", 100), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal("ended with", err)
	}
	path := dir + "/append.banyan"
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := func(data []byte, args ...string) (string, int) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		code := run(ctx, append([]string{"cache", "--listen", "127.0.0.1:0", "--dir", dir}, args...), strings.NewReader(""), cancelAtFirst{cancel}, &errs)
		return errs.String(), code
	}
	if text, code := start(whole[:len(whole)-50]); code != 0 || !strings.Contains(text, "cut off") {
		t.Errorf("a torn end: %d, %s", code, text)
	}
	whole[len(whole)/2] ^= 1
	text, code := start(whole)
	if code != 1 || !strings.Contains(text, "damaged at byte") || !strings.Contains(text, "--repair") || strings.Count(text, "\n") != 1 {
		t.Errorf("a damaged file: %d, %s", code, text)
	}
	if text, code := start(whole, "--repair"); code != 0 {
		t.Errorf("a damaged file that is repaired: %d, %s", code, text)
	}
	if aside, err := os.ReadFile(path + ".damaged"); err != nil || len(aside) != len(whole) {
		t.Errorf("what was damaged is not kept: %d bytes, %v", len(aside), err)
	}
}

// cancelAtFirst ends a program that has printed something.
type cancelAtFirst struct{ cancel context.CancelFunc }

func (c cancelAtFirst) Write(b []byte) (int, error) { c.cancel(); return len(b), nil }

// A cache of the file that is kept on disk is warm when the system is up again, and status says how surely it is kept.
func TestCacheIsWarmAfterRestart(t *testing.T) {
	text := strings.Replace(smallSystem, "uses: [back]", "uses: [back, caches.products]", 1) + "caches: {products: {persist: {append: always}}}\n"
	p := newPlace(t, text)
	for round := range 2 {
		p.must("up", "--detach")
		var s statusAnswer
		p.ask(&s, "status")
		if !strings.Contains(fmt.Sprint(s.Info.Endpoints), "kept on disk (fsync: always)") {
			t.Errorf("status does not say that the cache is kept: %q", s.Info.Endpoints)
		}
		for i := range 3 {
			resp, err := http.Get("http://" + s.Info.Address + "/count")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprint(round*3 + i + 1); string(body) != want {
				t.Fatalf("round %d: counted %s, want %s", round, body, want)
			}
		}
		p.must("down")
	}
}
