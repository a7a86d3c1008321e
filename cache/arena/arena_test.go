package arena

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Sizes are rounded up to that of a class, each class has one size, and little is lost.
func TestSizes(t *testing.T) {
	sizes := map[int]int{}
	for n := 1; n <= slabLimit; n++ {
		size, class := Size(n), classOf(n)
		if size < n || size > n+8 && float64(size) > 1.13*float64(n) {
			t.Fatalf("%d bytes take %d", n, size)
		}
		if class < 0 || class >= classes {
			t.Fatalf("%d bytes are of class %d", n, class)
		}
		if was, ok := sizes[class]; ok && was != size {
			t.Fatalf("class %d is of %d and of %d bytes", class, was, size)
		}
		sizes[class] = size
	}
	if len(sizes) != classes {
		t.Errorf("%d classes of %d are used", len(sizes), classes)
	}
}

// Blocks never overlap and keep what was written to them, whatever comes and goes; the counts are exact, and in the end
// nothing is left.
func TestBlocksKeepTheirContents(t *testing.T) {
	a, err := New(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	type block struct {
		ref  Ref
		n    int
		fill byte
	}
	var all []block
	want := int64(0)
	for i := range 20_000 {
		if len(all) > 0 && (rng.IntN(100) < 48 || len(all) > 1500) {
			k := rng.IntN(len(all))
			b := all[k]
			if got := a.Bytes(b.ref, b.n); !bytes.Equal(got, bytes.Repeat([]byte{b.fill}, b.n)) {
				t.Fatalf("step %d: a block of %d has lost its contents", i, b.n)
			}
			a.Free(b.ref, b.n)
			want -= int64(Size(b.n))
			all[k] = all[len(all)-1]
			all = all[:len(all)-1]
		} else {
			n := 1 + rng.IntN(300)
			switch rng.IntN(20) {
			case 0:
				n = 1 + rng.IntN(200_000)
			case 1, 2:
				n = 1 + rng.IntN(10_000)
			}
			b := block{n: n, fill: byte(rng.Uint32())}
			if rng.IntN(8) == 0 {
				b.ref = a.AllocZero(n)
				if !bytes.Equal(a.Bytes(b.ref, n), make([]byte, n)) {
					t.Fatalf("step %d: a new block of %d is not 0", i, n)
				}
			} else {
				b.ref = a.Alloc(n)
			}
			copy(a.Bytes(b.ref, n), bytes.Repeat([]byte{b.fill}, n))
			want += int64(Size(n))
			all = append(all, b)
		}
		if a.Used() != want || a.Blocks() != int64(len(all)) {
			t.Fatalf("step %d: %d bytes in %d blocks, want %d in %d", i, a.Used(), a.Blocks(), want, len(all))
		}
	}
	for _, b := range all {
		a.Free(b.ref, b.n)
	}
	if a.Used() != 0 || a.Blocks() != 0 {
		t.Errorf("in the end %d bytes in %d blocks", a.Used(), a.Blocks())
	}
	if a.Resident() > 8<<20 {
		t.Errorf("in the end %d bytes are still resident", a.Resident())
	}
}

// A run that came back is used again before the arena grows.
func TestRunsAreJoined(t *testing.T) {
	a, err := New(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 1000 { // 1,000 times 3 MiB would not fit
		x, y, z := a.Alloc(1<<20), a.Alloc(1<<20), a.Alloc(1<<20)
		a.Free(y, 1<<20)
		a.Free(x, 1<<20)
		a.Free(z, 1<<20)
		w := a.Alloc(3 << 20)
		a.Free(w, 3<<20)
	}
}
