package topology

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	duration := func(s string) (any, error) { return ParseDuration(s) }
	size := func(s string) (any, error) { return ParseBytes(s) }
	share := func(s string) (any, error) { return ParsePercent(s) }
	rate := func(s string) (any, error) { return ParseRate(s) }
	cores := func(s string) (any, error) { return ParseCPU(s) }
	growth := func(s string) (any, error) { return ParseGrowthRate(s) }
	for _, c := range []struct {
		parse  func(string) (any, error)
		text   string
		want   any
		string string // what String writes
	}{
		{duration, "0", Duration(0), "0s"},
		{duration, "50ms", Duration(50 * time.Millisecond), "50ms"},
		{duration, "1m30s", Duration(90 * time.Second), "1m30s"},
		{duration, "1.5h", Duration(90 * time.Minute), "1h30m"},
		{duration, "24h", Duration(24 * time.Hour), "24h"},
		{duration, "7d", Duration(168 * time.Hour), "7d"},
		{duration, "1w", Duration(168 * time.Hour), "7d"},
		{duration, "1d12h", Duration(36 * time.Hour), "36h"},
		{duration, "250µs", Duration(250 * time.Microsecond), "250us"},
		{duration, "1.5s", Duration(1500 * time.Millisecond), "1.5s"},
		{duration, "9223372036s", Duration(9223372036 * time.Second), "2562047h47m16s"},
		{size, "0", Bytes(0), "0"},
		{size, "64MiB", Bytes(64 << 20), "64MiB"},
		{size, "128Mi", Bytes(128 << 20), "128MiB"},
		{size, "500kB", Bytes(500_000), "500kB"},
		{size, "1.5GiB", Bytes(3 << 29), "1536MiB"},
		{size, "64MB", Bytes(64_000_000), "64MB"},
		{size, "1G", Bytes(1_000_000_000), "1GB"},
		{size, "2 TB", Bytes(2_000_000_000_000), "2TB"},
		{size, "1K", Bytes(1000), "1kB"},
		{size, "1023", Bytes(1023), "1023"},
		{share, "70%", Percent(0.7), "70%"},
		{share, "7%", Percent(0.07), "7%"},
		{share, "99.9%", Percent(0.999), "99.9%"},
		{share, "0.7", Percent(0.7), "70%"},
		{share, "3", Percent(3), "300%"},
		{share, "1e-9", Percent(1e-9), "1e-7%"},
		{rate, "200/s", Rate(200), "200/s"},
		{rate, "12000/min", Rate(200), "200/s"},
		{rate, "100/min", Rate(100.0 / 60), "100/min"},
		{rate, "50/h", Rate(50.0 / 3600), "50/h"},
		{rate, "0", Rate(0), "0/s"},
		{cores, "0.5", CPU(0.5), "0.5"},
		{cores, "500m", CPU(0.5), "0.5"},
		{cores, "2", CPU(2), "2"},
		{growth, "8%/month", GrowthRate{0.08, "month"}, "8%/month"},
		{growth, "100%/year", GrowthRate{1, "year"}, "100%/year"},
		{growth, "0", GrowthRate{}, "0"},
	} {
		got, err := c.parse(c.text)
		if err != nil || got != c.want {
			t.Errorf("%q: got %v, %v, want %v", c.text, got, err, c.want)
			continue
		}
		if s := fmt.Sprint(got); s != c.string {
			t.Errorf("%q: written as %q, want %q", c.text, s, c.string)
		}
	}
	for _, c := range []struct {
		parse func(string) (any, error)
		text  string
		want  string // part of the message
	}{
		{duration, "", "is empty"},
		{duration, "5", "did you mean 5s?"},
		{duration, "-5s", "must not be negative"},
		{duration, "5 minutes", "unknown unit"},
		{duration, "5x", `unknown unit "x"`},
		{duration, "s", "expected a duration"},
		{duration, "NaN", "finite"},
		{duration, ".5s", "expected a duration"},
		{duration, "300000000h", "too long"},
		{duration, "9223372036s9223372036s", "too long"},
		{duration, strings.Repeat("1s", 40), "too long"},
		{size, "-1", "negative"},
		{size, "64mb", "did you mean 64MB?"},
		{size, "10000P", "too large"},
		{size, "99999999999999999999", "too large"},
		{size, "1e3", "unknown unit"},
		{share, "-1%", "negative"},
		{share, "inf", "finite"},
		{share, "1e999", "too large"},
		{share, "7 percent", "expected a share"},
		{rate, "200", "did you mean 200/s?"},
		{rate, "200/m", "did you mean 200/min?"},
		{rate, "200/fortnight", "unknown unit"},
		{rate, "200 rps", "expected a rate"},
		{cores, "-0.5", "negative"},
		{cores, "half", "expected a number of cores"},
		{growth, "8%", "did you mean 8%/month?"},
		{growth, "8%/moth", "did you mean 8%/month?"},
		{growth, "1e9/day", "too large"},
	} {
		if got, err := c.parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, %v, want an error with %q", c.text, got, err, c.want)
		}
	}
}

// TestUnitsComeBack writes random values of every unit and reads them back, as text and as JSON.
func TestUnitsComeBack(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	real := func() float64 {
		v := math.Abs(rng.NormFloat64()) * math.Pow(10, float64(rng.Intn(18)-9))
		if rng.Intn(3) == 0 {
			return math.Trunc(v)
		}
		return v
	}
	whole := func() int64 { return rng.Int63() >> rng.Intn(63) }
	type all struct {
		D Duration
		B Bytes
		P Percent
		R Rate
		C CPU
		G GrowthRate
	}
	for range 20000 {
		b := whole() / 4
		if rng.Intn(2) == 0 {
			b = b >> 49 * byteUnits[rng.Intn(10)].size
		}
		in := all{Duration(whole() / 2), Bytes(b), Percent(real()), Rate(real()), CPU(real()),
			GrowthRate{math.Mod(real(), maxGrowth), growthPeriods[rng.Intn(len(growthPeriods))]}}
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out all
		if err := json.Unmarshal(text, &out); err != nil || in != out {
			t.Fatalf("%s: %v\n in %#v\nout %#v", text, err, in, out)
		}
	}
}

func TestUnitsServeFlags(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(new(strings.Builder))
	var d Duration
	var r Rate
	fs.TextVar(&d, "timeout", Duration(time.Second), "")
	fs.TextVar(&r, "rate", Rate(1), "")
	if err := fs.Parse([]string{"-timeout", "7d", "-rate", "60/min"}); err != nil || d.Std() != 168*time.Hour || r != 1 {
		t.Errorf("got %v, %v, %v", d, r, err)
	}
	if err := fs.Parse([]string{"-rate", "-1/s"}); err == nil || !strings.Contains(err.Error(), "negative") {
		t.Errorf("a negative rate gave %v", err)
	}
}

func TestUnitsReadPlainNumbersOfJSON(t *testing.T) {
	var v struct {
		B Bytes
		P Percent
		D Duration
	}
	if err := json.Unmarshal([]byte(`{"B": 1024, "P": 0.5, "D": 0}`), &v); err != nil || v.B != 1024 || v.P != 0.5 {
		t.Errorf("got %+v, %v", v, err)
	}
	if err := json.Unmarshal([]byte(`{"D": 5}`), &v); err == nil {
		t.Error("a duration without a unit was read")
	}
}

func TestParseCommand(t *testing.T) {
	for text, want := range map[string]Command{
		`a b  c`:           {"a", "b", "c"},
		`a "b c" 'd "e'`:   {"a", "b c", `d "e`},
		`a\ b "c\"d" "\x"`: {"a b", `c"d`, `\x`},
		`a ''`:             {"a", ""},
		`x=${PORT}`:        {"x=${PORT}"},
	} {
		if got, err := ParseCommand(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "  ", `"a`, `a 'b`, `a\`} {
		if got, err := ParseCommand(text); err == nil {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestThreshold(t *testing.T) {
	for text, want := range map[string]Threshold{
		"p99 < 200ms":              {Metric: "p99", Op: "<", Limit: 0.2},
		"errors<=0.1%":             {Metric: "errors", Op: "<=", Limit: 0.001},
		"p95{POST /a > b} < 300ms": {Metric: "p95", Step: "POST /a > b", Op: "<", Limit: 0.3},
		"rate > 600/min":           {Metric: "rate", Op: ">", Limit: 10},
		"max{x} >= 1s":             {Metric: "max", Step: "x", Op: ">=", Limit: 1},
		"p99[10s] < 300ms":         {Metric: "p99", Window: Duration(10 * time.Second), Op: "<", Limit: 0.3},
		"errors [ 1m30s ] <= 1%":   {Metric: "errors", Window: Duration(90 * time.Second), Op: "<=", Limit: 0.01},
		"p50{GET /a[b]} < 1s":      {Metric: "p50", Step: "GET /a[b]", Op: "<", Limit: 1},
	} {
		got, err := ParseThreshold(text)
		again, err2 := ParseThreshold(got.String())
		if err != nil || err2 != nil || got != again {
			t.Errorf("%s: %v, %v, written as %s", text, err, err2, got)
		}
		if got.text = ""; got != want {
			t.Errorf("%s: got %+v", text, got)
		}
	}
	for _, text := range []string{"", "p99", "p99 = 1", "p999 < 1s", "p99 < 1", "errors < 1s", "rate < 1", "p99{x < 1s", "p99{} < 1s", "< 1s",
		"p99[] < 1s", "p99[10s < 1s", "p99[10] < 1s", "p99[100ms] < 1s", "p99[1500ms] < 1s", "p99[200h] < 1s", "p99[10s]{x} < 1s", "[10s] < 1s", "errors < 101%"} {
		if got, err := ParseThreshold(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	less := Threshold{Op: "<", Limit: 1}
	if !less.Holds(0.9) || less.Holds(1) || less.Holds(math.NaN()) || (Threshold{Op: ">="}).Holds(-1) || !(Threshold{Op: "<="}).Holds(0) {
		t.Error("a threshold holds wrongly")
	}
}
