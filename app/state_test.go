package app

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// A process that has ended is gone, whether or not its parent has asked how it went.
func TestWaitGone(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skipf("no process to wait for: %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := WaitGone(short, cmd.Process.Pid); err == nil {
		t.Error("gone while it runs")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	long, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := WaitGone(long, cmd.Process.Pid); err != nil {
		t.Errorf("ended, and nobody asked: %v", err)
	}
	_ = cmd.Wait() // it was killed
	if err := WaitGone(long, cmd.Process.Pid); err != nil {
		t.Errorf("ended: %v", err)
	}
}
