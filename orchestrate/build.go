package orchestrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// BuildStep is one call of the go command: it makes the programs of one or more services.
type BuildStep struct {
	Services []string
	Done     bool // false when it begins, true when it has ended
	Took     time.Duration
	Err      error
}

// BuildError says that the program of a service could not be built.
type BuildError struct {
	Services []string
	Output   string // the compiler's lines, without what surrounds them
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("build %s:\n%s", strings.Join(e.Services, ", "), e.Output)
}

// program is a main package that one or more services run.
type program struct {
	folder   string // absolute
	module   string // folder of its go.mod
	base     string // name that the go command gives to what it builds
	services []string
}

// Build makes the programs of all services that have 'build', in Dir/bin/SERVICE. Programs of one module are built by
// one call of the go command, which skips what is up to date. progress, which may be nil, is told of each call before
// and after it. Errors of the source are *BuildErrors, of all calls together. Running replicas keep what they run;
// Restart replaces them.
func (o *Orchestrator) Build(ctx context.Context, progress func(BuildStep)) error {
	programs, err := o.programs()
	if err != nil || len(programs) == 0 {
		return err
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("build %s: the go command is not in PATH; install Go, or give the services 'run' instead of 'build'",
			strings.Join(programs[0].services, ", "))
	}
	if progress == nil {
		progress = func(BuildStep) {}
	}
	b := builder{goTool: goTool, root: o.cfg.Root, dir: o.cfg.Dir}
	if err := b.nameAll(ctx, programs); err != nil {
		return err
	}
	var failed []error
	for _, batch := range batches(programs) {
		step := BuildStep{}
		for _, p := range batch {
			step.Services = append(step.Services, p.services...)
		}
		slices.Sort(step.Services)
		progress(step)
		began := time.Now()
		step.Err = b.build(ctx, batch, step.Services)
		step.Done, step.Took = true, time.Since(began)
		progress(step)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if step.Err != nil {
			failed = append(failed, step.Err)
		}
	}
	return errors.Join(failed...)
}

// programs lists what is to be built, each folder once, in order of folder.
func (o *Orchestrator) programs() ([]*program, error) {
	byFolder := make(map[string]*program)
	for _, name := range sortedKeys(o.cfg.System.Services) {
		svc := o.cfg.System.Services[name]
		if svc.Build == "" {
			continue
		}
		folder := absolute(o.cfg.Root, svc.Build)
		if info, err := os.Stat(folder); err != nil {
			return nil, fmt.Errorf("services.%s.build: %w", name, err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("services.%s.build: %s is not a folder", name, folder)
		}
		p := byFolder[folder]
		if p == nil {
			p = &program{folder: folder, module: moduleFolder(folder)}
			byFolder[folder] = p
		}
		p.services = append(p.services, name)
	}
	list := make([]*program, 0, len(byFolder))
	for _, folder := range sortedKeys(byFolder) {
		list = append(list, byFolder[folder])
	}
	return list, nil
}

// moduleFolder returns the nearest folder upwards that has a go.mod, else the folder itself.
func moduleFolder(folder string) string {
	for dir := folder; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return folder
		}
	}
}

// batches groups programs by module, no two of the same base name in one.
func batches(programs []*program) [][]*program {
	var list [][]*program
next:
	for _, p := range programs {
		for i, batch := range list {
			clash := func(q *program) bool { return q.base == p.base }
			if batch[0].module == p.module && !slices.ContainsFunc(batch, clash) {
				list[i] = append(batch, p)
				continue next
			}
		}
		list = append(list, []*program{p})
	}
	return list
}

type builder struct{ goTool, root, dir string }

// workdir is where the go command is called: beside the topology file if that is inside the module, so that the
// compiler names files as seen from there.
func (b builder) workdir(module string) string {
	if moduleFolder(b.root) == module {
		return b.root
	}
	return module
}

// nameAll asks the go command what each folder's program is called.
func (b builder) nameAll(ctx context.Context, programs []*program) error {
	byModule := make(map[string][]*program)
	for _, p := range programs {
		byModule[p.module] = append(byModule[p.module], p)
	}
	for _, module := range sortedKeys(byModule) {
		group := byModule[module]
		args := []string{"list", "-e", "-json=Dir,Name,ImportPath,Target,Error"}
		for _, p := range group {
			args = append(args, relativePackage(b.workdir(module), p.folder))
		}
		out, errOut, err := b.run(ctx, b.workdir(module), args)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return b.failure(servicesOf(group), errOut, err)
		}
		if err := readPackages(out, group); err != nil {
			return err
		}
	}
	return nil
}

func readPackages(out []byte, group []*program) error {
	byFolder := make(map[string]*program)
	for _, p := range group {
		byFolder[p.folder] = p
		if real, err := filepath.EvalSymlinks(p.folder); err == nil {
			byFolder[real] = p
		}
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Dir, Name, ImportPath, Target string
			Error                         *struct{ Err string }
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("build: read what 'go list' says: %w", err)
		}
		p := byFolder[pkg.Dir]
		switch {
		case p == nil && pkg.Error != nil:
			return &BuildError{servicesOf(group), pkg.Error.Err}
		case p == nil:
			continue
		case pkg.Name == "" && pkg.Error != nil:
			return &BuildError{p.services, pkg.Error.Err}
		case pkg.Name != "main":
			return &BuildError{p.services, fmt.Sprintf("%s is package %s, not a program (package main)", pkg.Dir, pkg.Name)}
		}
		p.base = filepath.Base(cmp.Or(pkg.Target, pkg.ImportPath))
	}
	for _, p := range group {
		if p.base == "" {
			return &BuildError{p.services, p.folder + " is not a Go package"}
		}
	}
	return nil
}

func servicesOf(programs []*program) []string {
	var names []string
	for _, p := range programs {
		names = append(names, p.services...)
	}
	slices.Sort(names)
	return names
}

func relativePackage(module, folder string) string {
	rel, err := filepath.Rel(module, folder)
	if err != nil {
		return folder
	}
	return "./" + filepath.ToSlash(rel)
}

// build makes the programs of one batch. They are made in a folder that stays, where the go command finds what is up
// to date, and linked from there to the services' names.
func (b builder) build(ctx context.Context, batch []*program, services []string) error {
	var key strings.Builder
	key.WriteString(batch[0].module)
	for _, p := range batch {
		key.WriteString("\x00" + p.base)
	}
	sum := sha256.Sum256([]byte(key.String()))
	staging := filepath.Join(b.dir, "bin", ".build", hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(staging, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", strings.Join(services, ", "), err)
	}
	args := []string{"build", "-o", staging + string(filepath.Separator)}
	for _, p := range batch {
		args = append(args, relativePackage(b.workdir(batch[0].module), p.folder))
	}
	_, errOut, err := b.run(ctx, b.workdir(batch[0].module), args)
	if err != nil {
		return b.failure(services, errOut, err)
	}
	for _, p := range batch {
		for _, name := range p.services {
			if err := link(filepath.Join(staging, p.base), binPath(b.dir, name)); err != nil {
				return fmt.Errorf("build %s: %w", name, err)
			}
		}
	}
	return nil
}

// link makes name another name of the file, at once: there is no moment without a program.
func link(file, name string) error {
	from, err := os.Stat(file)
	if err != nil {
		return err
	}
	if to, err := os.Stat(name); err == nil && os.SameFile(from, to) {
		return nil
	}
	fresh := filepath.Join(filepath.Dir(file), ".new-"+filepath.Base(name))
	_ = os.Remove(fresh)
	if err := os.Link(file, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, name)
}

// maxBuildOutput bounds what is kept of the go command's output, in bytes.
const maxBuildOutput = 1 << 20

// run calls the go command; when ctx ends it is killed with the compilers it has started.
func (b builder) run(ctx context.Context, folder string, args []string) (out, errOut []byte, err error) {
	cmd := exec.CommandContext(ctx, b.goTool, args...)
	cmd.Dir = folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.data, stderr.data, err
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ data []byte }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxBuildOutput - len(b.data); room > 0 {
		b.data = append(b.data, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// maxBuildLines bounds what is shown of a failed build.
const maxBuildLines = 20

func (b builder) failure(services []string, output []byte, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("build %s: %w", strings.Join(services, ", "), err)
	}
	lines := compilerLines(string(output))
	if len(lines) == 0 {
		lines = []string{"the go command failed: " + err.Error()}
	}
	return &BuildError{services, strings.Join(lines, "\n")}
}

// compilerLines keeps the lines that say what is wrong: no package headers, no notes that there is more.
func compilerLines(output string) []string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "# "), strings.HasSuffix(line, "too many errors"),
			strings.HasPrefix(line, "go: downloading"):
			continue
		}
		if len(lines) == maxBuildLines {
			return append(lines, "...")
		}
		lines = append(lines, line)
	}
	return lines
}
