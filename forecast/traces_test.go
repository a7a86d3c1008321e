package forecast

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func readGz(t testing.TB, name string) [][]string {
	dir := os.Getenv("TRACES")
	file, err := os.Open(filepath.Join(dir, name+".csv.gz"))
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(z)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func TestTraces(t *testing.T) {
	var w95, w99, wid, wid9 float64
	env := func(k string, p *float64) {
		if v := os.Getenv(k); v != "" {
			*p, _ = strconv.ParseFloat(v, 64)
		}
	}
	env("GAIN", &gain)
	env("RESTMIN", &restMin)
	env("RESTA", &restA)
	env("SCALEM", &scaleMemory)
	ms := float64(maxScores)
	env("SCORES", &ms)
	maxScores = int(ms)

	for _, tr := range []struct {
		name string
		step time.Duration
		agg  int
	}{
		{"worldcup98_until_jun15_1m", time.Minute, 1},
		{"nasa_http_jul1995_1m", time.Minute, 1},
		{"twitter_stream_aug2021_first11d_1m", time.Minute, 1},
		{"wikipedia_first31d_1h", time.Hour, 1},
		{"ms_mongodb_app1_rps_1m", time.Minute, 1},
		{"ms_mongodb_app3_rps_1m", time.Minute, 1},
		{"ms_ingress1_1m", time.Minute, 1},
		{"nab_tweets_amzn_5m", 5 * time.Minute, 1},
		{"azure_llm_conv_2023_1s", time.Second, 1},
		{"autothrottle_diurnal_1s", time.Second, 1},
		{"autothrottle_noisy_1s", time.Second, 1},
	} {
		rows := readGz(t, tr.name)
		var v []float64
		for _, r := range rows {
			x, _ := strconv.ParseFloat(r[1], 64)
			v = append(v, x)
		}
		start := time.Now()
		hs := []int{1, 5, 30}
		scores, f, err := Backtest(v, Config{Step: tr.step, Horizons: hs}, 200, []float64{0.95, 0.99})
		if err != nil {
			t.Fatal(err)
		}
		el := time.Since(start)
		for _, s := range scores {
			w95 = max(w95, math.Abs(s.Coverage[0]*100-95))
			w99 = max(w99, math.Abs(s.Coverage[1]*100-99))
			wid += math.Log(s.Width[0])
			wid9 += math.Log(s.Width[1])
			if os.Getenv("Q") == "" {
				fmt.Printf("%-36s h=%-3d err/pers %.3f err/seas %.3f  cov95 %.2f cov99 %.2f width %.2f %.2f  seasons %v  %.1fus\n", tr.name, s.Horizon,
					s.Error/s.Persistence, s.Error/s.Seasonal, 100*s.Coverage[0], 100*s.Coverage[1], s.Width[0], s.Width[1], f.Seasons(), float64(el.Microseconds())/float64(len(v)))
			}
		}
	}
	fmt.Printf("worst95 %.2f worst99 %.2f width %.3f %.3f\n", w95, w99, wid/33, wid9/33)
}

func TestM4(t *testing.T) {
	train, test := readGz(t, "m4_hourly_train"), readGz(t, "m4_hourly_test")
	hs := []int{}
	for h := 1; h <= 48; h++ {
		hs = append(hs, h)
	}
	n := len(train)
	if testing.Short() {
		n = 60
	}
	total, naive := 0.0, 0.0
	k := 0
	for i := 0; i < len(train); i += max(1, len(train)/n) {
		var v []float64
		for _, c := range train[i][1:] {
			if c == "" || c == "NA" {
				break
			}
			x, _ := strconv.ParseFloat(c, 64)
			v = append(v, x)
		}
		f, _ := New(Config{Step: time.Hour, Horizons: hs})
		for _, y := range v {
			f.Observe(y)
		}
		sum, sn := 0.0, 0.0
		for h := 1; h <= 48; h++ {
			y, _ := strconv.ParseFloat(test[i][h], 64)
			p, _ := f.At(h)
			sum += 200 * math.Abs(p.Mean-y) / (p.Mean + y) / 48
			q := v[len(v)-24+(h-1)%24]
			sn += 200 * math.Abs(q-y) / (q + y) / 48
		}
		total += sum
		naive += sn
		k++
		if sum > 1.5*sn {
			p, _ := f.At(48)
			fmt.Println(train[i][0], "smape", sum, "naive", sn, f.Seasons(), p.Model)
		}
	}
	fmt.Printf("M4 hourly: sMAPE %.3f (seasonal naive %.3f) over %d\n", total/float64(k), naive/float64(k), k)
}
