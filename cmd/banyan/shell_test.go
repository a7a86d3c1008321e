package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// playShell has the test's own program be a shell.
const playShell = "BANYAN_TEST_PLAYS_SHELL"

// shellCommand is a command line of banyan's that a shell is to run.
type shellCommand struct {
	ID   int
	Args []string
}

// shellAnswer is what came of a command.
type shellAnswer struct {
	ID          int
	Stdout, Err string
	Code        int
}

// shell runs commands that come in, each at once, until there are no more. It stands in a place's folder, so that what the
// commands are told of files means those there, and saves the tests the start of a process for each of them.
func shell(in io.Reader, out io.Writer) int {
	// What the commands start plays banyan.
	if err := errors.Join(os.Unsetenv(playShell), os.Setenv(playBanyan, "1")); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	commands, answers := gob.NewDecoder(in), gob.NewEncoder(out)
	var mu sync.Mutex
	var all sync.WaitGroup
	for {
		var c shellCommand
		if commands.Decode(&c) != nil {
			break
		}
		all.Go(func() {
			var stdout, stderr bytes.Buffer
			code := run(ctx, c.Args, strings.NewReader(""), &stdout, &stderr)
			mu.Lock()
			defer mu.Unlock()
			_ = answers.Encode(shellAnswer{c.ID, stdout.String(), stderr.String(), code}) // or nobody is there any more
		})
	}
	cancel()
	all.Wait()
	return 0
}

// shellProcess is a shell in a process of its own.
type shellProcess struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	said     bytes.Buffer // on standard error, such as a race; read when the process has ended
	ended    chan struct{}
	mu       sync.Mutex
	commands *gob.Encoder
	last     int
	waiting  map[int]chan<- shellAnswer
}

func startShell(dir string) (*shellProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &shellProcess{cmd: exec.Command(self), ended: make(chan struct{}), waiting: map[int]chan<- shellAnswer{}}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = dir, append(os.Environ(), playShell+"=1"), &s.said
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.commands = gob.NewEncoder(s.in)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		answers := gob.NewDecoder(out)
		for {
			var a shellAnswer
			if answers.Decode(&a) != nil {
				_ = s.cmd.Wait() // how it ended is read of its state
				return
			}
			s.mu.Lock()
			s.waiting[a.ID] <- a
			delete(s.waiting, a.ID)
			s.mu.Unlock()
		}
	}()
	return s, nil
}

// run runs a command and returns its answer.
func (s *shellProcess) run(t *testing.T, args []string) shellAnswer {
	t.Helper()
	got := make(chan shellAnswer, 1)
	s.mu.Lock()
	s.last++
	s.waiting[s.last] = got
	err := s.commands.Encode(shellCommand{s.last, args})
	s.mu.Unlock()
	if err != nil {
		t.Fatalf("banyan %v: %v", args, err)
	}
	select {
	case a := <-got:
		return a
	case <-s.ended:
		t.Fatalf("banyan %v: its process has ended: %v\n%s", args, s.cmd.ProcessState, s.said.String())
	case <-time.After(5 * time.Minute):
		t.Fatalf("banyan %v: no answer in five minutes", args)
	}
	panic("unreachable")
}

// stop ends the shell, and reports what was wrong with the process on the whole, such as a race.
func (s *shellProcess) stop(t *testing.T) {
	_ = s.in.Close()
	select {
	case <-s.ended:
	case <-time.After(time.Minute): // a command that does not heed its context
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	if !s.cmd.ProcessState.Success() {
		t.Errorf("the commands' process: %v\n%s", s.cmd.ProcessState, s.said.String())
	}
}
