//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// nginx is one nginx process that answers 12 bytes.
type nginx struct {
	url     string
	process *os.Process
	stop    func()
}

const nginxConfig = `
master_process off; daemon off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 40000; }
worker_rlimit_nofile 40000;
http {
	access_log off; keepalive_requests 1000000000;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	%[3]s
	server { listen %[2]s backlog=4096; %[4]s }
}
`

// nginxPlain answers at once.
var nginxPlain = [2]string{"", `location / { default_type text/plain; return 200 "hello world\n"; }`}

// nginxLimited lets so many requests a second pass, one after the other, keeps as many as burst waiting, and refuses the
// rest with 503: a leaky bucket, as nginx implements it. It is asked for a file, for 'return' comes before the limit.
func nginxLimited(rate, burst int) [2]string {
	return [2]string{
		fmt.Sprintf("limit_req_zone $server_name zone=all:1m rate=%dr/s;", rate),
		fmt.Sprintf("location / { limit_req zone=all burst=%d; root DIR; }", burst),
	}
}

func startNginx(config [2]string) (*nginx, error) {
	dir, err := os.MkdirTemp("", "banyan-bench-load-")
	if err != nil {
		return nil, err
	}
	clean := func() { os.RemoveAll(dir) }
	addr, err := freeAddress()
	if err != nil {
		clean()
		return nil, err
	}
	text := fmt.Sprintf(nginxConfig, dir, addr, config[0], replaceDir(config[1], dir))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		clean()
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello world\n"), 0o644); err != nil {
		clean()
		return nil, err
	}
	_ = os.Chmod(dir, 0o755) //nolint: the worker may be another user
	cmd := exec.Command("nginx", "-p", dir, "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		clean()
		return nil, fmt.Errorf("starting nginx: %w", err)
	}
	n := &nginx{url: "http://" + addr + "/", process: cmd.Process, stop: func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		clean()
	}}
	if err := answers(n.url); err != nil {
		n.stop()
		return nil, fmt.Errorf("nginx: %w", err)
	}
	return n, nil
}

// answers waits until there is an answer.
func answers(url string) (err error) {
	for range 200 {
		var res *http.Response
		if res, err = http.Get(url); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", res.Status)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
