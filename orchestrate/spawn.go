package orchestrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launch says how to start one process.
type launch struct {
	path   string   // of the program, absolute
	argv   []string // argv[0] included
	dir    string
	env    []string
	slack  time.Duration // of its timers; 0: what the supervisor has
	stdout *os.File
	stderr *os.File
	// limit is called with the blocked process's id before its program begins.
	limit func(pid int) error
}

// process is a running child. Its program, its process group and its session have the same id.
type process struct {
	pid     int
	started time.Time
	alive   context.Context // done when the process has exited and was reaped
	state   *os.ProcessState
	asked   bool // to exit, by us; of the goroutine that ends the process
}

// spawner starts children from one operating system thread that lives as long as it runs. A child's parent-death
// signal is tied to the thread that forked it: started from a goroutine's thread of the moment, it would be killed
// whenever the runtime retires that thread.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
}

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newSpawner() *spawner {
	return &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
}

// run serves requests until close. Every child must be dead by then: it dies with the thread.
func (s *spawner) run() {
	defer close(s.done)
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for r := range s.requests {
		r.reply <- r.cmd.Start()
	}
}

func (s *spawner) close() {
	close(s.requests)
	<-s.done
}

// fork starts cmd on the spawner's thread.
func (s *spawner) fork(cmd *exec.Cmd) error {
	r := spawnRequest{cmd, make(chan error, 1)}
	s.requests <- r
	return <-r.reply
}

// errStart marks failures that will not go away by trying again soon: no such program, no such folder.
var errStart = errors.New("cannot be started")

// start runs l as a child: blocked first, then limited, then released. The child leads a session and a process group
// of its own; when it exits the group is killed.
func (s *spawner) start(l launch) (*process, error) {
	releaseR, releaseW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer releaseW.Close()
	failureR, failureW, err := os.Pipe()
	if err != nil {
		_ = releaseR.Close()
		return nil, err
	}
	defer failureR.Close()

	cmd := &exec.Cmd{
		Path:        selfExe,
		Args:        append([]string{l.argv[0], shimExec, strconv.FormatInt(int64(l.slack), 10), l.path}, l.argv...),
		Dir:         l.dir,
		Env:         l.env,
		Stdout:      l.stdout,
		Stderr:      l.stderr,
		ExtraFiles:  []*os.File{releaseR, failureW},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	began := time.Now()
	err = s.fork(cmd)
	_ = releaseR.Close()
	_ = failureW.Close()
	if err != nil {
		if _, statErr := os.Stat(l.dir); statErr != nil {
			return nil, fmt.Errorf("%w: its working folder: %w", errStart, statErr)
		}
		return nil, fmt.Errorf("start the process: %w", err)
	}
	alive, exited := context.WithCancel(context.Background())
	p := &process{pid: cmd.Process.Pid, started: began, alive: alive}
	go func() {
		defer exited()
		p.state = reap(cmd)
	}()

	if err := l.limit(p.pid); err != nil {
		p.signal(unix.SIGKILL)
		<-alive.Done()
		return nil, fmt.Errorf("limit the process: %w", err)
	}
	if _, err := releaseW.Write([]byte{1}); err != nil {
		p.signal(unix.SIGKILL)
		<-alive.Done()
		return nil, fmt.Errorf("release the process: %w", err)
	}
	// The write end closes when the program has taken over, or carries the reason why it could not.
	if why, _ := io.ReadAll(io.LimitReader(failureR, 4096)); len(why) > 0 {
		<-alive.Done()
		return nil, fmt.Errorf("%w: %s", errStart, why)
	}
	return p, nil
}

// reap waits for the process to exit, kills what is left of its group, and collects its status. The group is killed
// first: the dead leader keeps the group's id from being given to anyone else until it is reaped.
func reap(cmd *exec.Cmd) *os.ProcessState {
	pid := cmd.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	_ = cmd.Wait()
	return cmd.ProcessState
}

// signal sends sig to the process's group. It does nothing once the process was reaped.
func (p *process) signal(sig unix.Signal) {
	if p.alive.Err() == nil {
		_ = unix.Kill(-p.pid, sig)
	}
}
