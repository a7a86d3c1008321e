package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/ui"
)

// Bounds of what a load test's process may say.
const (
	maxLoadAnswer = 64 << 20
	maxLoadLine   = 1 << 20
	loadGrace     = 20 * time.Second // for its last requests and its record, once it was told to stop
)

// Load implements ui.Loader.
func (l *childLoads) Load(ctx context.Context, req ui.LoadRequest, progress func(load.Progress)) (*ui.LoadOutcome, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	// The kernel sends the signal when the thread ends that started the process: this one is kept until then.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, l.args(req)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the load test: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the load test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the load test: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended by itself
		time.AfterFunc(loadGrace, func() { _ = cmd.Process.Kill() })
	})
	defer stop()
	said := make(chan string, 1)
	begin := time.Now()
	go func() { said <- readProgress(errs, begin, progress) }() // ends with the process
	answer, readErr := io.ReadAll(io.LimitReader(out, maxLoadAnswer+1))
	if len(answer) > maxLoadAnswer {
		readErr = errors.New("its answer is too long")
		_ = cmd.Process.Kill()
	}
	message := <-said
	if err := errors.Join(readErr, exitOf(cmd.Wait())); err != nil {
		if message != "" {
			err = errors.New(message)
		}
		return nil, fmt.Errorf("the load test: %w", err)
	}
	outcome, err := readOutcome(answer, req.FindKnee)
	if err != nil && message != "" {
		err = errors.New(message)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Canceled // it was stopped, and says what it found
	}
	return outcome, err
}

// exitOf takes 'the answer is no' for an answer: a threshold was broken.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}

func (l *childLoads) args(req ui.LoadRequest) []string {
	args := []string{"load", "--json", "--progress", "json", "--state", l.dir}
	for _, f := range l.files {
		args = append(args, "-f", f)
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	if req.Rate > 0 {
		args = append(args, "--rate", number(req.Rate)+"/s")
	}
	if req.Users > 0 {
		args = append(args, "--users", strconv.Itoa(req.Users))
	}
	if req.Seconds > 0 {
		args = append(args, "--duration", strconv.FormatInt(int64(req.Seconds*1000), 10)+"ms")
	}
	if req.FindKnee {
		args = append(args, "--find-knee", "--slo", req.SLO)
	}
	return args
}

// readProgress hands each look on that the process writes, a line of JSON each, and returns the last thing that it said
// besides.
func readProgress(r io.Reader, begin time.Time, progress func(load.Progress)) (message string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLoadLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if p, ok := lookOf(line, begin); ok {
			progress(p)
		} else if len(line) > 0 {
			message = strings.TrimPrefix(string(line), "banyan: ")
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line that is too long ends the scan, not the process
	return message
}

// lookOf reads a look at a run, or a probe of a search, which is shown as one.
func lookOf(line []byte, begin time.Time) (p load.Progress, ok bool) {
	var probe struct {
		load.KneeProbe
		Verdict *load.ProbeVerdict `json:"verdict"`
	}
	switch {
	case len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &probe) != nil:
		return p, false
	case probe.Verdict == nil:
		return p, json.Unmarshal(line, &p) == nil
	}
	return load.Progress{Elapsed: time.Since(begin), Sent: probe.Rate, Failed: probe.Rate * probe.Errors, P50: probe.P50, P90: probe.P90, P99: probe.P99}, true
}

func readOutcome(answer []byte, knee bool) (*ui.LoadOutcome, error) {
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil, errors.New("it ended without a result")
	}
	if knee {
		k := new(load.Knee)
		if err := json.Unmarshal(answer, k); err != nil {
			return nil, fmt.Errorf("reading what the search found: %w", err)
		}
		return &ui.LoadOutcome{Knee: k}, nil
	}
	var run struct {
		Result *load.Result `json:"result"`
	}
	if err := json.Unmarshal(answer, &run); err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	if run.Result == nil {
		return nil, errors.New("the result is empty")
	}
	return &ui.LoadOutcome{Result: run.Result}, nil
}
