package orchestrate

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"go/version"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// goLimits returns the variables that tell a Go program of its limits.
//
// GOMAXPROCS: a Go runtime from 1.25 on takes the CPU limit from its control group and follows when it changes, but
// only while GOMAXPROCS is not set. So it is set only where there is no such group to follow, or where the program is
// known to be of an older Go.
//
// GOMEMLIMIT: no runtime reads the memory limit by itself. Nine tenths of it, so that the collector works harder
// before the kernel kills.
func goLimits(l limits, kept bool, program string) []string {
	var env []string
	if l.cpu > 0 && (!kept || ignoresCgroup(program)) {
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", max(1, int(math.Ceil(float64(l.cpu))))))
	}
	if l.memory > 0 {
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", int64(l.memory)/10*9))
	}
	return env
}

// ignoresCgroup reports whether the program is known to be of a Go that does not follow CPU limits.
func ignoresCgroup(program string) bool {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return false // not Go: GOMAXPROCS means nothing to it
	}
	goVersion, _, _ := strings.Cut(info.GoVersion, " ")
	if version.IsValid(goVersion) && version.Compare(goVersion, "go1.25") < 0 {
		return true
	}
	for _, s := range info.Settings {
		if s.Key == "DefaultGODEBUG" {
			// A module that says an older go line gets the older behaviour from a newer toolchain as well.
			return slices.Contains(strings.Split(s.Value, ","), "containermaxprocs=0")
		}
	}
	return false
}

// surroundings is what a replica's environment is made of.
type surroundings struct {
	service, replica, instance string
	run                        string // value of BANYAN_RUN
	port                       int
	data                       string
	program                    string // "" where it is not known yet
	limits                     limits
	kept                       bool              // limits are kept by a control group
	app                        []string          // from Config.Env
	own                        map[string]string // from the service's env
}

// environment builds a replica's environment: the user's, ours, the app's, the service's own; later ones win.
func (s surroundings) environment() ([]string, error) {
	env := newEnvSet()
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BANYAN_") {
			env.add(e)
		}
	}
	for _, e := range goLimits(s.limits, s.kept, s.program) {
		env.add(e)
	}
	for _, e := range []string{
		"PORT=" + strconv.Itoa(s.port),
		"BANYAN_SERVICE=" + s.service,
		"BANYAN_REPLICA=" + s.replica,
		"BANYAN_DATA=" + s.data,
		envRun + "=" + s.run,
		envInstance + "=" + s.instance,
	} {
		env.add(e)
	}
	for _, e := range s.app {
		env.add(e)
	}
	base := env.clone()
	for _, name := range sortedKeys(s.own) {
		value, err := expandOwn(name, s.own, base, nil)
		if err != nil {
			return nil, fmt.Errorf("env: %w", err)
		}
		env.add(name + "=" + value)
	}
	// The marker by which orphans are found is nobody's to change.
	env.add(envRun + "=" + s.run)
	env.add(envInstance + "=" + s.instance)
	return env.list(), nil
}

// expandOwn expands one of the service's own variables: ${X} is another of them, or one of the base environment.
func expandOwn(name string, own map[string]string, base *envSet, open []string) (string, error) {
	open = append(open, name)
	return expand(own[name], func(v string) (string, bool, error) {
		if _, ok := own[v]; ok && !slices.Contains(open, v) {
			value, err := expandOwn(v, own, base, open)
			return value, true, err
		}
		value, ok := base.get(v)
		return value, ok, nil
	})
}

// expand replaces each ${NAME} in s. A name that lookup does not know is an error; every other use of $ stays.
func expand(s string, lookup func(name string) (value string, ok bool, err error)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !isEnvName(name) {
			b.WriteString("${")
			s = rest
			continue
		}
		value, ok, err := lookup(name)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", fmt.Errorf("${%s} is not in the replica's environment", name)
		}
		if b.Len()+len(value) > 1<<20 {
			return "", errors.New("the value grows beyond 1 MiB")
		}
		b.WriteString(value)
		s = after
	}
}

func isEnvName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// commandLine expands the words of a command in the environment.
func commandLine(words topology.Command, env []string) ([]string, error) {
	set := newEnvSet()
	for _, e := range env {
		set.add(e)
	}
	argv := make([]string, len(words))
	for i, w := range words {
		var err error
		argv[i], err = expand(w, func(name string) (string, bool, error) {
			v, ok := set.get(name)
			return v, ok, nil
		})
		if err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
	}
	return argv, nil
}

// findProgram finds the file that a command's first word names: relative to the working folder if it has a slash,
// else in the replica's PATH.
func findProgram(word, dir string, env []string) (string, error) {
	if word == "" {
		return "", fmt.Errorf("%w: run: the command is empty", errStart)
	}
	if strings.Contains(word, "/") {
		path := word
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if err := executable(path); err != nil {
			return "", fmt.Errorf("%w: run: %w", errStart, err)
		}
		return path, nil
	}
	set := newEnvSet()
	for _, e := range env {
		set.add(e)
	}
	list, _ := set.get("PATH")
	for _, folder := range filepath.SplitList(list) {
		if !filepath.IsAbs(folder) {
			continue // the working folder is never searched by accident
		}
		if path := filepath.Join(folder, word); executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: run: no program %q in PATH", errStart, word)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder, not a program", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	return nil
}

// envSet is an environment in which later values win, in order of first appearance.
type envSet struct {
	names  []string
	values map[string]string
}

func newEnvSet() *envSet { return &envSet{values: make(map[string]string)} }

func (e *envSet) add(entry string) {
	name, value, ok := strings.Cut(entry, "=")
	if !ok || name == "" {
		return
	}
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *envSet) get(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

func (e *envSet) clone() *envSet {
	c := newEnvSet()
	for _, entry := range e.list() {
		c.add(entry)
	}
	return c
}

func (e *envSet) list() []string {
	list := make([]string, len(e.names))
	for i, name := range e.names {
		list[i] = name + "=" + e.values[name]
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
