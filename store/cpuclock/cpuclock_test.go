package cpuclock

import "testing"

func TestOneInSoManyIsLookedAt(t *testing.T) {
	if _, ok := threadTime(); !ok {
		t.Skip("threads have no clocks here")
	}
	s := Sampler{Every: 4}
	looked, sum := 0, 1
	for range 400 {
		m := s.Begin()
		for i := range 10_000 {
			sum += i ^ sum
		}
		if d, ok := m.End(); ok {
			looked++
			if d <= 0 {
				t.Errorf("a piece of work took %v of CPU time", d)
			}
		}
	}
	if looked < 50 || looked > 150 {
		t.Errorf("looked at %d of 400 pieces, %d", looked, sum)
	}
	m := Sampler{Every: 1}.Begin()
	if _, ok := m.End(); !ok {
		t.Error("one in one was not looked at")
	}
}
