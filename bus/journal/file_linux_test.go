package journal

import (
	"bytes"
	"path/filepath"
	"testing"
)

func TestZerosAheadSpareWhatIsWritten(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const room = 3 * aheadBytes
	f.Allocate(room)
	want := bytes.Repeat([]byte("0123456789abcdef!"), room/17)
	for at := 0; at < len(want); at += 40_000 {
		if _, err := f.WriteAt(want[at:min(at+40_000, len(want))], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was written is not there: %v", err)
	}
	if own := f.(*file); own.room > 0 && own.filled < int64(len(want)) { // the file system may not set room aside
		t.Fatalf("of %d bytes zeros were written up to %d only", len(want), own.filled)
	}
	if n, _ := f.ReadAt(make([]byte, 1), room); n > 0 {
		t.Fatal("more was written than was set aside")
	}
}
