package load

import "testing"

// heavy skips a test that computes for long on one goroutine where the race detector, which has nothing to find in it,
// would make it take ten times as long.
func heavy(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("one goroutine that computes: it is run without the race detector")
	}
}
