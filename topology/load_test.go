package topology

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s (write it anew with -update):\n%s", name, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(nothing)", "(nothing)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\n got %s", i+1, a, b)
		}
	}
	return ""
}

func validFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	return files
}

func TestValidFilesExpandToThemselves(t *testing.T) {
	for _, name := range validFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			sys, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			text := roundTrip(t, sys)
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", text)
		})
	}
}

// roundTrip expands a system and fails where the result is not the same system.
func roundTrip(t *testing.T, sys *System) string {
	t.Helper()
	text, err := sys.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(Source{Name: "expanded.yaml", Data: text})
	if err != nil {
		t.Fatalf("the expanded file is not read:\n%v\n%s", err, text)
	}
	again.Dir = sys.Dir
	if !reflect.DeepEqual(sys, again) {
		second, _ := again.YAML()
		t.Fatalf("the expanded file is another system: %s", firstDifference(string(text), string(second)))
	}
	return string(text)
}

// TestInvalidFiles parses testdata/invalid/NAME.yaml, with NAME.over.yaml over it where there is one.
func TestInvalidFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".over.yaml") {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			var sources []Source
			for _, n := range []string{name, strings.TrimSuffix(name, ".yaml") + ".over.yaml"} {
				data, err := os.ReadFile(n)
				if err != nil {
					continue
				}
				sources = append(sources, Source{filepath.Base(n), data})
			}
			sys, err := Parse(sources...)
			var problems Errors
			if sys != nil || !errors.As(err, &problems) {
				t.Fatalf("got %v, %v", sys, err)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}
