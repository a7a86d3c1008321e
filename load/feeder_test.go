package load

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// fed returns a feeder that was read from text.
func fed(name, order, text string, columns ...string) (*feeder, error) {
	f, err := newFeeder("f", &topology.Feeder{File: name, Order: order}, 0)
	if err != nil {
		return nil, err
	}
	for _, c := range columns {
		f.column(c)
	}
	return f, f.load(files{held: map[string][]byte{name: []byte(text)}})
}

func TestFeederFiles(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{"a.csv", "id,name\n1,ant\n2,\"b,\nee\"\n", "1|ant 2|b,\nee"},
		{"a.csv", "\ufeffname, id\r\nant,1\r\n", "1|ant"},
		{"a.jsonl", "{\"id\":1,\"name\":\"a\\u0062\"}\n\n{\"name\":{\"x\":[1]},\"id\":true}", "1|ab true|{\"x\":[1]}"},
		{"a.csv", "", "a.csv:1: empty: want a header"},
		{"a.csv", "id,name\n", "a.csv has no rows"},
		{"a.csv", "id,id\n1,2\n", "a.csv:1:4: two columns \"id\""},
		{"a.csv", "id,\n1,2\n", "a.csv:1:4: a column without a name"},
		{"a.csv", "id,nam\n1,2\n", "a.csv:1: no column \"name\": want one of id, nam"},
		{"a.csv", "id,name\n1,2\n3\n", "a.csv:3:1: wrong number of fields"},
		{"a.csv", "id,name\n1,a\"b\n", "a.csv:2:4: bare \" in non-quoted-field"},
		{"a.ndjson", "{\"id\":1,\"name\":2}\n[1]\n", "a.ndjson:2: \"[1]\": want a JSON object on one line"},
		{"a.json", "{\"id\":1}\n", "a.json:1: no value at \"name\""},
		{"a.json", "{\"id\":1,\"name\":null}\n", "a.json:1: no value at \"name\""},
	} {
		f, err := fed(tt.file, "", tt.text, "id", "name")
		got := ""
		if err != nil {
			_, got, _ = strings.Cut(err.Error(), "feeder f: ")
		} else {
			var rows []string
			for row := range f.rows {
				id, _ := f.value(row, 0, nil)
				name, _ := f.value(row, 1, nil)
				rows = append(rows, string(id)+"|"+string(name))
			}
			got = strings.Join(rows, " ")
		}
		if got != tt.want {
			t.Errorf("%s of %q: %q, want %q", tt.file, tt.text, got, tt.want)
		}
	}
	if _, err := fed("../../etc/passwd", "", "x"); err == nil {
		t.Error("a file without used columns was read")
	}
	if _, err := (files{held: map[string][]byte{}}).open("/etc/passwd"); err == nil {
		t.Error("a worker opened a file of its own")
	}
}

// Parts of a feeder together hand out what the whole one does, each row once.
func TestFeederParts(t *testing.T) {
	to := 10
	for _, order := range []string{"once", "sequence"} {
		seen := map[int64]int{}
		for i := range int64(3) {
			f, err := newFeeder("n", &topology.Feeder{From: new(int), To: &to, Order: order}, 0)
			if err != nil || f.load(files{}) != nil {
				t.Fatal(err)
			}
			f.part = part{i, 3}
			for range 4 {
				if row, ok := f.draw(nil); ok {
					seen[row]++
				}
			}
		}
		want := 11
		if len(seen) != want {
			t.Errorf("%s: %d rows of %d: %v", order, len(seen), want, seen)
		}
		if order == "once" && slices.Max(slices.Collect(maps.Values(seen))) != 1 {
			t.Errorf("a row twice: %v", seen)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	f, err := newFeeder("n", &topology.Feeder{From: new(int), To: &to, Order: "zipf"}, 0)
	if err != nil || f.load(files{}) != nil {
		t.Fatal(err)
	}
	var counts [11]int
	for range 10000 {
		row, _ := f.draw(rng)
		counts[row]++
	}
	if counts[0] < 2*counts[2] || counts[10] == 0 {
		t.Errorf("not Zipf: %v", counts)
	}
}

// Parts of a schedule together are the schedule.
func TestScheduleParts(t *testing.T) {
	p, err := Steady(1000, 3*time.Second)
	mustProfile(t, p, err)
	whole := NewPoisson(p, 7)
	for n := range whole.Count() {
		part := part{n % 3, 3}
		want, _ := whole.At(n)
		if got, ok := part.schedule(NewPoisson(p, 7)).At(n / 3); !ok || got != want {
			t.Fatalf("arrival %d: %s, want %s", n, got, want)
		}
	}
	for of := int64(1); of < 8; of++ {
		sum := int64(0)
		for i := range of {
			sum += part{i, of}.share(20)
		}
		if sum != 20 {
			t.Errorf("%d parts of 20 are %d", of, sum)
		}
	}
}

// Setup and teardown run once, around the load, and are no part of the figures; every step of a scenario sees one row.
func TestFeedersSetupAndTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		h := func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r.Method+" "+r.URL.Path+" "+string(body))
			w.Header().Set("Location", "k9")
		}
		from, to := 5, 12
		w := getWorkload()
		w.Rate, w.Arrivals = 1, "constant"
		w.Feeders = map[string]*topology.Feeder{"goods": {File: "g.jsonl"}, "serial": {From: &from, To: &to, Order: "once"}}
		w.Thresholds = []string{"errors{write} < 1%", "rate{write} > 0.1/s"}
		w.Scenarios = map[string]*topology.Scenario{"s": {
			Setup:    []*topology.Step{{Method: "POST", Path: "/keys", Extract: map[string]*topology.Extract{"key": {Header: "Location"}}}},
			Teardown: []*topology.Step{{Method: "DELETE", Path: "/keys/${key}"}},
			Steps: []*topology.Step{
				{Path: "/${key}/${goods.id}", Name: "read", Tags: []string{"read"}},
				{Method: "PUT", Path: "/${goods.id}", Name: "write", Tags: []string{"write", "slow"}, JSON: map[string]any{"n": "${serial}", "at": "${goods.at.x}"}},
			},
		}}
		res := simulated(t, t.Context(), h, w, func(c *Config) {
			c.held = map[string][]byte{"g.jsonl": []byte("{\"id\":\"a/b\",\"at\":{\"x\":1}}\n{\"id\":\"c\",\"at\":{\"x\":\"y\"}}\n")}
		})
		want := []string{"POST /keys ", "GET /k9/a/b ", `PUT /a/b {"at":1,"n":5}`, "GET /k9/c ", `PUT /c {"at":"y","n":6}`}
		if len(got) != 18 || !slices.Equal(got[:5], want) || got[17] != "DELETE /keys/k9 " {
			t.Errorf("%d requests: %q", len(got), got)
		}
		if res.Total.Requests != 16 || res.Scenarios.Unfed != 2 || len(res.Steps) != 2 || len(res.Warnings) != 1 {
			t.Errorf("%d requests, %d unfed, %q", res.Total.Requests, res.Scenarios.Unfed, res.Warnings)
		}
		if len(res.Tags) != 3 || res.Tags[2].Name != "slow" || res.Tags[2].Requests != 8 || !res.OK() {
			t.Errorf("tags %+v, verdicts %+v", res.Tags, res.Verdicts)
		}
		var text strings.Builder
		if err := res.WriteText(&text); err != nil || !strings.Contains(text.String(), "  tag slow ") {
			t.Errorf("%v\n%s", err, text.String())
		}
	})
}

// A setup that fails begins no load, and is torn down.
func TestFailedSetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		var paths []string
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.URL.Path)
			if r.URL.Path == "/b" {
				w.WriteHeader(500)
			}
		})}
		done := make(chan struct{})
		go func() { defer close(done); server.Serve(network) }()
		w := getWorkload()
		w.Users = 3
		w.Scenarios["s"].Setup = []*topology.Step{{Path: "/a"}, {Path: "/b"}}
		w.Scenarios["s"].Teardown = []*topology.Step{{Path: "/c"}}
		_, err := Run(context.Background(), Config{Target: "http://shop", Workload: w, Dial: network.dial, newAlarm: func() (alarm, error) { return newTimerAlarm(), nil }})
		server.Close()
		<-done
		if err == nil || err.Error() != "load: setup of scenario s: step 2 (GET /b): unexpected status 500" {
			t.Errorf("error %v", err)
		}
		if !slices.Equal(paths, []string{"/a", "/b", "/c"}) {
			t.Errorf("requests %q", paths)
		}
	})
}

func TestWrongFeeders(t *testing.T) {
	one := 1
	for _, tt := range []struct {
		f    topology.Feeder
		path string
		want string
	}{
		{topology.Feeder{}, "/${f}", "exactly one of file and from"},
		{topology.Feeder{From: &one}, "/${f.id}", "has no columns"},
		{topology.Feeder{From: &one, Order: "best"}, "/${f}", "want sequence"},
		{topology.Feeder{File: "x.csv"}, "/${f}", "want a column"},
		{topology.Feeder{From: &one}, "/${g}", "unknown variable"},
		{topology.Feeder{File: "none.csv"}, "/${f.id}", "feeder f: open"},
	} {
		w := getWorkload()
		w.Rate = 1
		w.Feeders = map[string]*topology.Feeder{"f": &tt.f}
		w.Scenarios["s"].Steps[0].Path = tt.path
		if _, _, err := prepare(Config{Target: "http://h", Workload: w, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v, %s: %v, want %q", tt.f, tt.path, err, tt.want)
		}
	}
	w := getWorkload()
	w.Rate = 1
	w.Feeders = map[string]*topology.Feeder{"f": {From: &one}}
	w.Scenarios["s"].Setup = []*topology.Step{{Path: "/${f}"}}
	if _, _, err := prepare(Config{Target: "http://h", Workload: w}); err == nil {
		t.Error("a setup used a feeder")
	}
}

func FuzzFeeder(f *testing.F) {
	f.Add("a.csv", "id,name\n1,\"a\"\n")
	f.Add("a.jsonl", "{\"id\":{\"x\":1}}\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		feeder, err := fed(name, "", text, "id", "id.x")
		if err != nil {
			return
		}
		for row := range feeder.rows {
			feeder.value(row, 0, nil)
			feeder.value(row, 1, nil)
		}
	})
}
