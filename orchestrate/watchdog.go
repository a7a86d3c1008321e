package orchestrate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
)

// farewell is what the supervisor tells the watchdog when it has stopped everything itself.
const farewell = "farewell"

// clearanceTime bounds how long the watchdog, and a new run, try to kill what a dead run left.
const clearanceTime = 10 * time.Second

// watchOrder tells the watchdog what to clear away.
type watchOrder struct {
	Run     string            `json:"run"`     // value of BANYAN_RUN
	Cgroups map[string]string `json:"cgroups"` // parents of the replicas' control groups, by controller
}

// watch is the watchdog: it waits until the supervisor is gone. If it went without a farewell, whatever it started is
// killed and its control groups are removed.
func watch(order string) int {
	// A terminal's ^C and a 'kill' of everything in sight are for the supervisor; the watchdog goes when it has gone.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var o watchOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil || o.Run == "" {
		return 2
	}
	said, _ := io.ReadAll(io.LimitReader(os.NewFile(fdRelease, "supervisor"), int64(len(farewell))))
	if string(said) == farewell {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearanceTime)
	defer cancel()
	clearAway(ctx, func(run string) bool { return run == o.Run }, o.Cgroups)
	return 0
}

// clearAway kills all processes whose run is accepted and all in the control groups, and removes these. It returns
// how many it killed.
func clearAway(ctx context.Context, match func(run string) bool, parents map[string]string) int {
	self := os.Getpid()
	parents = ownCgroups(parents)
	n := killAll(ctx, func() []int {
		pids := marked(envRun, match)
		for _, path := range parents {
			if inside, err := cgroups.GetAllPids(path); err == nil {
				for _, pid := range inside {
					if pid != self && !zombie(pid) {
						pids = append(pids, pid)
					}
				}
			}
		}
		return pids
	})
	removeCgroups(parents)
	return n
}

// clearCgroups kills all that is in the control groups and removes them.
func clearCgroups(parents map[string]string) {
	if len(parents) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearanceTime)
	defer cancel()
	clearAway(ctx, func(string) bool { return false }, parents)
}

// watchdog keeps a watchdog process running beside the supervisor.
type watchdog struct {
	spawn *spawner
	order watchOrder
	note  *journal
}

// run starts the watchdog, starts it again if it dies, and bids it farewell when ctx ends: by then all children must
// be gone. The first attempt's error is sent to started.
func (w *watchdog) run(ctx context.Context, started chan<- error) {
	for first := true; ; first = false {
		cmd, pipe, err := w.start()
		if first {
			started <- err
		}
		if err != nil {
			if first {
				return
			}
			w.note.add(slog.LevelError, "", "", "no watchdog", err.Error())
			if !pause(ctx, time.Second) {
				return
			}
			continue
		}
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			_ = cmd.Wait()
		}()
		select {
		case <-ctx.Done():
			_, _ = io.WriteString(pipe, farewell)
			_ = pipe.Close()
			<-exited
			return
		case <-exited:
			_ = pipe.Close()
			w.note.add(slog.LevelWarn, "", "", "watchdog restarted", "it "+describeExit(cmd.ProcessState))
			pause(ctx, 100*time.Millisecond) // whatever kills it may do so again
		}
	}
}

func (w *watchdog) start() (*exec.Cmd, io.WriteCloser, error) {
	order, err := json.Marshal(w.order)
	if err != nil {
		return nil, nil, fmt.Errorf("start the watchdog: %w", err)
	}
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start the watchdog: %w", err)
	}
	defer r.Close()
	env := make([]string, 0, 32)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BANYAN_") {
			env = append(env, e)
		}
	}
	cmd := &exec.Cmd{
		Path:       selfExe,
		Args:       []string{"banyan-watchdog", shimWatch, string(order)},
		Dir:        "/",
		Env:        env,
		ExtraFiles: []*os.File{r},
		// A session of its own: a signal to the supervisor's group, such as a terminal's, must not end it.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := w.spawn.fork(cmd); err != nil {
		_ = pipe.Close()
		return nil, nil, fmt.Errorf("start the watchdog: %w", err)
	}
	return cmd, pipe, nil
}

// signaledBy reports whether the process ended by that signal.
func signaledBy(s *os.ProcessState, sig syscall.Signal) bool {
	if s == nil {
		return false
	}
	ws, ok := s.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == sig
}

// describeExit says in words how a process ended.
func describeExit(s *os.ProcessState) string {
	if s == nil {
		return "ended"
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%v)", int(ws.Signal()), ws.Signal())
	}
	return fmt.Sprintf("exited with code %d", s.ExitCode())
}
