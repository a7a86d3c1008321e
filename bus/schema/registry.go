package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/atomicfile"
)

// maxVersions bounds those of one topic.
const maxVersions = 1000

// Version of a topic's schema.
type Version struct {
	Version int             `json:"version"`
	At      time.Time       `json:"at"`
	Schema  json.RawMessage `json:"schema"`
	// Format of the schema, which is a string then. Empty: JSON Schema.
	Format string `json:"format,omitempty"`
}

// Registry of the schemas of topics.
type Registry struct {
	dir string

	mu     sync.Mutex
	topics map[string]*topic
}

// topic is what is known of one. A nil latest: it has no schema.
type topic struct {
	versions []Version
	latest   *Schema
}

// Open reads what is stored in a folder, which need not be there yet.
func Open(dir string) (*Registry, error) {
	r := &Registry{dir: dir, topics: map[string]*topic{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a schema: %w", err)
		}
		if err := r.load(strings.TrimSuffix(filepath.Base(file), ".json"), text); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return r, nil
}

func (r *Registry) load(name string, text []byte) error {
	t := &topic{}
	if err := json.Unmarshal(text, &t.versions); err != nil {
		return err
	}
	if len(t.versions) == 0 {
		return errors.New("no version of a schema")
	}
	for i, v := range t.versions {
		if v.Version != i+1 {
			return fmt.Errorf("version %d stands where %d is expected", v.Version, i+1)
		}
	}
	var err error
	if t.latest, err = t.versions[len(t.versions)-1].parse(); err != nil {
		return err
	}
	r.topics[name] = t
	return nil
}

func (v Version) parse() (*Schema, error) {
	if v.Format != FormatProtobuf {
		return Parse(v.Schema)
	}
	var text string
	if err := json.Unmarshal(v.Schema, &text); err != nil {
		return nil, err
	}
	return parseProto([]byte(text))
}

// Latest is the schema that a topic's events must have now; nil if there is none.
func (r *Registry) Latest(name string) (*Schema, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		return nil, 0
	}
	return t.latest, len(t.versions)
}

// Versions of a topic's schema, oldest first.
func (r *Registry) Versions(name string) []Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.topics[name]; t != nil {
		return t.versions[:len(t.versions):len(t.versions)]
	}
	return nil
}

// Version of a topic's schema; with 0 the latest. The error is ErrNone.
func (r *Registry) Version(name string, n int) (Version, error) {
	all := r.Versions(name)
	if n == 0 {
		n = len(all)
	}
	if n < 1 || n > len(all) {
		return Version{}, fmt.Errorf("%w: version %d of the topic %s; it has %d", ErrNone, n, name, len(all))
	}
	return all[n-1], nil
}

// Test says why a schema could not follow a topic's latest one; empty if it can.
func (r *Registry) Test(name string, level Level, next *Schema) []string {
	latest, _ := r.Latest(name)
	if latest == nil || equal(latest.doc, next.doc) {
		return nil
	}
	return Breaks(level, latest, next)
}

// Register makes a schema the latest one of a topic, unless it is that already, and returns its version; made says whether it
// is new. The errors are ErrIncompatible, and those of the disk.
func (r *Registry) Register(name string, level Level, next *Schema, now time.Time) (version int, made bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[name]
	if t == nil {
		t = &topic{}
	}
	switch {
	case t.latest != nil && equal(t.latest.doc, next.doc):
		return len(t.versions), false, nil
	case len(t.versions) >= maxVersions:
		return 0, false, fmt.Errorf("%w: the topic %s has %d versions of its schema, which is the most that is kept", ErrInvalid, name, maxVersions)
	case t.latest != nil:
		if why := Breaks(level, t.latest, next); len(why) > 0 {
			return 0, false, fmt.Errorf("%w (%s, version %d): %s", ErrIncompatible, level, len(t.versions), oneLine(strings.Join(why, "; ")))
		}
	}
	v := Version{Version: len(t.versions) + 1, At: now.UTC().Truncate(time.Millisecond), Schema: next.text}
	if next.proto != nil {
		v.Format = FormatProtobuf
	}
	versions := append(t.versions[:len(t.versions):len(t.versions)], v)
	if err := r.store(name, versions); err != nil {
		return 0, false, fmt.Errorf("storing the schema of the topic %s: %w", name, err)
	}
	r.topics[name] = &topic{versions: versions, latest: next}
	return len(versions), true, nil
}

// store puts the versions of a topic in the place of those before, whole or not at all.
func (r *Registry) store(name string, versions []Version) error {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false) // so that schemas stand as they were sent
	if err := out.Encode(versions); err != nil {
		return err
	}
	return r.Restore(name, text.Bytes())
}

// Restore puts a stored file of a topic in its place, as Stored returned it. It is of use before the folder is opened.
func (r *Registry) Restore(name string, text []byte) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(r.dir, name+".json"), text, 0o600)
}

// Stored is the file of a topic, for a copy; nil if there is none.
func (r *Registry) Stored(name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(r.dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
