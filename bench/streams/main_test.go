package main

import (
	"strings"
	"testing"
	"time"
)

// A short run: streams live through reloads, and what is reported is what was asked for.
func TestStreamsSurviveReloads(t *testing.T) {
	var out strings.Builder
	o := options{lasting: 1500 * time.Millisecond, reload: 50 * time.Millisecond, every: 10 * time.Millisecond, websockets: 6, calls: 6}
	if err := run(t.Context(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if got := out.String(); strings.Count(got, " 3         3 ") != 4 || strings.Contains(got, ", 0 reloads") {
		t.Errorf("got\n%s", got)
	}
}

func TestStreamsOptions(t *testing.T) {
	if err := run(t.Context(), options{lasting: time.Second, reload: time.Second, every: time.Second}, &strings.Builder{}); err == nil {
		t.Error("no streams are taken for some")
	}
}
