//go:build !unix

package arena

// Where addresses cannot be reserved, the arena is a piece of Go's heap that has no pointers.

func reserve(size int64) ([]byte, error) { return make([]byte, size), nil }

func commit([]byte) error { return nil }

func discard(b []byte) { clear(b) }

func release([]byte) error { return nil }
