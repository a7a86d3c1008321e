package forecast

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// traces are recorded ones that lie beside the repository; tests that want them skip where they do not.
const traces = "../../shared/traces"

var wholeM4 = flag.Bool("m4", false, "score all series of the M4 competition's hourly ones")

func openTrace(t *testing.T, name string) *gzip.Reader {
	t.Helper()
	file, err := os.Open(filepath.Join(traces, name+".csv.gz"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no trace %s in %s", name, traces)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// On recorded traffic the forecast is no worse than persistence, and its upper quantiles cover what they say.
func TestRecordedTraffic(t *testing.T) {
	levels := []float64{0.95, 0.99}
	for _, name := range []string{
		"worldcup98_until_jun15_1m", "nasa_http_jul1995_1m", "twitter_stream_aug2021_first11d_1m",
		"ms_mongodb_app1_rps_1m", "ms_mongodb_app3_rps_1m", "ms_ingress1_1m", "nab_tweets_amzn_5m", "azure_llm_conv_2023_1s",
		"autothrottle_diurnal_1s", "autothrottle_noisy_1s",
	} {
		t.Run(name, func(t *testing.T) {
			series, err := ReadCSV(openTrace(t, name), 0)
			if err != nil {
				t.Fatal(err)
			}
			if raceEnabled && len(series.Values) > 20_000 {
				t.Skip("without the race detector only: nothing runs beside it here")
			}
			scores, f, err := Backtest(series.Values, Config{Step: series.Step, Horizons: []int{1, 4}}, 200, levels)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range scores {
				t.Logf("%d steps ahead: error %.3f of persistence's, %.3f of the season's; coverage %.4f; width %.2f; seasons %v",
					s.Horizon, s.Error/s.Persistence, s.Error/s.Seasonal, s.Coverage, s.Width, f.Seasons())
				if s.Error > 1.005*s.Persistence {
					t.Errorf("%d steps ahead: error %.4f, persistence's is %.4f", s.Horizon, s.Error, s.Persistence)
				}
				if math.Abs(s.Coverage[0]-0.95) > 0.01 || math.Abs(s.Coverage[1]-0.99) > 0.005 {
					t.Errorf("%d steps ahead: the quantiles 0.95 and 0.99 cover %.4f", s.Horizon, s.Coverage)
				}
			}
		})
	}
}

// The M4 competition's hourly series, 48 steps ahead: seasonal naive has a symmetric error of 13.912 %.
func TestM4Hourly(t *testing.T) {
	read := func(name string) [][]string {
		rows, err := csv.NewReader(openTrace(t, name)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows[1:]
	}
	train, test := read("m4_hourly_train"), read("m4_hourly_test")
	var horizons []int
	for h := 1; h <= 48; h++ {
		horizons = append(horizons, h)
	}
	stride := 4 // of the 414 series; all of them with -m4
	if *wholeM4 {
		stride = 1
	} else if raceEnabled {
		stride = 32
	}
	total, naive, n := 0.0, 0.0, 0.0
	for i := 0; i < len(train); i += stride {
		var values []float64
		for _, cell := range train[i][1:] {
			y, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				break // the series is shorter than the widest
			}
			values = append(values, y)
		}
		f, err := New(Config{Step: 60 * 60 * 1e9, Horizons: horizons})
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range values {
			f.Observe(y)
		}
		for h, cell := range test[i][1:] {
			y, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			at, err := f.At(h + 1)
			if err != nil {
				t.Fatal(err)
			}
			before := values[len(values)-24+h%24]
			total += 200 * math.Abs(at.Mean-y) / (at.Mean + y)
			naive += 200 * math.Abs(before-y) / (before + y)
			n++
		}
	}
	t.Logf("sMAPE %.3f, of seasonal naive %.3f, over %.0f series", total/n, naive/n, n/48)
	if total/n > 11.5 {
		t.Errorf("sMAPE %.3f, want at most 11.5", total/n)
	}
}
