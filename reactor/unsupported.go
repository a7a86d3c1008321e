//go:build !(linux && (amd64 || arm64))

package reactor

// Supported reports whether this package works on this platform.
const Supported = false
