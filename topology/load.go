package topology

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSources is how many files one system may be put together from.
const maxSources = 64

// Source is one file's name and contents.
type Source struct {
	// Name of the file, as problems are to name it. Its folder is what relative paths in it start from.
	Name string
	// Data is the YAML.
	Data []byte
}

// Load reads a system from files: the first is the base, each further one an overlay on those before it. Maps are
// merged at every depth; scalars and lists are replaced; null takes a key away. Only 'routes' is merged by identity: an
// overlay's route changes the route of the same name, or else of the same method, host and path, and is added where
// there is none; and demands in an overlay with a 'calibration' replace those of the same route.
//
// The system is complete: defaults are filled in and every reference resolves. Relative paths stand relative to the
// folder of the first file, whichever file they were written in; Path makes them absolute.
//
// What is wrong with the files is returned as Errors, all of it at once; a file that cannot be read as an error of its own.
func Load(files ...string) (*System, error) { return LoadOver(files) }

// LoadOver is Load with overlays that stand in no file, such as what a command's flags say, laid over the last.
func LoadOver(files []string, overlays ...Source) (*System, error) {
	if len(files) == 0 {
		return nil, errors.New("no topology file was named")
	}
	if len(files)+len(overlays) > maxSources {
		return nil, fmt.Errorf("%d topology files were named, at most %d can be merged", len(files), maxSources)
	}
	dir, err := filepath.Abs(filepath.Dir(files[0]))
	if err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", files[0], err)
	}
	sources := make([]Source, len(files))
	folders := make([]string, len(files))
	for i, name := range files {
		data, err := readBounded(name)
		if tooLarge := (Errors)(nil); errors.As(err, &tooLarge) {
			return nil, tooLarge
		}
		if err != nil {
			return nil, fmt.Errorf("reading the topology: %w", err)
		}
		sources[i] = Source{Name: name, Data: data}
		if folders[i], err = filepath.Abs(filepath.Dir(name)); err != nil {
			return nil, fmt.Errorf("finding the folder of %s: %w", name, err)
		}
	}
	for _, o := range overlays {
		sources, folders = append(sources, o), append(folders, dir)
	}
	return parse(sources, folders, dir)
}

// readBounded reads a file, but not more of it than one byte over what is allowed: Parse names the problem.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder, not a file", name)
	}
	if info.Mode().IsRegular() && info.Size() > maxFileBytes {
		return nil, Errors{tooLarge(name, info.Size())}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, Errors{tooLarge(name, int64(len(data)))}
	}
	return data, nil
}

func tooLarge(name string, size int64) Problem {
	return Problem{
		File:     name,
		Message:  fmt.Sprintf("the file is too large: %v", Bytes(size)),
		Expected: fmt.Sprintf("at most %v", Bytes(maxFileBytes)),
	}
}

// Parse reads a system from sources as Load does, but touches no file: the folder of the first source's name, as it is
// written, becomes the system's Dir.
func Parse(sources ...Source) (*System, error) {
	if len(sources) == 0 {
		return nil, errors.New("no topology was given")
	}
	if len(sources) > maxSources {
		return nil, fmt.Errorf("%d topologies were given, at most %d can be merged", len(sources), maxSources)
	}
	folders := make([]string, len(sources))
	for i, src := range sources {
		folders[i] = filepath.Dir(src.Name)
	}
	return parse(sources, folders, folders[0])
}

// parse does the work of Load and Parse. folders are those of the sources.
func parse(sources []Source, folders []string, dir string) (*System, error) {
	ps := &problems{}
	var root *node
	whole := true
	for i, src := range sources {
		tree := parseYAML(i, src, ps)
		switch {
		case tree == nil:
			whole = false
		case root == nil:
			root = tree
		default:
			root = overlaySystem(root, tree)
		}
	}
	if !whole {
		return nil, ps.err()
	}
	d := newDecoder(sources, folders, ps)
	sys := d.system(root)
	if d.visits > maxVisits {
		return nil, ps.err() // not all of it was decoded
	}
	sys.Dir = dir
	complete(sys, d)
	check(sys, d)
	if err := ps.err(); err != nil {
		return nil, err
	}
	return sys, nil
}

// Path returns a path of the file (of a build folder, a contract, a trace) made absolute, or at least relative to what
// Dir is relative to. An empty path gives Dir itself.
func (s *System) Path(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.Dir, path)
}
