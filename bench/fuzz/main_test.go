package main

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestFollow(t *testing.T) {
	var x target
	for range 2 {
		rest := x.follow(strings.NewReader(`fuzz: elapsed: 0s, gathering baseline coverage: 0/192 completed
fuzz: elapsed: 3s, execs: 325017 (108336/sec), new interesting: 11 (total: 202)
fuzz: elapsed: 1m6s, execs: 680218 (118402/sec), new interesting: 16 (total: 207)
--- FAIL: FuzzX (6.00s)
    Failing input written to testdata/fuzz/FuzzX/af69258a12129d6c
`))
		if !strings.HasPrefix(rest, "--- FAIL") || !strings.Contains(rest, "af69258a12129d6c") {
			t.Errorf("kept %q", rest)
		}
	}
	if x.ran != 132*time.Second || x.execs != 2*680218 || x.found != 32 {
		t.Errorf("%+v", x)
	}
}

func TestFindsTargets(t *testing.T) {
	all, err := find(options{only: regexp.MustCompile("Chunks|Guard"), folders: []string{"../../gateway"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range all {
		names = append(names, strings.TrimPrefix(x.dir, "../../")+" "+x.name)
	}
	if got := strings.Join(names, ", "); got != "gateway/h1guard FuzzGuard, gateway/h2guard FuzzGuard, gateway/http1 FuzzChunks" {
		t.Error(got)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := table(&b, []*target{{dir: "a", name: "FuzzA", ran: time.Minute, execs: 7}, {dir: "b", name: "FuzzB", failure: "panic: oh\n"}}, time.Hour)
	if err == nil || !strings.Contains(b.String(), "FuzzA  1m0s   0s      7") || !strings.Contains(b.String(), "b FuzzB:\npanic: oh") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
