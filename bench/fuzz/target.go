package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// target is one fuzz target, and what came of it so far.
type target struct {
	dir, name string
	ran       time.Duration // as the fuzzer itself counts, without building
	cpu       time.Duration
	execs     int64
	found     int64  // inputs that reached something new
	failure   string // what it printed when it failed; empty: it has not
	hung      int    // how often an input was taken to hang that passed when it was run again
}

// slack is how much longer than its time a run may take, for the seeds and for ending.
const slack = 2 * time.Minute

// command is a command of go in a group of its own, all of which ends with ctx.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// build builds a package's tests as the fuzzer needs them, so that no run's time goes by for it.
func build(ctx context.Context, dir string) error {
	out, err := command(ctx, "test", "-c", "-fuzz", "Fuzz", "-o", os.DevNull, "./"+dir).CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("building the tests of %s: %w\n%s", dir, err, out)
	}
	return nil
}

// maxHung bounds how often an input of a target that was taken to hang may turn out not to.
const maxHung = 20

// fuzz gives the target its turn. An error means that it could not be run.
//
// Testing gives an input ten seconds by the clock, and takes one that was under way while others had the processor for one that
// hangs. So what is said to hang is run again by itself; where it ends, the turn goes on.
func (t *target) fuzz(ctx context.Context, each time.Duration) error {
	for turn := t.ran + each; ctx.Err() == nil && t.failure == ""; {
		err := t.some(ctx, turn-t.ran)
		if err != nil || t.failure == "" || t.hung == maxHung || !t.onlyLate(ctx) {
			return err
		}
		t.hung++
		t.failure = ""
		if turn-t.ran < time.Second {
			return nil
		}
	}
	return nil
}

var written = regexp.MustCompile(`Failing input written to (testdata/fuzz/\w+/[0-9a-f]+)\n`)

// onlyLate reports whether the failure is one of an input that passes when it is run again. Such an input is forgotten.
func (t *target) onlyLate(ctx context.Context) bool {
	input := written.FindStringSubmatch(t.failure)
	if input == nil || !strings.Contains(t.failure, "fuzzing process hung or terminated unexpectedly") {
		return false
	}
	run := "^" + t.name + "$/^" + path.Base(input[1]) + "$"
	if command(ctx, "test", "-count=1", "-timeout", slack.String(), "-run", run, "./"+t.dir).Run() != nil {
		return false
	}
	return os.Remove(filepath.Join(t.dir, input[1])) == nil
}

// some fuzzes the target for a time.
func (t *target) some(ctx context.Context, each time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, each+slack)
	defer cancel()
	cmd := command(bounded, "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), "-parallel", "1", "./"+t.dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", t.name, err)
	}
	rest := t.follow(stdout)
	err = cmd.Wait()
	if cmd.ProcessState != nil {
		t.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case strings.Contains(rest, "context deadline exceeded") && !strings.Contains(rest, "Failing input"):
		return nil // the worker was late with its end, which the fuzzer takes for a failure on a busy machine
	case bounded.Err() != nil:
		t.failure = fmt.Sprintf("it did not end within %v of its time\n%s", slack, rest)
	default:
		t.failure = rest
	}
	return nil
}

var progress = regexp.MustCompile(`^fuzz: elapsed: (\S+), execs: (\d+) .*new interesting: (\d+) `)

// maxKept bounds what is kept of a failure.
const maxKept = 64 << 10

// follow reads what the fuzzer prints, adds its last figures, and returns the rest.
func (t *target) follow(r io.Reader) string {
	var rest strings.Builder
	var ran time.Duration
	var execs, found int64
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := progress.FindStringSubmatch(lines.Text())
		if m == nil {
			if rest.Len() < maxKept && !strings.HasPrefix(lines.Text(), "fuzz: elapsed:") {
				rest.WriteString(lines.Text() + "\n")
			}
			continue
		}
		// Where a figure cannot be read it stays as it was.
		if d, err := time.ParseDuration(m[1]); err == nil {
			ran = d
		}
		if n, err := strconv.ParseInt(m[2], 10, 64); err == nil {
			execs = n
		}
		if n, err := strconv.ParseInt(m[3], 10, 64); err == nil {
			found = n
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line that is too long
	t.ran, t.execs, t.found = t.ran+ran, t.execs+execs, t.found+found
	return rest.String()
}
