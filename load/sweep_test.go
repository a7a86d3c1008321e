package load

import (
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestSweepOfASingleServer(t *testing.T) {
	t.Parallel()
	// 10 ms of pure delay and 2 ms of a single server: contention is that server's share.
	synctest.Test(t, func(t *testing.T) {
		q := &queue{service: func() time.Duration { return 2 * time.Millisecond }}
		network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Millisecond)
			q.ServeHTTP(w, r)
		})}
		done := make(chan struct{})
		go func() { defer close(done); server.Serve(network) }()
		w := getWorkload()
		w.Rate, w.Warmup, w.Duration = 5, topology.Duration(time.Second), topology.Duration(5*time.Second)
		seen := 0
		s, err := RunSweep(t.Context(), Config{Target: "http://shop", Workload: w, Seed: 1, Dial: network.dial,
			newAlarm: func() (alarm, error) { return newTimerAlarm(), nil }}, []int{1, 2, 4, 8, 16}, func(SweepPoint) { seen++ })
		server.Close()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Points) != 5 || seen != 5 || s.Fit == nil {
			t.Fatalf("%+v", s)
		}
		if math.Abs(s.Points[0].Throughput-1000.0/12) > 1 || math.Abs(s.Points[4].Throughput-500) > 5 {
			t.Errorf("throughputs %+v", s.Points)
		}
		if s.Fit.R2 < 0.95 || s.Fit.Alpha+s.Fit.Beta == 0 {
			t.Errorf("fit %+v", s.Fit)
		}
		var text strings.Builder
		if err := s.WriteText(&text); err != nil || !strings.Contains(text.String(), "Universal Scalability Law") {
			t.Errorf("%v\n%s", err, text.String())
		}
	})
}

func TestParseSweep(t *testing.T) {
	if got, err := ParseSweep("users=4, 1,2,2"); err != nil || len(got) != 3 || got[0] != 1 || got[2] != 4 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1,2", "users=", "users=0", "users=1,x", "users=99999999"} {
		if got, err := ParseSweep(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
