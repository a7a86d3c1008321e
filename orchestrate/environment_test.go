package orchestrate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"PORT": "80", "EMPTY": "", "DOLLAR": "${PORT}"}
	lookup := func(name string) (string, bool, error) { v, ok := vars[name]; return v, ok, nil }
	tests := []struct{ in, want, wantErr string }{
		{"", "", ""},
		{"plain", "plain", ""},
		{"--port=${PORT}", "--port=80", ""},
		{"${PORT}${PORT}", "8080", ""},
		{"a${EMPTY}b", "ab", ""},
		{"$PORT $$ ${} ${1X} ${PORT", "$PORT $$ ${} ${1X} ${PORT", ""},
		{"${DOLLAR}", "${PORT}", ""}, // not expanded again
		{"${NOWHERE}", "", "${NOWHERE} is not in"},
	}
	for _, tt := range tests {
		got, err := expand(tt.in, lookup)
		if got != tt.want || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("expand(%q) = %q, %v; want %q, %q", tt.in, got, err, tt.want, tt.wantErr)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("--port=${PORT} ${")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := expand(s, func(name string) (string, bool, error) { return "${" + name + "}", true, nil })
		if err != nil || got != s {
			t.Errorf("expanding %q to itself gives %q, %v", s, got, err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	t.Setenv("BANYAN_RUN", "of another supervisor")
	t.Setenv("FROM_SHELL", "shell")
	s := surroundings{
		service: "orders", replica: "orders-0", instance: "orders-0.1.1@r:h", run: "r:h", port: 1234, data: "/data",
		limits: limits{cpu: 1.2, memory: 100}, kept: false,
		app: []string{"STOCK_URL=http://127.0.0.1:9", "PATH_TO=app"},
		own: map[string]string{
			"A": "${B}-${FROM_SHELL}", "B": "${C}", "C": "${PORT}", "PATH_TO": "own:${PATH_TO}", "LOOP": "${POOL}", "POOL": "x",
			"BANYAN_RUN": "forged",
		},
	}
	env, err := s.environment()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A=1234-shell", "PATH_TO=own:app", "STOCK_URL=http://127.0.0.1:9", "BANYAN_RUN=r:h", "GOMAXPROCS=2", "GOMEMLIMIT=90",
		"PORT=1234", "BANYAN_INSTANCE=orders-0.1.1@r:h",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
	names := make(map[string]bool)
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if names[name] {
			t.Errorf("%s twice", name)
		}
		names[name] = true
	}
	s.own = map[string]string{"A": "${B}", "B": "${A}"}
	if _, err := s.environment(); err == nil {
		t.Error("variables that need each other are accepted")
	}
}

func TestGoLimits(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		limits  limits
		kept    bool
		program string
		want    string
	}{
		{"none", limits{}, false, "", ""},
		{"a runtime that follows its control group", limits{cpu: 0.5}, true, self, ""},
		{"no control group to follow", limits{cpu: 0.5}, false, self, "GOMAXPROCS=1"},
		{"whole cores", limits{cpu: 2}, false, self, "GOMAXPROCS=2"},
		{"not Go", limits{cpu: 2}, true, "/bin/sh", ""},
		{"memory", limits{memory: 1 << 20}, true, self, "GOMEMLIMIT=943713"},
	}
	for _, tt := range tests {
		if got := strings.Join(goLimits(tt.limits, tt.kept, tt.program), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"tool", "sub/tool2"} {
		path := filepath.Join(dir, f)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=.:" + filepath.Join(dir, "sub")}
	for word, want := range map[string]string{
		"./tool": filepath.Join(dir, "tool"), "tool2": filepath.Join(dir, "sub/tool2"), "tool": "", "./tool2": "", "./sub": "", "": "",
	} {
		if got, err := findProgram(word, dir, env); got != want || (err != nil) != (want == "") {
			t.Errorf("findProgram(%q) = %q, %v; want %q", word, got, err, want)
		}
	}
}

func TestCalleesFirst(t *testing.T) {
	services := map[string]*topology.Service{
		"a": {Uses: []string{"b", "tables.x"}}, "b": {Uses: []string{"c"}}, "c": {Uses: []string{"d"}}, "d": {Uses: []string{"c"}}, "e": {},
	}
	got := strings.Join(calleesFirst(services), " ")
	if got != "d c b a e" {
		t.Errorf("order %q", got)
	}
}
