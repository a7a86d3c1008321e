package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTwoFilesInOneFolder wants the system of one file left alone by the commands that name the other.
func TestTwoFilesInOneFolder(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	text, err := os.ReadFile(filepath.Join(p.dir, "banyan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(text), "system: small", "system: other", 1)
	if err := os.WriteFile(filepath.Join(p.dir, "other.yaml"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("up", "-d")
	for _, args := range [][]string{{"status"}, {"top"}, {"scale", "back=2"}, {"restart", "back"}, {"down"}} {
		_, errs, code := p.run(append([]string{"-f", "other.yaml"}, args...)...)
		if code != 1 || errs != "banyan: the system that runs here is small, not other\n" {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	var s statusAnswer
	p.ask(&s, "status")
	if len(s.Status.Services) != 2 {
		t.Errorf("%d services in the status of a system that serves, want 2", len(s.Status.Services))
	}
	// A file that was spoiled since does not hinder the end.
	if err := os.WriteFile(filepath.Join(p.dir, "banyan.yaml"), []byte("system: ["), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := p.must("down"); out != "small is down\n" {
		t.Errorf("down: %s", out)
	}
}

func TestChangedFileIsSaid(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	p.must("up", "-d")
	const note = "banyan.yaml was changed"
	if _, errs, _ := p.run("status"); errs != "" {
		t.Errorf("unchanged: %s", errs)
	}
	var s statusAnswer
	p.ask(&s, "status")
	if len(s.Info.Files) != 1 || !filepath.IsAbs(s.Info.Files[0]) {
		t.Fatalf("files %q, want one absolute path", s.Info.Files)
	}
	later := s.Info.Since.Add(time.Minute)
	if err := os.Chtimes(s.Info.Files[0], later, later); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"restart", "back"}, {"scale", "back=2"}, {"up"}, {"up", "-d"}} {
		if _, errs, _ := p.run(args...); !strings.Contains(errs, note) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %q", args, errs)
		}
	}
}

// TestInterrupted wants a word when a command is broken off, and a second signal to end one that cannot listen.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	p := newPlace(t, smallSystem)
	start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd, out := exec.Command(self, args...), new(bytes.Buffer)
		cmd.Dir, cmd.Env = p.dir, append(os.Environ(), playBanyan+"=1")
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	// signalled sends SIGINT again and again until the command has ended.
	signalled := func(cmd *exec.Cmd) {
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				_ = cmd.Process.Signal(os.Interrupt)
			}
		}
	}
	pipe := filepath.Join(p.dir, "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _ := start("-f", "pipe.yaml", "check") // waits for a writer that never comes
	signalled(cmd)

	p.must("up", "-d")
	cmd, out := start("load", "--duration", "60s", "--warmup", "0s")
	signalled(cmd)
	// On a machine so busy that it takes over a second to stop, a later signal counts as the second and ends it at once.
	atOnce := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
	if !atOnce && !strings.Contains(out.String(), "interrupted") && !strings.Contains(out.String(), "CUT SHORT") {
		t.Errorf("load: %s", out)
	}
	p.must("down")

	cmd, out = start("up")
	for ready := false; !ready; {
		var s statusAnswer
		_, _, code := p.run("status")
		if ready = code == 0; ready {
			p.ask(&s, "status")
			ready = s.Info.State == "serving"
		}
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if text := out.String(); !strings.Contains(text, "stopping: ") || !strings.HasSuffix(text, "small is down\n") || cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("up: %v %s", cmd.ProcessState, text)
	}
}
