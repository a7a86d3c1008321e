//go:build !linux

package reactor

// CalmMonitor does nothing on this platform.
func CalmMonitor() {}
