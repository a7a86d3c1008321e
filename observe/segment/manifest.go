package segment

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// manifest says which segments count, and how far the log has gone into them. It is replaced as a whole; a first line has the
// checksum of the rest, which is JSON.
type manifest struct {
	Version int `json:"version"`
	// Sealed is the number of the last record of the log that is in segments.
	Sealed uint64 `json:"sealed"`
	// Next is the number of the next segment.
	Next     uint64    `json:"next"`
	Segments []segInfo `json:"segments"`
}

// segInfo is what is known of a segment without opening it.
type segInfo struct {
	File    string `json:"file"` // from the store's directory
	Bytes   int64  `json:"bytes"`
	Records int    `json:"records"`
	MinTime int64  `json:"min_time"`
	MaxTime int64  `json:"max_time"`
}

const (
	manifestName    = "manifest"
	manifestVersion = 1
)

func readManifest(fsys vfs.FS, dir string) (manifest, error) {
	m := manifest{Version: manifestVersion, Next: 1}
	path := fsys.PathJoin(dir, manifestName)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	} else if err != nil {
		return m, fmt.Errorf("opening the manifest: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return m, fmt.Errorf("reading %s: %w", path, err)
	}
	sum, text, _ := strings.Cut(string(data), "\n")
	if sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)) {
		return m, fmt.Errorf("%s is damaged: its checksum does not fit", path)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("reading %s: %w", path, err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("%s has format %d: this program reads format %d", path, m.Version, manifestVersion)
	}
	return m, nil
}

func writeManifest(fsys vfs.FS, dir string, m manifest) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	data := fmt.Appendf(nil, "%08x\n%s", crc32.Checksum(text, castagnoli), text)
	if err := writeWhole(fsys, fsys.PathJoin(dir, manifestName), data); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// writeWhole replaces a file: a crash leaves the old or the new one.
func writeWhole(fsys vfs.FS, path string, data []byte) error {
	f, err := fsys.Create(path+".new", diskWrites)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(fsys, fsys.PathDir(path))
}
