package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/banyanhq/banyan/observe"
)

// process is a server that runs.
type process struct {
	cmd    *exec.Cmd
	url    string
	group  bool // it has children that must end with it
	output sync.WaitGroup
}

func (p *process) stop() error {
	if p.group {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	} else {
		p.cmd.Process.Kill()
	}
	p.output.Wait()
	p.cmd.Wait()
	return nil
}

// switches is how often the threads of the process stopped running so far; 0 where the system does not say.
func (p *process) switches() (n int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid)) // fails only for a wrong pattern
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil || p.group {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if _, count, found := strings.Cut(line, "voluntary_ctxt_switches:"); found { // nonvoluntary ones as well
				each, _ := strconv.Atoi(strings.TrimSpace(count))
				n += each
			}
		}
	}
	return n
}

// cpu is what the process has used so far; 0 where the system does not say, and of one with children.
func (p *process) cpu() time.Duration {
	if p.group {
		return 0
	}
	return cpuOf(p.cmd.Process.Pid)
}

func cpuOf(pid int) time.Duration {
	c, err := observe.ReadProcess(pid)
	if err != nil {
		return 0
	}
	return c.CPU
}

var natsAddress = regexp.MustCompile(`nats://[0-9.:]+`)

// banyanQueue starts a bus with one queue.
func banyanQueue(rules string) func(options, string) (*process, error) {
	return func(o options, dir string) (*process, error) {
		cmd := exec.Command(o.banyan, "bus", "--dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--queue", "jobs: {"+rules+"}")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		p := &process{cmd: cmd}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if p.url = natsAddress.FindString(lines.Text()); p.url != "" {
				p.output.Go(func() { io.Copy(io.Discard, out) })
				return p, nil
			}
		}
		return nil, fmt.Errorf("banyan bus did not come up: %w", cmd.Wait())
	}
}

// withOther adds the other build of banyan to the contenders, if there is one.
func (o options) withOther(all []contender, rules string, work func(context.Context, *process, options) (figures, error)) []contender {
	if o.also == "" {
		return all
	}
	start := func(o options, dir string) (*process, error) {
		o.banyan = o.also
		return banyanQueue(rules)(o, dir)
	}
	return append(all, contender{"banyan, the other build", start, work})
}

// jetStream starts a plain NATS server that syncs as told.
func jetStream(sync string) func(options, string) (*process, error) {
	return func(o options, dir string) (*process, error) {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		config := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: %s }\n", address, filepath.Join(dir, "data"), sync)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		cmd := exec.Command(o.nats, "-c", config)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		p := &process{cmd: cmd, url: "nats://" + address}
		return p, waitFor(p, address, 10*time.Second)
	}
}

// rabbitMQ starts RabbitMQ with all that it needs in a folder of its own.
func rabbitMQ(_ options, dir string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	dist, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, distPort, _ := net.SplitHostPort(dist)
	cmd := exec.Command(rabbitMQServer())
	cmd.Env = append(os.Environ(), "HOME="+dir, "RABBITMQ_NODENAME=bench"+port+"@localhost", "RABBITMQ_NODE_PORT="+port, "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_DIST_PORT="+distPort, "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"), "ERL_EPMD_ADDRESS=127.0.0.1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, group: true, url: "amqp://guest:guest@" + address + "/"}
	return p, waitFor(p, address, time.Minute)
}

func hasRabbitMQ() bool {
	_, err := exec.LookPath(rabbitMQServer())
	return err == nil
}

// rabbitMQServer is the program: Debian's one in the PATH changes to a user who may not write to our folder.
func rabbitMQServer() string {
	const bare = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(bare); err == nil {
		return bare
	}
	return "rabbitmq-server"
}

func freeAddress() (string, error) { return freeAddressOf("127.0.0.1") }

func freeAddressOf(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitFor returns when an address answers.
func waitFor(p *process, address string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			p.stop()
			return fmt.Errorf("%s does not come up: %w", strings.Join(p.cmd.Args, " "), err)
		}
	}
}
