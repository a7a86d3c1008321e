package orchestrate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// First arguments with which the package starts its own executable.
const (
	shimExec  = "__exec"  // becomes a replica: __exec SLACK PATH ARGV0 ARGS..., SLACK in nanoseconds
	shimWatch = "__watch" // becomes the watchdog: __watch JSON
)

// File descriptors that the shim and the watchdog inherit.
const (
	fdRelease = 3 // read end: one byte lets the shim go on, end of file means that the supervisor is gone
	fdFailure = 4 // write end: why the program could not be executed
)

// selfExe is this program, even if its file was replaced or deleted since it was started.
const selfExe = "/proc/self/exe"

// IsShim reports whether this process was started by the package for its own purposes; args are os.Args. If so main
// must call ShimMain before anything else and exit with what it returns.
func IsShim(args []string) bool {
	return len(args) > 2 && (args[1] == shimExec || args[1] == shimWatch)
}

// ShimMain does what the package started this process for and returns its exit code. As the shim of a replica it does
// not return: the process becomes the replica's program.
func ShimMain(args []string) int {
	if !IsShim(args) {
		return 2
	}
	if args[1] == shimWatch {
		return watch(args[2])
	}
	err := execWhenReleased(args[2:])
	if err != nil {
		failure := os.NewFile(fdFailure, "failure")
		_, _ = fmt.Fprint(failure, err)
	}
	return 127
}

// execWhenReleased waits until the supervisor has put this process into its control group, then becomes the program.
func execWhenReleased(argv []string) error {
	if len(argv) < 3 {
		return errors.New("the shim was given no program")
	}
	slack, err := strconv.ParseUint(argv[0], 10, 64)
	if err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	// The parent-death signal belongs to the thread that asks for it, and the thread that calls exec is the one that
	// survives it.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to be killed with the supervisor: %w", err)
	}
	// The program's threads all have the slack of the one that executes it; 0 is what it has already. A sandbox in the kernel's place
	// may know of none, which is no reason not to start.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("set its timer slack: %w", err)
	}
	unix.CloseOnExec(fdRelease)
	unix.CloseOnExec(fdFailure)
	release := os.NewFile(fdRelease, "release")
	var one [1]byte
	if _, err := io.ReadFull(release, one[:]); err != nil {
		// The supervisor died, or gave up, before it let us go. The parent-death signal was set before this read, so
		// that there is no moment in which its death goes unnoticed.
		return errors.New("the supervisor is gone")
	}
	err = syscall.Exec(argv[1], argv[2:], os.Environ())
	return &os.PathError{Op: "execute", Path: argv[1], Err: err}
}
