package main

import (
	"strings"
	"testing"
)

// The command works with every policy and prints a line for each.
func TestEveryPolicy(t *testing.T) {
	var out strings.Builder
	args := strings.Fields("-backends 3 -service 100us -rate 300 -duration 150ms -rounds 1 -policies all")
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3+10 {
		t.Fatalf("%s", out.String())
	}
	for _, line := range lines[3:] {
		if fields := strings.Fields(line); len(fields) != 8 || fields[7] != "0" || fields[1] == "0" {
			t.Errorf("%s", line)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range []string{"-backends 0", "-rate x", "-duration 2h", "-policies fastest"} {
		if err := run(t.Context(), strings.Fields(args), new(strings.Builder)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
