package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// record writes n lines of a recording, a second apart, with a path by path.
func record(n int, path func(i int) string, more string) string {
	var b strings.Builder
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range n {
		fmt.Fprintf(&b, `{"time":%q,"request_id":"r%d","client":"192.0.2.%d","method":"GET","host":"a","uri":%q,"status":200,"duration_ms":5%s}`+"\n",
			at.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano), i, i%200, path(i), more)
	}
	return b.String()
}

func rehearsed(t *testing.T, old, now *topology.System, recording string) Diff {
	t.Helper()
	d, err := NewDryRun(old, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecording(strings.NewReader(recording), d.Add); err != nil {
		t.Fatal(err)
	}
	return d.Diff()
}

func alternating(i int) string { return []string{"/", "/api/x"}[i%2] }

func TestDryRunOfTheSameChangesNothing(t *testing.T) {
	if d := rehearsed(t, shop(), shop(), record(10, alternating, "")); d.Requests != 10 || d.Changed != 0 || len(d.Differences) != 0 || d.To.Sub(d.From) != 9*time.Second {
		t.Errorf("got %+v", d)
	}
}

func TestDryRunSaysWhatWouldChange(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(*topology.System)
		want     Difference
		path     func(int) string
		more     string
		examples int
	}{
		"another service": {
			change: func(s *topology.System) { s.Routes[1].To = "web" },
			want:   Difference{Old: "route api to catalog", New: "route api to web", Requests: 10},
		},
		"no route": {
			change: func(s *topology.System) { s.Routes = s.Routes[1:] },
			want:   Difference{Old: "route home to web", New: "no route (404)", Requests: 10},
		},
		"a limit": {
			change: func(s *topology.System) { s.Routes[1].Limit = &topology.Limit{Rate: 0.25, Burst: 1, By: "route"} },
			want:   Difference{Old: "route api to catalog", New: "route api: over its limit (429)", Requests: 5}, // every other of one in 2 s
		},
		"a time-out": {
			change: func(s *topology.System) { s.Routes[1].Timeout = topology.Duration(time.Second) },
			want:   Difference{Old: "route api to catalog", New: "route api to catalog: longer than its time-out of 1s (504)", Requests: 10},
			more:   `,"duration_ms":1500`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := shop()
			tt.change(now)
			d := rehearsed(t, shop(), now, record(20, alternating, tt.more))
			if len(d.Differences) != 1 || d.Changed != tt.want.Requests {
				t.Fatalf("got %+v", d)
			}
			got := d.Differences[0]
			if got.Old != tt.want.Old || got.New != tt.want.New || got.Requests != tt.want.Requests || len(got.Examples) != maxExamples {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDryRunFollowsHashes(t *testing.T) {
	hashed := func(replicas int) *topology.System {
		sys := shop()
		sys.Routes[1].Balance, sys.Routes[1].Hash = topology.Maglev, &topology.Hash{Client: true}
		sys.Services["catalog"].Replicas.Min = replicas
		return sys
	}
	d := rehearsed(t, hashed(4), hashed(5), record(1000, func(int) string { return "/api/x" }, ""))
	// A fifth of the clients belongs to the new replica, and a few more move.
	if d.Changed < 100 || d.Changed > 350 || len(d.Differences) != 1 || d.Differences[0].New != "route api to catalog, at another backend" {
		t.Errorf("%d of 1,000 requests move: %+v", d.Changed, d.Differences)
	}
}

// What a hash is of may be missing, or was not recorded: any backend is as good then, and nothing is said to have changed.
func TestDryRunDoesNotGuessHashes(t *testing.T) {
	hashed := func() *topology.System {
		sys := shop()
		sys.Routes[1].Balance, sys.Routes[1].Hash = topology.Maglev, &topology.Hash{Cookie: "user"}
		sys.Services["catalog"].Replicas.Min = 8
		return sys
	}
	if d := rehearsed(t, hashed(), hashed(), record(100, func(int) string { return "/api/x" }, "")); d.Changed != 0 {
		t.Errorf("%d of 100 requests move though nothing has changed: %+v", d.Changed, d.Differences)
	}
}

func TestReadRecordingOfNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "no request",
		"GET / HTTP/1.1\n":         "no request",
		strings.Repeat("x", 2<<20): "too long",
	} {
		if _, err := ReadRecording(strings.NewReader(text), func(Recorded) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	skipped, err := ReadRecording(strings.NewReader("a line of another program\n"+record(2, alternating, "")), func(Recorded) {})
	if skipped != 1 || err != nil {
		t.Errorf("skipped %d, %v", skipped, err)
	}
}

func FuzzReadRecording(f *testing.F) {
	f.Add(record(2, alternating, `,"headers":{"X-User":"a"}`))
	old, now := shop(), shop()
	now.Routes[1].To = "web"
	f.Fuzz(func(t *testing.T, text string) {
		d, err := NewDryRun(old, now)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = ReadRecording(strings.NewReader(text), d.Add)
		if diff := d.Diff(); diff.Changed > diff.Requests {
			t.Errorf("%+v", diff)
		}
	})
}
