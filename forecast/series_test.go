package forecast

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestReadCSV(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name, text string
		step       time.Duration
		want       Series
		wrong      string
	}{
		{name: "times and counts", text: "time,requests\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n",
			want: Series{Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Step: time.Minute, Values: []float64{1, 2}}},
		{name: "a rate", text: "second,users_or_rps\n0,10\n1,20\n2,30\n", want: Series{Step: time.Second, Values: []float64{10, 20, 30}, Rate: true}},
		{name: "hours", text: "hour,requests\n0,10\n1,20\n", want: Series{Step: time.Hour, Values: []float64{10, 20}}},
		{name: "values alone", text: "5\n6\n\n7\n", step: time.Second, want: Series{Step: time.Second, Values: []float64{5, 6, 7}}},
		{name: "Unix seconds", text: "1700000000,1\n1700000015,2\n", want: Series{Start: time.Unix(1700000000, 0).UTC(), Step: 15 * time.Second, Values: []float64{1, 2}}},
		{name: "a gap", text: "0,1\n10,2\n20,3\n40,5\n", want: Series{Step: 10 * time.Second, Values: []float64{1, 2, 3, nan, 5}, Notes: []string{"1 of 5 steps are missing"}}},
		{name: "counts of one step", text: "t,n\n0,1\n1,2\n1,3\n2,4\n", want: Series{Step: time.Second, Values: []float64{1, 5, 4}, Notes: []string{"1 rows are of a step that another row is of"}}},
		{name: "what is missing", text: "0,1\n1,NaN\n2,-4\n3,\n4,1\n", want: Series{Step: time.Second, Values: []float64{1, nan, nan, nan, 1},
			Notes: []string{"1 values are negative or above 1e+15: taken as missing", "3 of 5 steps are missing"}}},
		{name: "empty", text: "", wrong: "no values"},
		{name: "a header alone", text: "time,requests\n", wrong: "no values"},
		{name: "time goes back", text: "0,1\n2,1\n1,1\n", wrong: "line 3: time goes back"},
		{name: "no number", text: "0,1\n1,many\n", wrong: `line 2: "many" is no number`},
		{name: "no time", text: "0,1\nnoon,1\n", wrong: `line 2: "noon" is no time`},
		{name: "no step", text: "1\n2\n", wrong: "say how long a step is"},
		{name: "one time", text: "0,1\n0,2\n", wrong: "say how long a step is"},
		{name: "a jump", text: "0,1\n1,1\n2,1\n99999999999999,1\n", wrong: "more than"},
	} {
		got, err := ReadCSV(strings.NewReader(c.text), c.step)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !got.Start.Equal(c.want.Start) || got.Step != c.want.Step || got.Rate != c.want.Rate || strings.Join(got.Notes, "\n") != strings.Join(c.want.Notes, "\n") || !same(got.Values, c.want.Values) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func same(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !(math.IsNaN(a[i]) && math.IsNaN(b[i])) {
			return false
		}
	}
	return true
}

func FuzzReadCSV(f *testing.F) {
	f.Add("time,requests\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n")
	f.Add("0,1\n1e300,2\n")
	f.Add("\"a\nb\",1\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadCSV(strings.NewReader(text), 0)
		if err != nil {
			return
		}
		if s.Step <= 0 || len(s.Values) == 0 || len(s.Values) > MaxValues {
			t.Fatalf("step %v, %d values", s.Step, len(s.Values))
		}
		for _, v := range s.Rates() {
			if v < 0 || math.IsInf(v, 0) {
				t.Fatalf("value %v", v)
			}
		}
	})
}

func TestSteps(t *testing.T) {
	nan := math.NaN()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	minutes := Series{Start: start, Step: time.Minute, Values: []float64{60, 120, nan, 240}, Rate: true}
	for _, c := range []struct {
		name string
		of   Series
		step time.Duration
		end  time.Duration // after start
		n    int
		want []float64
	}{
		{"the same", minutes, time.Minute, 4 * time.Minute, 9, []float64{60, 120, nan, 240}},
		{"the latest", minutes, time.Minute, 4 * time.Minute, 2, []float64{nan, 240}},
		{"longer: the mean of what is known", minutes, 2 * time.Minute, 4 * time.Minute, 9, []float64{90, 240}},
		{"not on the border", minutes, 2 * time.Minute, 3 * time.Minute, 9, []float64{120}},
		{"shorter: between the middles", minutes, 30 * time.Second, 2 * time.Minute, 9, []float64{60, 75, 105, nan}},
		{"ends before: the rest is missing", minutes, 2 * time.Minute, 8 * time.Minute, 9, []float64{90, 240, nan, nan}},
		{"ends after: what is later is left out", minutes, time.Minute, 2 * time.Minute, 9, []float64{60, 120}},
		{"begins after", minutes, time.Minute, -time.Minute, 9, []float64{}},
		{"counts", Series{Start: start, Step: time.Minute, Values: []float64{60, 120}}, time.Minute, 2 * time.Minute, 9, []float64{1, 2}},
		{"without times it ends then", Series{Step: time.Minute, Values: []float64{1, 2}, Rate: true}, time.Minute, time.Hour, 9, []float64{1, 2}},
		{"nothing", Series{}, time.Minute, time.Hour, 9, nil},
	} {
		if got := c.of.Steps(c.step, start.Add(c.end), c.n); !same(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
