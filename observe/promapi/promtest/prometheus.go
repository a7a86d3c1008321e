package promtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	host := "127.0.0.1"
	if runtime.GOOS == "linux" { // a host of its own: nobody else takes a port there, nor dials from it
		host = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
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
	p := &Prometheus{URL: "http://" + address, log: log}
	p.cmd = exec.Command(path, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=" + address,
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
		if resp, err := http.Get(p.URL + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p, nil
			}
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
