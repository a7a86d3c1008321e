package promtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// ErrAbsent says that there is no Prometheus on this machine.
var ErrAbsent = errors.New("there is no 'prometheus' here (Debian's package prometheus)")

// Prometheus is one that runs.
type Prometheus struct {
	URL string
	PID int

	cmd *exec.Cmd
	log *os.File
}

// Run starts a Prometheus on a directory of blocks, with a configuration (empty: none) and further arguments, and waits
// until it is ready.
func Run(ctx context.Context, dir, config string, args ...string) (*Prometheus, error) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, ErrAbsent
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(filepath.Dir(dir), "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(filepath.Dir(dir), "prometheus.log"))
	if err != nil {
		return nil, err
	}
	p := &Prometheus{log: log}
	p.cmd = exec.Command(path, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=127.0.0.1:0",
		"--storage.tsdb.retention.time=100y"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.PID = p.cmd.Process.Pid
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.ready() {
			return p, nil
		}
		select {
		case <-ctx.Done():
			p.Stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("prometheus was not ready within a minute: %.2000s", text)
		case <-tick.C:
		}
	}
}

// listening is how it logs the address that it got.
var listening = regexp.MustCompile(`msg="?Listening on"?[^\n]* address=(\S+)`)

// ready reports whether it has said where it answers, and answers there.
func (p *Prometheus) ready() bool {
	if p.URL == "" {
		text, err := os.ReadFile(p.log.Name())
		m := listening.FindSubmatch(text)
		if err != nil || m == nil {
			return false
		}
		p.URL = "http://" + string(m[1])
	}
	resp, err := http.Get(p.URL + "/-/ready")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop ends it and waits.
func (p *Prometheus) Stop() {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.cmd.Process.Kill()
	}
	kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	p.cmd.Wait() // how it ended does not matter
	p.log.Close()
}
