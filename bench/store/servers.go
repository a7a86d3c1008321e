package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that was started.
type process struct {
	cmd  *exec.Cmd
	log  bytes.Buffer
	gone bool // it has ended by itself
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	return p, cmd.Start()
}

func (p *process) stop() {
	if p.gone {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}

// cpu is what the process and those that it started have used.
func (p *process) cpu() time.Duration {
	root := p.cmd.Process.Pid
	parents, used := map[int]int{}, map[int]int64{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
		for _, f := range fields[11:15] { // its own, and that of children that have ended
			n, _ := strconv.ParseInt(f, 10, 64)
			used[pid] += n
		}
	}
	ticks := int64(0)
	for pid := range used {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				ticks += used[pid]
				break
			}
		}
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// answering waits until something listens.
func (p *process) answering(ctx context.Context, address string) error {
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("it does not listen: " + p.log.String())
}

type banyan struct {
	*process
	address string
}

func (b *banyan) name() string { return "banyan" }

func (b *banyan) phases() []string { return allPhases() }

func (b *banyan) run(ctx context.Context, phase string, o options) (outcome, error) {
	return loadItems(ctx, []string{b.address}, b.cpu, phase, o)
}

// program is the binary, built in dir if it is "".
func program(dir, binary string) (string, error) {
	if binary != "" {
		return binary, nil
	}
	binary = filepath.Join(dir, "banyan")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/banyan").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building banyan: %w\n%s", err, out)
	}
	return binary, nil
}

func startBanyan(ctx context.Context, o options) (peer, error) {
	b := &banyan{}
	var err error
	if b.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if b.process, err = startProcess(exec.Command(o.binary, "store", "--listen", b.address, "--dir", filepath.Join(o.dir, "tables"))); err != nil {
		return nil, err
	}
	if err := b.answering(ctx, b.address); err != nil {
		b.stop()
		return nil, err
	}
	return b, createTable(b.address)
}

type postgres struct {
	*process
	port, script, read string
	as                 *syscall.SysProcAttr
}

func (p *postgres) name() string { return "postgresql" }

func (p *postgres) phases() []string { return []string{"write", "read"} }

func startPostgres(ctx context.Context, o options) (peer, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, errors.New("no initdb in /usr/lib/postgresql: install Debian's package postgresql")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir := filepath.Join(o.dir, "postgresql")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	p := &postgres{script: filepath.Join(o.dir, "write.sql"), read: filepath.Join(o.dir, "read.sql"), as: &syscall.SysProcAttr{}}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	var err error
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "bench", "-A", "trust", "--no-sync")
	init.SysProcAttr, init.Dir = p.as, dir
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", p.port, "-k", dir, "-c", "max_connections=200", "-c", "shared_buffers=256MB",
		"-c", "max_wal_size=4GB", "-c", "synchronous_commit=on", "-c", "fsync=on")
	server.SysProcAttr, server.Dir = p.as, dir
	if p.process, err = startProcess(server); err != nil {
		return nil, err
	}
	if err := p.answering(ctx, "127.0.0.1:"+p.port); err != nil {
		p.stop()
		return nil, err
	}
	scripts := map[string]string{
		p.script: fmt.Sprintf("\\set k random(1, %d)\nINSERT INTO kv VALUES (:k, '%s') ON CONFLICT (k) DO UPDATE SET v = excluded.v;\n", o.keys, strings.Repeat("x", itemBytes)),
		p.read:   fmt.Sprintf("\\set k random(1, %d)\nSELECT v FROM kv WHERE k = :k;\n", o.keys),
	}
	for path, text := range scripts {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	psql := exec.Command("psql", "-h", "127.0.0.1", "-p", p.port, "-U", "bench", "-c", "CREATE TABLE kv (k int PRIMARY KEY, v text)", "postgres")
	for range 50 {
		var out []byte
		if out, err = psql.CombinedOutput(); err == nil || !strings.Contains(string(out), "starting up") {
			break
		}
		time.Sleep(100 * time.Millisecond)
		psql = exec.Command(psql.Args[0], psql.Args[1:]...)
	}
	return p, err
}

var (
	tpsLine     = regexp.MustCompile(`tps = ([0-9.]+) `)
	processed   = regexp.MustCompile(`actually processed: ([0-9]+)`)
	latencyLine = regexp.MustCompile(`(?m)^[0-9]+ [0-9]+ ([0-9]+) `)
)

func (p *postgres) run(ctx context.Context, phase string, o options) (out outcome, err error) {
	script := p.script
	if phase == "read" {
		script = p.read
	}
	logs, err := os.MkdirTemp(o.dir, "log-")
	if err != nil {
		return out, err
	}
	before := p.cpu()
	cmd := exec.CommandContext(ctx, "pgbench", "-h", "127.0.0.1", "-p", p.port, "-U", "bench", "-n", "-M", "prepared", "-c", fmt.Sprint(o.clients), "-j", "2",
		"-T", fmt.Sprint(int(o.length.Seconds())), "-f", script, "-l", "--log-prefix="+filepath.Join(logs, "l"), "postgres")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("pgbench: %w\n%s", err, text)
	}
	out.cpu = p.cpu() - before
	if tpsLine.Find(text) == nil || processed.Find(text) == nil {
		return out, fmt.Errorf("pgbench said:\n%s", text)
	}
	tps, _ := strconv.ParseFloat(string(tpsLine.FindSubmatch(text)[1]), 64)
	out.operations, _ = strconv.Atoi(string(processed.FindSubmatch(text)[1]))
	out.took = time.Duration(float64(out.operations) / tps * float64(time.Second))
	files, _ := filepath.Glob(filepath.Join(logs, "l.*"))
	var all []time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return out, err
		}
		for _, m := range latencyLine.FindAllSubmatch(b, -1) {
			us, _ := strconv.Atoi(string(m[1]))
			all = append(all, time.Duration(us)*time.Microsecond)
		}
	}
	out.p50, out.p99 = percentiles(all)
	return out, os.RemoveAll(logs)
}

type redis struct {
	*process
	port string
}

func (r *redis) name() string { return "redis" }

func (r *redis) phases() []string { return []string{"write", "read"} }

func startRedis(ctx context.Context, o options) (peer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.dir, "redis")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	r := &redis{port: port}
	if r.process, err = startProcess(exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always")); err != nil {
		return nil, err
	}
	if err := r.answering(ctx, "127.0.0.1:"+port); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *redis) run(ctx context.Context, phase string, o options) (out outcome, err error) {
	kind := map[string]string{"write": "set", "read": "get"}[phase]
	n := 20_000
	for { // as many as take about as long as the others' phases
		before, start := r.cpu(), time.Now()
		text, err := exec.CommandContext(ctx, "redis-benchmark", "-p", r.port, "-c", fmt.Sprint(o.clients), "-d", fmt.Sprint(itemBytes), "-r", fmt.Sprint(o.keys),
			"-n", fmt.Sprint(n), "-t", kind, "--csv").Output()
		if err != nil {
			return out, fmt.Errorf("redis-benchmark: %w", err)
		}
		took := time.Since(start)
		if took < o.length/2 {
			n = int(float64(n) * max(1.5, 0.9*o.length.Seconds()/max(took.Seconds(), 0.1)))
			continue
		}
		out = outcome{operations: n, cpu: r.cpu() - before}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fields := strings.Split(strings.ReplaceAll(lines[len(lines)-1], `"`, ""), ",")
		if len(fields) < 7 {
			return out, fmt.Errorf("redis-benchmark said:\n%s", text)
		}
		number := func(i int) float64 { v, _ := strconv.ParseFloat(fields[i], 64); return v }
		out.took = time.Duration(float64(n) / number(1) * float64(time.Second))
		out.p50, out.p99 = time.Duration(number(4)*float64(time.Millisecond)), time.Duration(number(6)*float64(time.Millisecond))
		return out, nil
	}
}
