package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// madeTraffic writes a series with a day's wave, an hour in each row, and returns its name.
func madeTraffic(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("time,requests\n")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 24 * 21 {
		level := 3600 * (1000 + 600*math.Sin(2*math.Pi*float64(i)/24) + 20*math.Sin(float64(i*i)))
		fmt.Fprintf(&b, "%s,%.0f\n", start.Add(time.Duration(i)*time.Hour).Format(time.RFC3339), level)
	}
	name := filepath.Join(t.TempDir(), "requests.csv")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestForecastCommand(t *testing.T) {
	name := madeTraffic(t)
	code, out, errs := banyan(t, "forecast", name, "--horizons", "1,6", "--levels", "0.9,0.95")
	if code != 0 || !strings.Contains(out, "seasons of 24h0m0s") || !strings.Contains(out, "95% BELOW") || !strings.Contains(out, "6h0m0s") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	plain, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(plain); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".gz", zipped.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, again, errs := banyan(t, "forecast", name+".gz", "--horizons", "1,6", "--levels", "0.9,0.95"); code != 0 || again != out {
		t.Errorf("gzip'd: code %d\n%s%s", code, again, errs)
	}
	code, out, _ = banyan(t, "forecast", name, "--json")
	var report struct {
		Horizons []struct {
			Forecast, Error, ErrorOfLastValue float64
			Upper                             []float64
		}
	}
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil || len(report.Horizons) != 4 || len(report.Horizons[0].Upper) != 3 {
		t.Fatalf("code %d, %v\n%s", code, err, out)
	}
	if h := report.Horizons[1]; !(h.Error < h.ErrorOfLastValue/3) {
		t.Errorf("error %v, of the last value %v: a day's wave is there to be found", h.Error, h.ErrorOfLastValue)
	}
}

func TestReplayCommand(t *testing.T) {
	name := madeTraffic(t)
	page := filepath.Join(t.TempDir(), "replay.html")
	code, out, errs := banyan(t, "replay", "--trace", name, "--each", "50/s", "--policy", "predictive,hpa", "--hold", "0.99", "--html", page)
	if code != 0 || !strings.Contains(out, "predictive") || !strings.Contains(out, "target utilisation") || strings.Contains(out, "kpa") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "<svg") {
		t.Errorf("the report: %v", err)
	}
	code, out, errs = banyan(t, "replay", "--trace", name, "--service-time", "20ms", "--concurrency", "8", "--slo", "p99<300ms", "--policy", "hpa", "--json")
	if code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestForecastAndReplayRefuse(t *testing.T) {
	name := madeTraffic(t)
	empty := filepath.Join(t.TempDir(), "empty.csv")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"has no values":                {"forecast", empty},
		"no such file":                 {"forecast", "absent.csv"},
		"a folder":                     {"forecast", t.TempDir()},
		"want 0.5 or more":             {"forecast", name, "--levels", "0.2"},
		"horizon of 0 steps":           {"forecast", name, "--horizons", "0"},
		"is not said":                  {"replay", "--trace", name},
		"want one of them":             {"replay", "--trace", name, "--each", "1", "--service-time", "1s"},
		`"magic" is unknown`:           {"replay", "--trace", name, "--each", "1", "--policy", "magic"},
		"want one such as p99<300ms":   {"replay", "--trace", name, "--service-time", "1ms", "--slo", "fast"},
		"misses the objective":         {"replay", "--trace", name, "--service-time", "1s", "--slo", "p99<300ms"},
		"is no rate":                   {"replay", "--trace", name, "--each", "-1"},
		"want a duration such as 24h":  {"replay", "--trace", name, "--each", "1", "--warm-up", "long"},
		"nothing is left to score":     {"replay", "--trace", name, "--each", "1", "--warm-up", "9999h"},
		"want --trace FILE.csv":        {"replay", "--each", "1"},
		"name it with --trace":         {"-f", "banyan.yaml", "replay", "--trace", name},
		"--tick 0s: want more":         {"replay", "--trace", name, "--each", "1", "--tick", "0s"},
		"want 0 or more, and at least": {"replay", "--trace", name, "--each", "1", "--min", "5", "--max", "2"},
	} {
		code, out, errs := banyan(t, args...)
		if code != 2 || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: code %d, want 2 and one line with %q\n%s%s", args, code, want, out, errs)
		}
	}
}
