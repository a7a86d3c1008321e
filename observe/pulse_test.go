package observe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPulsesAreTakenAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int64
		p := NewPulses(func() Pulse { calls++; return Pulse{At: time.Now(), Calls: calls} })
		if got := p.Between(time.Now(), time.Now().Add(time.Hour)); got != nil {
			t.Fatalf("empty history answers %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		start := time.Now()
		go func() { done <- p.Run(ctx) }()
		time.Sleep(2*time.Hour + PulseInterval/2)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(p.ring) != keepPulses {
			t.Fatalf("%d pulses are kept, want %d", len(p.ring), keepPulses)
		}
		got := p.Between(start.Add(90*time.Minute), start.Add(90*time.Minute+time.Second))
		if len(got) != 6 {
			t.Fatalf("a second holds %d pulses, want 6", len(got))
		}
		for i, pulse := range got {
			want := start.Add(90*time.Minute + time.Duration(i)*PulseInterval)
			if !pulse.At.Equal(want) || pulse.Calls != got[0].Calls+int64(i) {
				t.Errorf("pulse %d is %+v, want one at %v", i, pulse, want)
			}
		}
		if got := p.Between(start, start.Add(time.Minute)); got != nil {
			t.Errorf("what is long gone answers %d pulses", len(got))
		}
	})
}
