package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	addresses "github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/topology"
)

// TestMain turns the test's own program into a backend where asked to, so that a real process can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("GATEWAY_TEST_BACKEND") == "" {
		os.Exit(runOnBothTiers(m))
	}
	l, err := net.Listen("tcp", addresses.Any()) // where nobody answers in its place once it is killed
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() { // the end of standard input is the end of the test
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	fmt.Println(http.Serve(l, http.HandlerFunc(page)))
}

// process starts a backend of its own process.
func process(t *testing.T) (address string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GATEWAY_TEST_BACKEND=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()
		_ = in.Close()
	}
	t.Cleanup(kill)
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address), kill
}

// Under kill -9 of one of two replicas no client sees a failed GET or PUT, though nobody tells the gateway.
func TestKilledProcessFailsNoGet(t *testing.T) {
	s := eachInbound(shop(), func(in *topology.Inbound) { in.Retry.MinPerSecond = 100 })
	r := start(t, Config{System: s}, func(g *Gateway) { g.holdDocument = time.Minute })
	requests := func() int64 { return r.Stats().Routes[0].Requests }
	keep, _ := process(t)
	r.ready("web", keep)
	stop := r.load("GET", "PUT")
	for range 3 {
		address, kill := process(t)
		id := r.ready("web", address)
		before := requests()
		until(t, "served by both", func() bool { return requests() > before+40 })
		kill()
		before = requests()
		until(t, "served by one", func() bool { return requests() > before+40 })
		r.Remove("web", id)
	}
	n := stop()
	t.Logf("%d requests, %d retries", n, r.Stats().Routes[0].Retries)
}
