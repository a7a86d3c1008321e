package simulate

import "testing"

// heavy skips a test that draws millions of events on one goroutine under the race detector, which has nothing to find
// there and takes twenty times as long. 'go test ./simulate' runs it.
func heavy(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("draws millions of events: run without -race")
	}
}
