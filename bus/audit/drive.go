package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// Drive says how a server is killed.
type Drive struct {
	// Command makes the command of a server at the given addresses for NATS and HTTP clients. It prints "on nats://ADDRESS and
	// http://ADDRESS" when it serves.
	Command func(natsAddress, httpAddress string) *exec.Cmd
	// Kills is how often it is killed, each time after a random time of up to Life.
	Kills int
	Life  time.Duration
	// Pauses has it stopped (SIGSTOP) for a moment before every other kill.
	Pauses bool
	// Audit is what the auditor does; its URL is filled in.
	Audit Config
	// Progress hears of each kill. Nil: nobody.
	Progress func(kills int)
}

var servesAt = regexp.MustCompile(`on nats://(\S+) and http://([^\s,]+)`)

// server is a process that serves.
type server struct {
	cmd        *exec.Cmd
	nats, http string
	output     sync.WaitGroup
}

// start starts a server and returns when it serves.
func start(cmd *exec.Cmd) (*server, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	s := &server{cmd: cmd}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at := servesAt.FindStringSubmatch(lines.Text()); at != nil {
			s.nats, s.http = at[1], at[2]
			s.output.Go(func() { io.Copy(io.Discard, out) })
			return s, nil
		}
	}
	return nil, fmt.Errorf("the server ended before it served: %w", cmd.Wait())
}

// kill ends it as kill -9 does, and returns when it is gone.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.output.Wait()
	s.cmd.Wait()
}

// work has an auditor work until end is called, which waits for it.
func work(ctx context.Context, cfg Config) (a *Auditor, end func(), err error) {
	if a, err = New(cfg); err != nil {
		return nil, nil, err
	}
	working, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { a.Run(working) })
	return a, func() { stop(); group.Wait() }, nil
}

// Run kills a server again and again while an auditor works with it, then lets it be, and returns what the auditor saw. The error
// is of the run itself: that a server did not start, or that not all was handled in the end.
func (d Drive) Run(ctx context.Context) (Report, error) {
	s, err := start(d.Command("127.0.0.1:0", "127.0.0.1:0"))
	if err != nil {
		return Report{}, err
	}
	defer func() { s.kill() }()
	d.Audit.URL = "nats://" + s.nats
	a, end, err := work(ctx, d.Audit)
	if err != nil {
		return Report{}, err
	}
	defer end()
	for k := range d.Kills {
		pause(ctx, time.Duration(rand.Int64N(int64(d.Life))))
		if d.Pauses && k%2 == 1 {
			s.cmd.Process.Signal(syscall.SIGSTOP)
			pause(ctx, 50*time.Millisecond)
			s.cmd.Process.Signal(syscall.SIGCONT)
			pause(ctx, 50*time.Millisecond)
		}
		if ctx.Err() != nil {
			return a.Report(), ctx.Err()
		}
		s.kill()
		a.Died()
		next, err := start(d.Command(s.nats, s.http))
		if err != nil {
			return a.Report(), fmt.Errorf("after kill %d: %w", k+1, err)
		}
		s = next
		if d.Progress != nil {
			d.Progress(k + 1)
		}
	}
	r, err := a.conclude(ctx, d.Life)
	r.Killed = d.Kills
	return r, err
}

// conclude lets what was killed last live for a while, ends the audit and reports. One that saw nothing is no success.
func (a *Auditor) conclude(ctx context.Context, life time.Duration) (Report, error) {
	pause(ctx, life)
	err := a.Finish(ctx)
	r := a.Report()
	if r.Published == 0 && err == nil {
		err = errors.New("nothing was published")
	}
	return r, err
}
