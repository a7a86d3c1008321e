package filter

import (
	"encoding/binary"
	"testing"
)

func key(i int) []byte { return binary.BigEndian.AppendUint64([]byte("k"), uint64(i)) }

// What was added is found, and little of what was not.
func TestFilter(t *testing.T) {
	for _, keys := range []int{0, 1, 100, 10_000} {
		f := New(keys)
		n := f.room
		if n < keys || f.Full() {
			t.Fatalf("for %d keys it has room for %d, full: %v", keys, n, f.Full())
		}
		for i := range n {
			if f.Full() {
				t.Fatalf("full after %d of %d keys", i, n)
			}
			f.Add(key(i))
		}
		if !f.Full() {
			t.Errorf("not full after %d keys", n)
		}
		for i := range n {
			if !f.Has(key(i)) {
				t.Fatalf("of %d keys %d is not there", n, i)
			}
		}
		wrong := 0
		for i := range 10_000 {
			if f.Has(key(n + i)) {
				wrong++
			}
		}
		if n > 50 && wrong > 100 {
			t.Errorf("of %d keys it takes %d of 10,000 others for its own", n, wrong)
		}
	}
}

func BenchmarkHas(b *testing.B) {
	f := New(1 << 15)
	for i := range 1 << 15 {
		f.Add(key(i))
	}
	k := key(-1)
	for b.Loop() {
		f.Has(k)
	}
}
