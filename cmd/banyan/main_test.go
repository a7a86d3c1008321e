package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/orchestrate"
)

// The test's own program plays four parts, so that real processes are tested without building anything: banyan
// itself, the shims that banyan starts, the services of a small system, and a shell that runs banyan's commands.
const (
	playBanyan  = "BANYAN_TEST_PLAYS_BANYAN"
	playService = "BANYAN_TEST_SERVICE"
)

func TestMain(m *testing.M) {
	switch {
	case orchestrate.IsShim(os.Args):
		os.Exit(orchestrate.ShimMain(os.Args))
	case os.Getenv(playService) != "":
		os.Exit(serve(os.Getenv(playService)))
	case os.Getenv(playShell) != "":
		os.Exit(shell(os.Stdin, os.Stdout))
	case os.Getenv(playBanyan) != "":
		main()
	}
	// The tests that start systems wait for processes most of the time.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	// With the race detector each process would wait a second before it ends, and they are hundreds.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	// A script's background job is deaf to interrupts, and so would be what the tests start and interrupt, but for a handler here.
	if signal.Ignored(os.Interrupt) {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	os.Exit(m.Run())
}

// serve is a service of the test systems. Its kind says how it behaves.
func serve(kind string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	address := "127.0.0.1:" + os.Getenv("PORT")
	switch kind {
	case "exits":
		fmt.Fprintln(os.Stderr, "no licence found")
		return 3
	case "wrong-port":
		address = "127.0.0.1:0"
	case "never":
		<-ctx.Done()
		return 0
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {})
	if url := os.Getenv("REDIS_URL"); url != "" {
		mux.HandleFunc("GET /count", counting(url))
	}
	mux.HandleFunc("POST /work", work)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if kind == "slow" {
			time.Sleep(200 * time.Millisecond) // stands for a disk
		}
		front(w, r)
	})
	server := &http.Server{Addr: address, Handler: mux}
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = server.Shutdown(grace)
	}()
	fmt.Println("listening")
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// work takes a message that is pushed, unless it is poisonous and no cure is there yet.
func work(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if _, err := os.Stat("cured"); err != nil && strings.HasPrefix(string(body), "poison") {
		http.Error(w, "no good: "+r.Header.Get("Webhook-Id")[len("jobs-"):], http.StatusUnprocessableEntity)
	}
}

// front answers with the replica's name; the front service asks the back one first.
func front(w http.ResponseWriter, r *http.Request) {
	if back := os.Getenv("BACK_URL"); back != "" {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, back+"/", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		req.Header.Set("Traceparent", r.Header.Get("Traceparent"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	fmt.Fprintln(w, os.Getenv("BANYAN_REPLICA"))
}

// place is a folder, and the commands that are run in it.
type place struct {
	t   *testing.T
	dir string

	once  sync.Once
	shell *shellProcess // nil until the first command
}

// emptyPlace is a folder without a topology.
func emptyPlace(t *testing.T) *place {
	p := &place{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if p.shell != nil {
			p.shell.stop(t)
		}
	})
	return p
}

// newPlace is a folder with a topology.
func newPlace(t *testing.T, topology string) *place {
	t.Helper()
	p := emptyPlace(t)
	p.write(topology)
	t.Cleanup(func() {
		p.run("down")
		if left := p.processes(); len(left) > 0 {
			t.Errorf("left running: %v", left)
		}
	})
	return p
}

// write writes the topology; SELF in it stands for a command that plays a service.
func (p *place) write(topology string) {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	text := strings.ReplaceAll(topology, "SELF", self)
	if err := os.WriteFile(filepath.Join(p.dir, "banyan.yaml"), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs banyan in the place's shell and returns what it printed, and its exit code.
func (p *place) run(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	p.once.Do(func() {
		s, err := startShell(p.dir)
		if err != nil {
			p.t.Errorf("starting a process for the commands: %v", err)
			return
		}
		p.shell = s
	})
	if p.shell == nil {
		p.t.FailNow()
	}
	a := p.shell.run(p.t, args)
	return a.Stdout, a.Err, a.Code
}

// process runs banyan in a process of its own.
func (p *place) process(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), playBanyan+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatalf("banyan %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs banyan and wants exit code 0.
func (p *place) must(args ...string) string {
	p.t.Helper()
	out, errs, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("banyan %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// ask runs banyan with --json and reads the answer.
func (p *place) ask(into any, args ...string) {
	p.t.Helper()
	out := p.must(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		p.t.Fatalf("banyan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// processes are those of this place that still run: banyan's, and its services'.
func (p *place) processes() (left []string) {
	links, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, link := range links {
		data, err := os.ReadFile(link)
		if err != nil {
			continue // it has ended meanwhile
		}
		if bytes.Contains(data, []byte("BANYAN_DATA="+p.dir)) {
			pid := filepath.Base(filepath.Dir(link))
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			left = append(left, pid+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// freeAddresses are of ports that nobody has, nor will have before a process is told to listen there.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	host := loopback.Host()
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// atOwnHost is an address that a process may choose a port of, at a host of its own, if it is one of any port.
func atOwnHost(address string) string {
	if _, port, err := net.SplitHostPort(address); err == nil && port == "0" {
		return loopback.Any()
	}
	return address
}

// eventually polls what other processes do.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after two minutes", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func get(url string) (code int, body string, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}
