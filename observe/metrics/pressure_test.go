package metrics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestPressure(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n")
	write("proc/7/cgroup", "0::/banyan/web-0\n")
	write("proc/8/cgroup", "1:cpu:/x\n0::/\n") // in the root: nothing is its own
	write("cg/banyan/web-0/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n")
	write("cg/cpu.pressure", "some total=99\n")
	p := &pressure{func() []Process { return []Process{{"web", "web-0", 7}, {"web", "web-1", 8}, {"web", "web-2", 9}} },
		filepath.Join(root, "proc"), filepath.Join(root, "cg")}
	want := `
# HELP banyan_machine_pressure_seconds_total Time for which tasks of the machine waited for a resource: some of them, or all at once (full).
# TYPE banyan_machine_pressure_seconds_total counter
banyan_machine_pressure_seconds_total{resource="cpu",share="some"} 2.5
# HELP banyan_replica_pressure_seconds_total Time for which tasks of the replica waited for a resource: some of them, or all at once (full).
# TYPE banyan_replica_pressure_seconds_total counter
banyan_replica_pressure_seconds_total{replica="web-0",resource="memory",service="web",share="full"} 0.5
banyan_replica_pressure_seconds_total{replica="web-0",resource="memory",service="web",share="some"} 1
`
	if err := testutil.CollectAndCompare(p, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func FuzzStalls(f *testing.F) {
	f.Add("some avg10=0.00 total=1\nfull total=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseStalls(text)
		if err == nil && len(got) > 2 {
			t.Errorf("%d shares of %q", len(got), text)
		}
	})
}
