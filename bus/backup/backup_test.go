package backup

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type frame struct {
	kind    Kind
	payload string
}

var frames = []frame{{Head, `{"a": 1}`}, {Queues, ""}, {Chunk, strings.Repeat("x", 3<<20)}, {Sum, "{}"}}

func written(t testing.TB, frames ...frame) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, f := range frames {
		if err := w.Write(f.kind, []byte(f.payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(p []byte) (all []frame, err error) {
	r, err := NewReader(bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	for {
		kind, payload, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, frame{kind, string(payload)})
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	got, err := read(written(t, frames...))
	if err != nil || len(got) != len(frames) {
		t.Fatal(len(got), err)
	}
	for i, f := range got {
		if f != frames[i] {
			t.Errorf("frame %d is %c of %d bytes", i, f.kind, len(f.payload))
		}
	}
	if err := NewWriter(io.Discard).Write(Chunk, make([]byte, maxFrame+1)); err == nil {
		t.Error("a frame that is too large is written")
	}
}

// A file that is cut off or changed anywhere, one that misses frames, and one with something behind it are all damaged.
func TestDamageIsFound(t *testing.T) {
	small := written(t, frame{Head, "head"}, frame{Queues, "one"}, frame{Queues, "two"})
	for n := range len(small) {
		if _, err := read(small[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off at byte %d: %v", n, err)
		}
		changed := bytes.Clone(small)
		changed[n] ^= 0x20
		if _, err := read(changed); !errors.Is(err, ErrDamaged) {
			t.Fatalf("changed at byte %d: %v", n, err)
		}
	}
	one := headBytes + 3 + 4
	from := len(magic) + headBytes + 4 + 4
	for name, p := range map[string][]byte{
		"added to":       append(bytes.Clone(small), 'x'),
		"without frames": append(bytes.Clone(small[:from]), small[from+one:]...),
		"frames swapped": bytes.Join([][]byte{small[:from], small[from+one : from+2*one], small[from : from+one], small[from+2*one:]}, nil),
		"empty":          nil,
		"two files":      append(bytes.Clone(small), small...),
	} {
		if _, err := read(p); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(written(f, frame{Head, "head"}, frame{Queues, "one"}))
	f.Add([]byte(magic + "C\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if got, err := read(p); err == nil && !bytes.Equal(written(t, got...), p) {
			t.Error("what was read is not what was written")
		}
	})
}
