package policy

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestRestart(t *testing.T) {
	const ms = time.Millisecond
	cfg := topology.Restart{
		Min: topology.Duration(100 * ms), Max: topology.Duration(time.Second),
		Reset: topology.Duration(30 * time.Second), CrashLoop: 3,
	}
	r := NewRestart(cfg)
	for i, c := range []struct {
		ran   time.Duration
		pause time.Duration
		loop  bool
	}{
		{time.Hour, 0, false},
		{0, 100 * ms, false},
		{29 * time.Second, 200 * ms, true},
		{ms, 400 * ms, true},
		{ms, 800 * ms, true},
		{ms, 1000 * ms, true},
		{ms, 1000 * ms, true},
		{30 * time.Second, 0, false},
		{ms, 100 * ms, false},
	} {
		if got := r.Exited(c.ran); got != c.pause || r.CrashLooping() != c.loop {
			t.Fatalf("exit %d: pause %v, crash loop %v; want %v, %v", i, got, r.CrashLooping(), c.pause, c.loop)
		}
	}
	r.Exited(ms)
	if !r.CrashLooping() || r.Exits() != 3 {
		t.Fatalf("crash loop %v after %d exits", r.CrashLooping(), r.Exits())
	}
	r.Running(29 * time.Second)
	if !r.CrashLooping() {
		t.Error("crash loop forgotten before the reset time")
	}
	r.Running(30 * time.Second)
	if r.CrashLooping() || r.Exits() != 0 {
		t.Error("crash loop remembered after the reset time")
	}
}

func TestRestartNeverOverflows(t *testing.T) {
	r := NewRestart(topology.Restart{Min: 3, Max: math.MaxInt64, Reset: math.MaxInt64})
	last := time.Duration(0)
	for i := range 200 {
		d := r.Exited(0)
		if d < last || d < 0 {
			t.Fatalf("pause %d shrank from %v to %v", i, last, d)
		}
		last = d
	}
	if last != math.MaxInt64 || r.CrashLooping() {
		t.Errorf("last pause %v, crash loop %v", last, r.CrashLooping())
	}
	zero := NewRestart(topology.Restart{})
	for range 3 {
		if d := zero.Exited(0); d != 0 {
			t.Errorf("zero configuration: pause %v, want none", d)
		}
	}
}
