package orchestrate

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// revision is one version of a service's program. What 'build' made is pinned by a hard link when the revision begins,
// so that a replica of an older revision that crashes while a newer one is rolled out comes back as what it was, and a
// failed replacement has something to return to.
type revision struct {
	number  int
	program string // pinned; "" for a service without 'build', or if it was not built when the revision began
}

// binPath is where Build puts a service's program.
func binPath(dir, service string) string { return filepath.Join(dir, "bin", service) }

// pin links the service's program to a name that only this revision has.
func (r *revision) pin(dir, service string) error {
	if r.program != "" {
		return nil
	}
	source := binPath(dir, service)
	if err := executable(source); err != nil {
		return fmt.Errorf("%w: its program was not built: %w", errStart, err)
	}
	folder := filepath.Join(dir, "run", exeFolder, service+"-"+strconv.Itoa(r.number))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("keep its program: %w", err)
	}
	program := filepath.Join(folder, service)
	_ = os.Remove(program)
	if err := os.Link(source, program); err != nil {
		return fmt.Errorf("keep its program: %w", err)
	}
	r.program = program
	return nil
}

func (r *revision) unpin() {
	if r.program != "" {
		_ = os.RemoveAll(filepath.Dir(r.program))
	}
}
