package main

import (
	"os"
	"path/filepath"
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

// An input that was under way while the processor was others' passes when it is run again; one that fails does not.
func TestOnlyLate(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                           "module x\n\ngo 1.26\n",
		"x_test.go":                        "package x\n\nimport \"testing\"\n\nfunc FuzzX(f *testing.F) { f.Fuzz(func(t *testing.T, n int) {\n\tif n == 2 {\n\t\tt.Fatal(n)\n\t}\n}) }\n",
		"testdata/fuzz/FuzzX/aaaaaaaaaaaa": "go test fuzz v1\nint(1)\n",
		"testdata/fuzz/FuzzX/bbbbbbbbbbbb": "go test fuzz v1\nint(2)\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	said := func(what, input string) string {
		return "--- FAIL: FuzzX (6.00s)\n    " + what + "\n\n    Failing input written to testdata/fuzz/FuzzX/" + input + "\n"
	}
	const late = "fuzzing process hung or terminated unexpectedly: exit status 2"
	for _, c := range []struct {
		failure string
		want    bool
		left    string
	}{
		{said("--- FAIL: FuzzX (0.00s)", "aaaaaaaaaaaa"), false, "aaaaaaaaaaaa"},
		{said(late, "bbbbbbbbbbbb"), false, "bbbbbbbbbbbb"},
		{said(late, "aaaaaaaaaaaa"), true, ""},
		{"panic: oh\n", false, ""},
	} {
		x := target{dir: ".", name: "FuzzX", failure: c.failure}
		if got := x.onlyLate(t.Context()); got != c.want {
			t.Errorf("%q: %v, want %v", c.failure, got, c.want)
		}
		if c.left != "" {
			if _, err := os.Stat("testdata/fuzz/FuzzX/" + c.left); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := os.Stat("testdata/fuzz/FuzzX/aaaaaaaaaaaa"); err == nil {
		t.Error("an input that passes is kept")
	}
}
