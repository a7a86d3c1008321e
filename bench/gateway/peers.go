package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var allPeers = []string{"banyan", "haproxy", "nginx", "caddy", "reverseproxy", "banyan-full"}

// peer is one proxy that runs.
type peer struct {
	name    string
	address string
	pid     int
}

// lab is the backend and the proxies.
type lab struct {
	*options
	dir     string
	out     io.Writer
	running []*exec.Cmd
	proxies []*peer
	carried map[string]float64 // requests per second, by peer, of the first throughput measurement
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start brings everything up.
func (l *lab) start(ctx context.Context) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return errors.New("wrk is not installed")
	}
	// For the idle connections, two descriptors each in a proxy that keeps as many backend connections in reserve. Only
	// root may go beyond its limit; others do with theirs.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 50_000, Max: 50_000})
	if l.backend == "" {
		var err error
		if l.backend, err = freeAddress(); err != nil {
			return err
		}
	}
	www := filepath.Join(l.dir, "www")
	if err := os.Mkdir(www, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	for _, kb := range l.bodies {
		if err := os.WriteFile(filepath.Join(www, fmt.Sprintf("%dk", kb)), bytes.Repeat([]byte("x"), kb<<10), 0o644); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf(`%s
events { worker_connections 20000; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s; open_file_cache max=100 inactive=600s;
  server { listen %s backlog=4096 reuseport; root %s; default_type application/octet-stream; } }`, l.nginxMain("backend"), l.backend, www)
	if err := l.spawn(ctx, "nginx", conf, "nginx", "-p", l.dir, "-c"); err != nil {
		return err
	}
	if err := awaitHTTP(ctx, l.backend, l.path(l.bodies[0])); err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	for _, name := range l.peers {
		if err := l.startPeer(ctx, name); err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
	}
	l.proxies = append(l.proxies, l.also...)
	return nil
}

func (l *lab) path(kb int) string { return fmt.Sprintf("/%dk", kb) }

func (l *lab) nginxMain(name string) string {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // it could not read the temporary directory otherwise
	}
	return fmt.Sprintf("%s worker_processes %d; daemon off; pid %s/%s.pid; error_log %s/%s.log; worker_rlimit_nofile 40000;", user, l.cores, l.dir, name, l.dir, name)
}

func (l *lab) startPeer(ctx context.Context, name string) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	switch name {
	case "banyan", "banyan-full", "reverseproxy":
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, self, address, l.backend)
		cmd.Env = append(os.Environ(), childEnv+"="+name, "GOMAXPROCS="+strconv.Itoa(l.cores))
		err = l.launch(cmd)
		if err != nil {
			return err
		}
	case "nginx":
		conf := fmt.Sprintf(`%s
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  upstream b { server %s; keepalive 1024; keepalive_requests 1000000000; }
  server { listen %s backlog=4096 reuseport;
    location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_buffer_size 16k; proxy_buffers 8 16k; } } }`, l.nginxMain("proxy"), l.backend, address)
		if err := l.spawn(ctx, name, conf, "nginx", "-p", l.dir, "-c"); err != nil {
			return err
		}
	case "haproxy":
		conf := fmt.Sprintf(`global
  nbthread %d
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind %s backlog 4096
  default_backend b
backend b
  option forwardfor
  server s %s pool-max-conn -1
`, l.cores, address, l.backend)
		if err := l.spawn(ctx, name, conf, "haproxy", "-db", "-q", "-f"); err != nil {
			return err
		}
	case "caddy":
		conf := fmt.Sprintf("{\n admin off\n auto_https off\n log {\n  level ERROR\n }\n}\nhttp://%s {\n reverse_proxy %s {\n  transport http {\n   keepalive_idle_conns_per_host 1024\n   compression off\n  }\n }\n}\n", address, l.backend)
		if err := l.spawn(ctx, name, conf, "caddy", "run", "--adapter", "caddyfile", "--config"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("want one of %s", strings.Join(allPeers, ", "))
	}
	if len(l.running) == 0 {
		return nil
	}
	cmd := l.running[len(l.running)-1]
	if !strings.HasSuffix(cmd.Path, name) && name != "banyan" && name != "banyan-full" && name != "reverseproxy" {
		return nil // not installed
	}
	if err := awaitHTTP(ctx, address, l.path(l.bodies[0])); err != nil {
		return err
	}
	l.proxies = append(l.proxies, &peer{name: name, address: address, pid: cmd.Process.Pid})
	return nil
}

// spawn writes a configuration and runs the program with its path as the last argument; a program that is not
// installed is left out.
func (l *lab) spawn(ctx context.Context, name, conf, program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		if name == "caddy" || name == "haproxy" {
			fmt.Fprintf(l.out, "%s is not installed: left out\n", program)
			return nil
		}
		return err
	}
	file := filepath.Join(l.dir, name+strconv.Itoa(len(l.running))+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, append(args, file)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(l.cores), "HOME="+l.dir)
	return l.launch(cmd)
}

func (l *lab) launch(cmd *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(l.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	l.running = append(l.running, cmd)
	return nil
}

// stop ends what was started, the whole group of each.
func (l *lab) stop() {
	for _, cmd := range l.running {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // a process of ours, or gone
	}
	for _, cmd := range l.running {
		late := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		_ = cmd.Wait() // it ends by the signal
		late.Stop()
	}
}

func awaitHTTP(ctx context.Context, address, path string) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var last error
	for range 100 {
		res, err := client.Get("http://" + address + path)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("it does not answer: %w", last)
}
