package queueing

import "testing"

// heavy skips a test that takes long under the race detector, which has nothing to find in a package of one goroutine.
// 'go test ./queueing' runs it.
func heavy(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("works long on one goroutine: run without -race")
	}
}
