package plan

import (
	"strings"
	"testing"
)

// refusing has front's bound of 40 refuse half as many calls again as it lets in: they reach nobody and take next to no time.
func refusing(o *Observation, front *ObservedService) {
	front.Bound = 40
	for _, c := range []*ObservedCalls{&o.Routes[0], &o.Edges[0]} {
		c.Refused = 0.5 * c.Calls
		c.Calls += c.Refused
		c.Errors = c.Refused
		c.InFlight = 38
	}
}

func TestABoundIsASymptomOfWhatIsBehindIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		cause   Class // empty: none is found
		service string
		says    string
		change  func(o *Observation, front, store *ObservedService)
	}{
		{"the machine is full", ClassCPU, Machine, "gateway uses most of them", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.1, 0.06, 0)
			o.Busy, o.GatewayCPU, front.Replicas[0].CPU, store.Replicas[0].CPU = 3.9, 3.4, 0.25, 0.25
		}},
		{"the machine is full of others", ClassCPU, Machine, "others 3.65", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.1, 0.06, 0.5) // as irregular as behind a lock
			o.Busy = 3.9
		}},
		{"a lock further down", ClassLock, "store", "", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.03, 0.007, 0.4) }},
		{"a slow dependency", ClassDownstream, "store", "", func(o *Observation, front, store *ObservedService) { slower(o, front, store, 0.2, 0.19, 0) }},
		{"CPU of the service itself", ClassCPU, "front", "", func(o *Observation, front, store *ObservedService) {
			front.Replicas[0].CPU, front.Replicas[0].Time, o.Busy = 3, 20, 3.2
			o.Routes[0].Time, o.Edges[0].Time = 20.2, 20.2
		}},
		{"weak", ClassDownstream, "store", "", func(o *Observation, front, store *ObservedService) {
			slower(o, front, store, 0.0032, 0.003, 0)
			o.Routes[0].Time *= 1.35 // a score of 0.13
		}},
		{"nothing", "", "", "nothing behind it is near its limit", func(*Observation, *ObservedService, *ObservedService) {}},
		{"elsewhere", "", "", "nothing behind it is near its limit", func(o *Observation, front, store *ObservedService) {
			o.Edges[1].From = "batch" // front does not call it
			slower(o, front, store, 0.2, 0.19, 0)
			o.Edges[0].Time, front.Replicas[0].Time = 4.2, 4
			front.Replicas[0].P5, front.Replicas[0].P50 = 0.003, 0.004
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := frontAndStore(func(o *Observation, front, store *ObservedService) {
				c.change(o, front, store)
				refusing(o, front)
			})
			found, err := Bottlenecks(o)
			if err != nil {
				t.Fatal(err)
			}
			at := -1
			for i, f := range found {
				if f.Class == ClassBound {
					at = i
				}
			}
			if at < 0 || found[at].Service != "front" {
				t.Fatalf("the bound is not told of: %+v", found)
			}
			evidence := strings.Join(found[at].Evidence, "\n")
			for _, want := range []string{"50.0 calls a second are refused, 33% of those that come", "lets 40 requests in at once, and 38.0 are there"} {
				if !strings.Contains(evidence, want) {
					t.Errorf("the evidence has no %q: %q", want, evidence)
				}
			}
			if c.says != "" {
				var all string
				for _, f := range found {
					all += strings.Join(f.Evidence, "\n")
				}
				if !strings.Contains(all, c.says) {
					t.Errorf("nothing says %q: %q", c.says, all)
				}
			}
			if c.cause == "" {
				return
			}
			if f := found[0]; f.Class != c.cause || f.Service != c.service || f.Score < leastScore || f.Score <= found[at].Score {
				t.Fatalf("first is %s at %s (%.2f), want %s at %s before the bound (%.2f): %q", f.Class, f.Service, f.Score, c.cause, c.service, found[at].Score, f.Evidence)
			}
			if want := "what is short behind it: " + string(c.cause) + " at " + c.service; !strings.Contains(evidence, want) {
				t.Errorf("the evidence has no %q: %q", want, evidence)
			}
		})
	}
}

// Whatever share is refused, what is found of the rest is what it would be without the refused: means, tries for a call, lines.
func TestRefusalsDoNotHideWhatIsBehind(t *testing.T) {
	retried := func(o *Observation, front, store *ObservedService) {
		r := &front.Replicas[0]
		r.Time, r.Tries, r.Failed = r.Time*1.6, r.Tries*1.6, 0.6*r.Tries
	}
	plain, err := Bottlenecks(frontAndStore(retried))
	if err != nil {
		t.Fatal(err)
	}
	found, err := Bottlenecks(frontAndStore(func(o *Observation, front, store *ObservedService) {
		retried(o, front, store)
		refusing(o, front)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if len(plain) != 1 || len(found) != 2 || found[0].Class != ClassRetry || found[0].Mean != plain[0].Mean || found[0].Evidence[0] != plain[0].Evidence[0] {
		t.Errorf("without refusals %+v\nwith %+v", plain, found)
	}
}

func TestABoundThatHardlyRefusesIsNotTold(t *testing.T) {
	found, err := Bottlenecks(frontAndStore(func(o *Observation, front, _ *ObservedService) {
		front.Bound = 40
		o.Edges[0].Refused = 0.005 * o.Edges[0].Calls
	}))
	if err != nil || len(found) > 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	bursts, err := Bottlenecks(frontAndStore(func(o *Observation, front, _ *ObservedService) {
		front.Bound = 40
		o.Edges[0].Refused = 0.05 * o.Edges[0].Calls
	}))
	if err != nil || len(bursts) != 1 || !strings.Contains(strings.Join(bursts[0].Evidence, "\n"), "full in bursts") {
		t.Errorf("found %+v, %v", bursts, err)
	}
	if _, err := Bottlenecks(frontAndStore(func(o *Observation, _, _ *ObservedService) { o.Edges[0].Refused = 2 * o.Edges[0].Calls })); err == nil {
		t.Error("more refused than came: no error")
	}
}
