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
