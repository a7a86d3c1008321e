//go:build linux && (amd64 || arm64)

package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Loops and goroutines send the same: the same arrivals, scenarios and values, and nothing is lost where a run is divided
// but what is due so near to the end that a slow machine comes to it too late, and says so.
func TestLoopsSendTheSame(t *testing.T) {
	t.Parallel()
	paths := func(goroutines bool, lanes int) (sent map[string]int, notStarted int64) {
		got := make(chan string, 10_000)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got <- r.URL.String()
			io.WriteString(w, "ok")
		}))
		defer srv.Close()
		w := getWorkload()
		w.Rate, w.Duration, w.Arrivals = 800, topology.Duration(400*time.Millisecond), "poisson"
		w.Scenarios["s"].Steps = []*topology.Step{{Path: "/a/${user}/${random:1:1000000}"}, {Path: "/b/${iteration}"}}
		res, err := Run(t.Context(), Config{Target: srv.URL, Workload: w, Seed: 7, goroutines: goroutines, loops: lanes})
		if err != nil || res.Total.Failed() != 0 {
			t.Fatal(err, res.Total.Errors)
		}
		close(got)
		all := map[string]int{}
		for p := range got {
			if strings.HasPrefix(p, "/a/") { // the last second steps may be due after the end
				all[p]++
			}
		}
		return all, res.Scenarios.NotStarted
	}
	want, wantLate := paths(true, 0)
	if len(want)+int(wantLate) < 250 {
		t.Fatalf("%d different requests", len(want))
	}
	for _, lanes := range []int{1, 2, 3, 2*runtime.GOMAXPROCS(0) + 1} { // the last are more than the recorder has shards
		got, late := paths(false, lanes)
		var missing, added int64
		for p, n := range want {
			missing += int64(max(n-got[p], 0))
		}
		for p, n := range got {
			added += int64(max(n-want[p], 0))
		}
		if missing > late || added > wantLate {
			t.Errorf("%d lanes: %d of %d requests are missing and %d are others, where %d and %d came too late",
				lanes, missing, len(want), added, late, wantLate)
		}
	}
}

// An answer larger than the buffers of the kernel, and a request larger than they are, pass a loop in pieces.
func TestLoopMovesMuch(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 1<<16)
	var wrong atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != large {
			wrong.Add(1)
		}
		w.Write(body)
	}))
	defer srv.Close()
	w := getWorkload()
	w.Users, w.Duration = 4, topology.Duration(300*time.Millisecond)
	w.Scenarios["s"].Steps = []*topology.Step{{Path: "/", Method: "POST", Body: large, Expect: &topology.Expect{Contains: large[:1000]}}}
	res, err := Run(t.Context(), Config{Target: srv.URL, Workload: w})
	if err != nil || res.Total.Failed() != 0 || res.Total.Requests == 0 || wrong.Load() != 0 {
		t.Errorf("%v, errors %v of %d, the server saw %d wrong", err, res.Total.Errors, res.Total.Requests, wrong.Load())
	}
	if n := int64(len(large)); res.Total.BytesIn < res.Total.Requests*n {
		t.Errorf("%d bytes of %d answers", res.Total.BytesIn, res.Total.Requests)
	}
}

// Connections of a loop that are not waited for are left alone until they are: what comes on them meanwhile is found, and
// keeps the loop from nothing.
func TestLoopConn(t *testing.T) {
	srv := serveRaw(t, func(net.Conn, *bufio.Reader, int64) bool { return false })
	r := &run{origin: time.Now()}
	stop, end := context.WithCancel(t.Context())
	defer end()
	r.ctx, r.stop = t.Context(), stop.Done()
	l, err := newLoop(r)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	check := func(what string, got, want error) {
		if !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	l.start(func(th thread) {
		nc, err := l.dial(t.Context(), "tcp", strings.TrimPrefix(srv.addr, "http://"))
		if err != nil {
			t.Error(err)
			return
		}
		buf := make([]byte, 10)
		check("a deadline that has passed", nc.SetDeadline(time.Now().Add(-time.Second)), nil)
		_, err = nc.Read(buf)
		check("reading after it", err, os.ErrDeadlineExceeded)
		check("another deadline", nc.SetDeadline(time.Now().Add(20*time.Millisecond)), nil)
		_, err = nc.Read(buf)
		check("reading until it", err, os.ErrDeadlineExceeded)
		check("none", nc.SetDeadline(time.Time{}), nil)
		if _, err := nc.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil { // the server closes
			t.Error(err)
		}
		for !nc.(*loopConn).silenced { // the loop has seen that nobody waits for it
			th.sleep(r.now() + time.Millisecond)
		}
		_, err = nc.Read(buf)
		check("reading what has come", err, io.EOF)
		check("closing", nc.Close(), nil)
		_, err = nc.Read(buf)
		if err == nil {
			t.Error("a closed connection was read")
		}
	})
	l.run()
}

// A fiber's waits end when the run is stopped, where they are to.
func TestFibersAreStopped(t *testing.T) {
	r := &run{origin: time.Now()}
	stop, end := context.WithCancel(t.Context())
	r.ctx, r.stop = t.Context(), stop.Done()
	l, err := newLoop(r)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	var patient thread
	l.start(func(th thread) {
		patient = th
		for len(said) < 4 {
			th.park(false)
		}
		say("woken at last")
	})
	l.start(func(th thread) { say("slept %v", th.sleep(r.now()+time.Hour)); patient.wake() })
	l.start(func(th thread) { say("parked %v", th.park(true)); patient.wake() })
	l.start(func(th thread) {
		say("slept a little %v", th.sleep(r.now()+time.Millisecond))
		end()
		for th.park(true) {
		}
		say("stopped")
		patient.wake()
	})
	l.run()
	for _, want := range []string{"slept a little true", "slept false", "parked false", "stopped", "woken at last"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("not said: %s, but %q", want, said)
		}
	}
	if len(said) == 5 && said[4] != "woken at last" {
		t.Errorf("%q", said)
	}
}

// A loop that hardly ever waits is named as what may have held the load back.
func TestBusyLoop(t *testing.T) {
	r, _, err := prepare(Config{Target: "http://shop", Workload: func() *topology.Workload { w := getWorkload(); w.Users = 1; return w }()})
	if err != nil {
		t.Fatal(err)
	}
	r.ctx, r.lasted = t.Context(), 10*time.Second
	for rested, want := range map[time.Duration]bool{100 * time.Millisecond: true, time.Second: false} {
		r.lanes = []*lane{{run: r, loop: &loop{rested: rested}, targets: &r.targets}}
		said := strings.Contains(strings.Join(r.result(time.Now(), nil).Warnings, " "), "event loop")
		if said != want {
			t.Errorf("after a rest of %s of 10s it is said: %v", rested, said)
		}
	}
}
