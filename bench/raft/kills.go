package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// serveNode is a node as a process: args are its client address and the addresses of all nodes, in order.
func serveNode(id uint64, o options, args []string) error {
	peers := map[uint64]string{}
	for i, address := range args[1:] {
		peers[uint64(i+1)] = address
	}
	listener, err := net.Listen("tcp", peers[id])
	if err != nil {
		return err
	}
	n, err := openNode(id, filepath.Join(o.dir, fmt.Sprintf("node%d", id)), o.groups, listener, peers)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{key}", func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.ParseUint(r.PathValue("key"), 10, 64)
		key := benchKey(number)
		if _, err := n.host.ProposeOnce(r.Context(), []byte(r.PathValue("key")), key, command(key, key)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /leads", func(w http.ResponseWriter, r *http.Request) {
		groups, _, err := n.host.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
		for _, g := range groups {
			if g.Leads {
				fmt.Fprintf(w, "%d ", g.Group)
			}
		}
	})
	mux.HandleFunc("GET /{key}", func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.ParseUint(r.PathValue("key"), 10, 64)
		view, err := n.host.Read(r.Context(), benchKey(number), true)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer view.Close()
		_, closer, err := view.Get(benchKey(number))
		switch {
		case errors.Is(err, pebble.ErrNotFound):
			http.Error(w, "lost", http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			_ = closer.Close()
		}
	})
	return http.ListenAndServe(args[0], mux)
}

type process struct {
	cmd    *exec.Cmd
	client string
}

// processes are three nodes, each of which may be dead.
type processes struct {
	o     options
	args  []string
	nodes []*process
	http  http.Client
}

func (p *processes) start(i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := p.nodes[i]
	args := append([]string{"-node", strconv.Itoa(i + 1), "-dir", p.o.dir, "-groups", strconv.Itoa(p.o.groups), n.client}, p.args...)
	n.cmd = exec.Command(self, args...)
	n.cmd.Stderr = os.Stderr
	return n.cmd.Start()
}

func (p *processes) call(ctx context.Context, i int, method, path string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.nodes[i].client+"/"+path, nil)
	if err != nil {
		return 0, err
	}
	reply, err := p.http.Do(r)
	if err != nil {
		return 0, err
	}
	return reply.StatusCode, reply.Body.Close()
}

// leader returns the node that leads the group, -1 if none says so.
func (p *processes) leader(ctx context.Context, group int) int {
	for i := range p.nodes {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.nodes[i].client+"/leads", nil)
		if err != nil {
			continue
		}
		reply, err := p.http.Do(r)
		if err != nil {
			continue
		}
		var text [1024]byte
		n, _ := reply.Body.Read(text[:])
		_ = reply.Body.Close()
		if slices.Contains(strings.Fields(string(text[:n])), strconv.Itoa(group)) {
			return i
		}
	}
	return -1
}

// put writes until it is acknowledged by some node.
func (p *processes) put(ctx context.Context, number uint64, first int) error {
	for i := first; ; i++ {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		status, err := p.call(one, i%3, "PUT", strconv.FormatUint(number, 10))
		cancel()
		if err == nil && status == http.StatusOK {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func kills(o options) error {
	p := &processes{o: o, http: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	p.o.dir = filepath.Join(o.dir, "kills")
	for range 3 {
		client, err1 := freePort()
		peer, err2 := freePort()
		if err := errors.Join(err1, err2, os.MkdirAll(p.o.dir, 0o755)); err != nil {
			return err
		}
		p.nodes, p.args = append(p.nodes, &process{client: client}), append(p.args, peer)
	}
	defer func() {
		for _, n := range p.nodes {
			if n.cmd != nil {
				_, _ = n.cmd.Process.Kill(), n.cmd.Wait()
			}
		}
	}()
	for i := range p.nodes {
		if err := p.start(i); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var acked, next atomic.Uint64
	var mu sync.Mutex
	var numbers []uint64
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for ctx.Err() == nil {
				number := next.Add(1)
				if p.put(ctx, number, w+int(number)) == nil {
					acked.Add(1)
					mu.Lock()
					numbers = append(numbers, number)
					mu.Unlock()
				}
			}
		})
	}
	gaps, err := p.killing(ctx, o, &next)
	cancel()
	writers.Wait()
	if err != nil {
		return err
	}
	lost, err := p.audit(numbers)
	if err != nil {
		return err
	}
	slices.Sort(gaps)
	fmt.Printf("kills    %d times the leader, under load: a write to its group acknowledged after p50 %v, max %v; %d writes acknowledged, %d lost\n",
		len(gaps), quantile(gaps, 0.5).Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), len(numbers), lost)
	if lost > 0 {
		return errors.New("acknowledged writes are lost")
	}
	return nil
}

// killing kills the leader of one group again and again, and measures until that group is written to again.
func (p *processes) killing(ctx context.Context, o options, next *atomic.Uint64) (gaps []time.Duration, err error) {
	for len(gaps) < o.rounds {
		time.Sleep(time.Second + rand.N(time.Second))
		group := 1 + rand.IntN(o.groups)
		victim := p.leader(ctx, group)
		if victim < 0 {
			continue
		}
		number := next.Add(1)
		d := descriptors(o.groups)[group-1]
		for !d.Contains(benchKey(number)) {
			number = next.Add(1)
		}
		n := p.nodes[victim]
		if err := n.cmd.Process.Kill(); err != nil {
			return gaps, err
		}
		began := time.Now()
		_ = n.cmd.Wait() // it was killed
		if err := p.put(ctx, number, victim+1); err != nil {
			return gaps, err
		}
		gaps = append(gaps, time.Since(began))
		if err := p.start(victim); err != nil {
			return gaps, err
		}
	}
	return gaps, nil
}

// audit looks for every acknowledged write at a node of its choice, by a consistent read.
func (p *processes) audit(numbers []uint64) (lost int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i, number := range numbers {
		for {
			status, err := p.call(ctx, i%3, "GET", strconv.FormatUint(number, 10))
			if err == nil && status == http.StatusOK {
				break
			}
			if err == nil && status == http.StatusNotFound {
				lost++
				break
			}
			if ctx.Err() != nil {
				return lost, fmt.Errorf("audit: %w", ctx.Err())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return lost, nil
}

// freePort asks the system for a port, which other processes are told.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
