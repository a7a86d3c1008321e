package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/queueing"
)

// runHere runs banyan within the test: for commands that start no processes.
func runHere(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

func TestQueueingSolvesFilesAndStandardInput(t *testing.T) {
	const bank = `{"kind": "M/M/c", "name": "bank", "inputs": {"lam": 3, "mu": 1, "c": 4}}`
	file := filepath.Join(t.TempDir(), "bank.json")
	if err := os.WriteFile(file, []byte(bank), 0o600); err != nil {
		t.Fatal(err)
	}
	text, errs, code := runHere(t, "", "queueing", file)
	if code != 0 || errs != "" || !strings.Contains(text, "bank: M/M/c\nmethod: M/M/c (exact)\n") || !strings.Contains(text, "0.509434") {
		t.Errorf("code %d, %q\n%s", code, errs, text)
	}
	text, errs, code = runHere(t, bank, "queueing", "-", "--json")
	var r queueing.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil || code != 0 || errs != "" {
		t.Fatalf("code %d, %v, %q\n%s", code, err, errs, text)
	}
	if u, ok := r.Values["U"].(float64); !ok || u != 0.75 || !r.Exact {
		t.Errorf("%+v", r)
	}
}

func TestQueueingSolvesEachKindOfItsHelp(t *testing.T) {
	help, _, code := runHere(t, "", "queueing", "--help")
	if code != 0 {
		t.Fatalf("code %d", code)
	}
	examples, err := queueing.Examples()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		first := strings.Split(e.JSON, "\n")[1]
		if !strings.Contains(help, strings.TrimSpace(first)) {
			t.Errorf("the help does not show %s", e.File)
		}
		for _, flags := range [][]string{nil, {"--json"}} {
			out, errs, code := runHere(t, e.JSON, append([]string{"queueing", "-"}, flags...)...)
			if code != 0 || errs != "" || out == "" {
				t.Errorf("%s %v: code %d, %q", e.File, flags, code, errs)
			}
		}
	}
	for _, kind := range queueing.Kinds() {
		if !strings.Contains(help, `"`+kind+`"`) && !strings.Contains(kind, "(finite source)") {
			t.Errorf("the help has no model of kind %s", kind)
		}
	}
}

func TestQueueingRefusesInOneLine(t *testing.T) {
	for _, c := range []struct {
		name, stdin string
		args        []string
		code        int
		want        string
	}{
		{"no file", "", nil, 2, "accepts 1 arg"},
		{"two files", "", []string{"a", "b"}, 2, "accepts 1 arg"},
		{"missing file", "", []string{"/nowhere/model.json"}, 2, "no such file"},
		{"folder", "", []string{t.TempDir()}, 2, "is a folder"},
		{"topology", "", []string{"-f", "banyan.yaml", "-"}, 2, "without -f"},
		{"empty", "", []string{"-"}, 2, "-: the document is empty"},
		{"cut off", `{"kind": "M/M/1"`, []string{"-"}, 2, "in the middle"},
		{"not JSON", "system: shop", []string{"-"}, 2, "invalid character"},
		{"no kind", `{}`, []string{"-"}, 2, "field kind is missing"},
		{"unknown kind", `{"kind": "M/M/M", "inputs": {}}`, []string{"-"}, 2, `unknown kind "M/M/M"`},
		{"unknown field", `{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2, "nu": 3}}`, []string{"-"}, 2, `"nu"`},
		{"unstable", `{"kind": "M/M/1", "inputs": {"lam": 2, "mu": 1}}`, []string{"-"}, 1, "unstable"},
		{"negative", `{"kind": "M/M/1", "inputs": {"lam": -2, "mu": 1}}`, []string{"-"}, 1, "arrival rate is -2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := runHere(t, c.stdin, append([]string{"queueing"}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("code %d, want %d; stdout %q; stderr %q, want one line with %q", code, c.code, out, errs, c.want)
			}
		})
	}
}
