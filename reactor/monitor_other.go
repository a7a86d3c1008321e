//go:build !linux

package reactor

func calmMonitor() {}
