package main

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
)

func TestParseFault(t *testing.T) {
	for text, want := range map[string]simulate.Fault{
		"kill:catalog@10s":            {Kind: simulate.FaultKill, Service: "catalog", At: 10 * time.Second},
		"kill:catalog*2@10s+5s":       {Kind: simulate.FaultKill, Service: "catalog", Replicas: 2, At: 10 * time.Second, For: 5 * time.Second},
		"slow:web*1@1m+30sx4.5":       {Kind: simulate.FaultSlow, Service: "web", Replicas: 1, At: time.Minute, For: 30 * time.Second, Factor: 4.5},
		"errors:web@1s+2sx0.3":        {Kind: simulate.FaultErrors, Service: "web", At: time.Second, For: 2 * time.Second, Factor: 0.3},
		"stall:web*1@1s+2s":           {Kind: simulate.FaultStall, Service: "web", Replicas: 1, At: time.Second, For: 2 * time.Second},
		"isolate:web@1s":              {Kind: simulate.FaultIsolate, Service: "web", At: time.Second},
		"partition:web>cart@1s+500ms": {Kind: simulate.FaultPartition, From: "web", Service: "cart", At: time.Second, For: 500 * time.Millisecond},
	} {
		if got, ok := parseFault(text); !ok || got != want {
			t.Errorf("%s: %+v %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "kill", "kill:@1s", "kill:web", "kill:web@soon", "kill:web*0@1s", "kill:web@1sx2", "slow:web@1s", "melt:web@1s", "partition:web@1s"} {
		if _, ok := parseFault(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}

func TestFaultsOfZonesAndFailures(t *testing.T) {
	faults, err := parseFaults([]string{"isolate:*/2@20s+5s", "stall:catalog*1@3s+1s", "kill:**2/1@5s", "kill:tables.orders*1@1s"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []simulate.Fault{
		{Kind: simulate.FaultIsolate, Service: "*", Zone: 2, At: 20 * time.Second, For: 5 * time.Second},
		{Kind: simulate.FaultStall, Service: "catalog", Replicas: 1, At: 3 * time.Second, For: time.Second},
		{Kind: simulate.FaultKill, Service: "*", Replicas: 2, Zone: 1, At: 5 * time.Second},
		{Kind: simulate.FaultKill, Service: "tables.orders", Replicas: 1, At: time.Second},
	} {
		if faults[i] != want {
			t.Errorf("%+v, want %+v", faults[i], want)
		}
	}
	for _, wrong := range []string{"isolate:*x@1s", "stall:/0@1s", "kill:a/b@1s", "isolate:a@1sx3"} {
		if _, err := parseFaults([]string{wrong}); err == nil {
			t.Errorf("no error for %q", wrong)
		}
	}
	failures, err := parseFailures([]string{"catalog=1h/2m", "web=30s"})
	if err != nil || failures["catalog"] != (simulate.Failures{MTBF: time.Hour, MTTR: 2 * time.Minute}) || failures["web"].MTBF != 30*time.Second {
		t.Errorf("%v, %v", failures, err)
	}
	for _, wrong := range []string{"catalog", "=1h", "a=0s", "a=1h/x"} {
		if _, err := parseFailures([]string{wrong}); err == nil {
			t.Errorf("no error for %q", wrong)
		}
	}
}
