package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files, and where docs show them")

const books = "testdata/plan/banyan.yaml"

// TestPlanLooksAhead holds the whole output, which docs/plan.md shows.
func TestPlanLooksAhead(t *testing.T) {
	out, errs, code := runHere(t, "", "-f", books, "plan", "--for", "1year", "--from", "2026-12-01", "--uncertainty", "20%")
	if code != 0 || errs != "" {
		t.Fatalf("code %d: %s", code, errs)
	}
	const golden, page = "testdata/plan/books.txt", "../../docs/plan.md"
	want, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if *update && out != string(want) {
		if len(want) > 0 {
			doc = bytes.Replace(doc, want, []byte(out), 1)
		}
		for file, text := range map[string][]byte{golden: []byte(out), page: doc} {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	if out != string(want) {
		t.Errorf("not as in %s (rewrite with -update):\n%s", golden, out)
	}
	if !bytes.Contains(doc, want) {
		t.Errorf("docs/plan.md does not show what is printed")
	}
}

func TestPlanWritesAnOverlayThatIsAccepted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "larger.yaml")
	_, errs, code := runHere(t, "", "-f", books, "plan", "--for", "18months", "--write", file)
	if code != 0 || !strings.Contains(errs, "Wrote "+file) {
		t.Fatalf("code %d: %s", code, errs)
	}
	if out, errs, code := runHere(t, "", "check", "-f", books, "-f", file); code != 0 {
		t.Errorf("check: code %d: %s%s", code, out, errs)
	}
	// With the changes there is nothing left to do, and nothing is written.
	again := file + ".again"
	out, errs, code := runHere(t, "", "-f", books, "-f", file, "plan", "--for", "18months", "--write", again)
	if code != 0 || !strings.Contains(errs, "was not written") || !strings.Contains(out, "as it is") || fileExists(again) {
		t.Errorf("code %d: %s", code, errs)
	}
}

func TestPlanLooksAheadAsJSON(t *testing.T) {
	out, errs, code := runHere(t, "", "-f", books, "plan", "--for", "2years", "--growth", "100%/year", "--json")
	var got struct {
		Throughput float64
		Capacity   struct {
			Steps  []struct{ Factor float64 }
			Ends   []struct{ What string }
			Losses []struct{ Service string }
			Doubt  *struct{}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s", code, err, errs)
	}
	c := got.Capacity
	if got.Throughput != 375 || len(c.Ends) != 6 || len(c.Losses) != 6 || c.Doubt != nil || c.Steps[len(c.Steps)-1].Factor < 3.999 {
		t.Errorf("%+v", got)
	}
}

func TestPlanRefusesWrongFlagsInOneLine(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "banyan.yaml")
	text, err := os.ReadFile(books)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "growth:", "growth: {}\n#", 1))
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--growth", "8%/month"}, 2, "needs --for"},
		{[]string{"--for", "soon"}, 2, "18months"},
		{[]string{"--for", "1year"}, 2, "no growth"},
		{[]string{"--for", "1year", "--growth", "8%"}, 2, "8%/month"},
		{[]string{"--for", "1year", "--growth", "8%/month", "--uncertainty", "x"}, 2, "--uncertainty"},
		{[]string{"--for", "1year", "--growth", "8%/month", "--uncertainty", "2000%"}, 2, "at most"},
		{[]string{"--for", "1year", "--growth", "8%/month", "--from", "tomorrow"}, 2, "2026-12-01"},
		{[]string{"--for", "2years", "--growth", "8%/month", "--write", copied}, 2, "the topology itself"},
		{[]string{"--for", "2years", "--growth", "8%/month", "--write", "/nowhere/x.yaml"}, 1, "writing the overlay"},
	} {
		_, errs, code := runHere(t, "", append([]string{"-f", copied, "plan"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: code %d, %q; want %d and one line with %q", c.args, code, errs, c.code, c.want)
		}
	}
}

func TestDaysByTheCalendar(t *testing.T) {
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	const month time.Duration = 730.5 * 3600e9 // a twelfth of a year
	for at, want := range map[time.Duration]string{0: "2026-12-01", month: "2027-01-01", 12 * month: "2027-12-01", 3*month + 48*time.Hour: "2027-03-03"} {
		if got := dayOf(from, at); got != want {
			t.Errorf("after %v: %s, want %s", at, got, want)
		}
	}
}

func TestPlanExplores(t *testing.T) {
	out, errOut, code := runHere(t, "", "-f", "testdata/plan/banyan.yaml", "plan", "--explore")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	for _, want := range []string{"catalog: 50% less CPU time", "cache in front", "scale up", "BOTTLENECK"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing of\n%s", want, out)
		}
	}
	if _, _, code := runHere(t, "", "-f", "testdata/plan/banyan.yaml", "plan", "--explore", "--for", "1year"); code != 2 {
		t.Errorf("--explore with --for: exit %d, want 2", code)
	}
}

// Tables are shown, limit what is held, and can be changed.
func TestPlanShowsTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "banyan.yaml")
	text := `version: 1
system: tabled
machine: {cores: 8}
services: {web: {run: web, uses: [tables.orders], work: {cpu: 200us, calls: {tables.orders: 2}}}}
tables: {orders: {key: id, replicas: 3, cpu: 1, writes: 50%, read: {cpu: 100us}, write: {cpu: 300us}, follow: {cpu: 100us}}}
routes: [{name: home, path: /, to: web}]
workload: {rate: 500/s, scenarios: {a: {steps: [{path: /}]}}}
growth: {requests: 100%/year}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := runHere(t, "", "-f", file, "plan", "--for", "3years", "--from", "2026-12-01")
	if code != 0 || errs != "" {
		t.Fatalf("code %d: %s", code, errs)
	}
	// One shard: its leader does all reads and writes, 0.4 ms of CPU for a request's two operations.
	for _, want := range []string{"TABLE          SHARDS", "Holds 2500 requests/s before tables.orders is full.", "tables.orders: 1 -> 2 shards", "tables.orders: eventual_reads 0% -> 100%",
		"tables.orders: cpu 1 -> 2", "tables.orders  2029"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if strings.Contains(out, "the work of what holds them") {
		t.Errorf("it is said that tables are left out:\n%s", out)
	}
}
