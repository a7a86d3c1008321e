//go:build race

package replica

// raceDetector makes the simulation ten times slower, so that tests do less of it.
const raceDetector = true
