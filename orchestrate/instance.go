package orchestrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/topology"
)

// driver is what all replicas of a run share.
type driver struct {
	root     string // folder of the topology file
	dir      string // state directory
	run      string // value of BANYAN_RUN
	env      func(service, replica string) []string
	output   func(service, replica string) Output
	balancer Balancer
	journal  *journal
	spawn    *spawner
	cgroups  *cgroupRoot
	ports    *portPool
}

const (
	// endGrace is how long a replica that failed a check has between SIGTERM and SIGKILL, if its drain time is not
	// shorter: it serves nobody, and its successor is waiting.
	endGrace = 3 * time.Second
	// clearTime bounds the killing of what a process has forked.
	clearTime = 5 * time.Second
	// outputPatience is how long the rest of a dead process's output is waited for.
	outputPatience = 2 * time.Second
)

// What an instance tells its controller.
type (
	launched struct {
		in      *instance
		pid     int
		address string
		at      time.Time
	}
	checked struct {
		in *instance
		verdict
	}
	// gone comes at once when the process has exited, ended when all that it left is cleared away.
	gone  struct{ in *instance }
	ended struct {
		in *instance
		ending
	}
)

// ending is how a process came to its end.
type ending struct {
	err       error // why it could not be started, nil if it was
	permanent bool  // with err: trying again soon is no use
	ran       time.Duration
	how       string // "exited with code 1"
	oom       bool   // the kernel killed it, or part of it, for want of memory
	clash     bool   // its port was taken by someone else before it could listen
	lines     []string
}

// String says it in one line, the process's last one included.
func (e ending) String() string {
	s := e.brief()
	if e.err == nil && !e.oom && len(e.lines) > 0 {
		s += ": " + e.lines[len(e.lines)-1]
	}
	return s
}

// brief says it without what the process wrote.
func (e ending) brief() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("it %s after %v", e.how, e.ran.Round(time.Millisecond))
}

// stopOrder tells an instance to end its process.
type stopOrder struct {
	why   string
	drain bool          // through the balancer first
	grace time.Duration // until SIGKILL
}

// instance is one process of a replica: from its start until nothing of it is left.
type instance struct {
	d       *driver
	service string
	svc     *topology.Service
	replica string
	id      string // orders-0.3
	program string // what 'build' made, "" without it
	meter   *meter
	tell    func(event)
	orders  chan stopOrder // holds one; the first counts

	mu     sync.Mutex
	limits limits
	group  *cgroup // nil without control groups, before the start and after the end
}

func (in *instance) order(o stopOrder) {
	select {
	case in.orders <- o:
	default:
	}
}

// setLimits changes the limits of the running process, or of the one that is about to start.
func (in *instance) setLimits(l limits) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.group != nil {
		if err := in.group.set(l); err != nil && !errors.Is(err, errCgroupGone) {
			return fmt.Errorf("%s: %w", in.replica, err)
		}
	}
	in.limits = l
	return nil
}

// run starts the process, looks after it and clears up after it. It tells launched, checked, gone and, always and at
// last, ended.
func (in *instance) run() {
	port, err := in.d.ports.take()
	if err != nil {
		in.tell(ended{in, ending{err: err}})
		return
	}
	defer in.d.ports.release(port)
	out, stdout, stderr, err := newCapture(logPath(in.d.dir, in.service, in.replica), func(err error) {
		in.d.journal.add(slog.LevelError, in.service, in.replica, "log lines are lost", err.Error())
	}, in.d.output(in.service, in.replica))
	if err != nil {
		in.tell(ended{in, ending{err: err}})
		return
	}
	e := in.live(port, out, stdout, stderr)
	out.drain(outputPatience)
	e.lines = out.lastLines(5)
	e.clash = e.clash && addressInUse(e.lines)
	out.note(e.String())
	out.close()
	in.tell(ended{in, e})
}

func logPath(dir, service, replica string) string {
	return filepath.Join(dir, "logs", service, replica+".log")
}

// live is the process's life, from its control group's creation to its removal.
func (in *instance) live(port int, out *capture, stdout, stderr *os.File) ending {
	defer in.dropGroup()
	l, err := in.prepare(port)
	if err == nil {
		l.stdout, l.stderr = stdout, stderr
		select {
		case o := <-in.orders:
			err = fmt.Errorf("not started: %s", o.why)
		default:
		}
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var p *process
	if err == nil {
		// Before the start, so that it stands before the process's own first line.
		out.note(fmt.Sprintf("starting at %s: %s", address, strings.Join(l.argv, " ")))
		p, err = in.d.spawn.start(l)
	}
	_ = stdout.Close()
	_ = stderr.Close()
	if err != nil {
		return ending{err: err, permanent: errors.Is(err, errStart)}
	}
	in.mu.Lock()
	group := in.group
	in.mu.Unlock()
	in.meter.attach(group, p.pid)
	in.tell(launched{in, p.pid, address, p.started})

	everReady := in.attend(p, address, port)
	in.tell(gone{in})
	return in.bury(p, group, everReady)
}

// prepare makes the control group and finds everything that the start needs.
func (in *instance) prepare(port int) (launch, error) {
	dir := in.d.root
	if in.svc.Dir != "" {
		dir = absolute(in.d.root, in.svc.Dir)
	}
	data := filepath.Join(in.d.dir, "data", in.service)
	if err := os.MkdirAll(data, 0o755); err != nil {
		return launch{}, fmt.Errorf("create its data folder: %w", err)
	}
	s := surroundings{
		service: in.service, replica: in.replica, instance: in.mark(), run: in.d.run,
		port: port, data: data, program: in.program, own: in.svc.Env,
	}
	if in.d.env != nil {
		s.app = in.d.env(in.service, in.replica)
	}
	s.limits, s.kept = in.makeGroup()

	// A command's program is found by the environment, and decides about one variable of it.
	env, err := s.environment()
	if err != nil {
		return launch{}, fmt.Errorf("%w: %w", errStart, err)
	}
	argv, err := commandLine(in.svc.Run, env)
	if err != nil {
		return launch{}, fmt.Errorf("%w: %w", errStart, err)
	}
	path := in.program
	if in.svc.Build != "" {
		argv = append([]string{binPath(in.d.dir, in.service)}, argv...)
	} else {
		if len(argv) == 0 {
			return launch{}, fmt.Errorf("%w: it has neither 'build' nor 'run'", errStart)
		}
		if path, err = findProgram(argv[0], dir, env); err != nil {
			return launch{}, err
		}
		s.program = path
		if env, err = s.environment(); err != nil {
			return launch{}, fmt.Errorf("%w: %w", errStart, err)
		}
	}
	return launch{path: path, argv: argv, dir: dir, env: env, slack: in.svc.TimerSlack.Std(), limit: in.enter}, nil
}

// makeGroup creates the control group, and returns the limits and whether the kernel keeps them.
func (in *instance) makeGroup() (limits, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.d.cgroups.advisory() != "" {
		return in.limits, false
	}
	group, err := in.d.cgroups.make(in.id, in.limits)
	if err != nil {
		in.d.cgroups.giveUp(err)
		return in.limits, false
	}
	in.group = group
	return in.limits, true
}

// enter puts the blocked process into its control group. Where that is refused, limits become advisory rather than
// the service staying down.
func (in *instance) enter(pid int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.group == nil {
		return nil
	}
	err := in.group.add(pid)
	if err != nil {
		in.d.cgroups.giveUp(err)
		group := in.group
		in.group = nil
		_ = group.destroy()
	}
	return nil
}

// attend checks the process until it has exited, and ends it when ordered to. It returns whether it was ever ready.
func (in *instance) attend(p *process, address string, port int) (everReady bool) {
	ctx, cancel := context.WithCancel(p.alive)
	var checks sync.WaitGroup
	checks.Go(func() {
		probing := &probes{address: address, root: in.d.root, svc: in.svc, report: func(v verdict) {
			switch v.kind {
			case becameReady:
				everReady = true
			case neverCame:
				if where := diagnose(in.pids(p), port, v.refused); where != "" {
					v.why += "; " + where
				}
			}
			in.tell(checked{in, v})
		}}
		probing.run(ctx)
	})
	select {
	case <-p.alive.Done():
	case o := <-in.orders:
		cancel()
		in.end(p, o)
	}
	cancel()
	checks.Wait()
	return everReady
}

// end drains the process and makes it exit; it returns when it has.
func (in *instance) end(p *process, o stopOrder) {
	deadline := time.Now().Add(o.grace)
	if o.drain {
		// Something of the time is left for the process itself to finish after SIGTERM.
		ctx, cancel := context.WithDeadline(p.alive, deadline.Add(-min(o.grace/5, time.Second)))
		if err := in.d.balancer.Drain(ctx, in.service, in.replica); err != nil && p.alive.Err() == nil {
			in.d.journal.add(slog.LevelWarn, in.service, in.replica, "drain cut short", err.Error())
		}
		cancel()
	}
	p.asked = true
	p.signal(unix.SIGTERM)
	if waitUntil(p.alive, deadline) {
		return
	}
	in.d.journal.add(slog.LevelWarn, in.service, in.replica, "killed",
		fmt.Sprintf("it did not exit within %v of being asked to", o.grace))
	p.signal(unix.SIGKILL)
	<-p.alive.Done()
}

// waitUntil reports whether ctx ended by the deadline.
func waitUntil(ctx context.Context, deadline time.Time) bool {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-t.C:
		return false
	}
}

// bury kills what the process has left behind and says how it ended.
func (in *instance) bury(p *process, group *cgroup, everReady bool) ending {
	ctx, cancel := context.WithTimeout(context.Background(), clearTime)
	defer cancel()
	if group != nil {
		group.kill(ctx)
	} else {
		killAll(ctx, func() []int { return marked(envInstance, in.isMine) })
	}
	e := ending{ran: time.Since(p.started), how: describeExit(p.state), clash: !everReady}
	if p.asked && signaledBy(p.state, unix.SIGTERM) {
		e.how = "ended as asked (SIGTERM)" // not a word that alarms: most programs leave the signal to the kernel
	}
	var cpu time.Duration
	if p.state != nil {
		cpu = p.state.UserTime() + p.state.SystemTime()
	}
	if in.meter.detach(cpu).oomKills > 0 {
		in.mu.Lock()
		memory := in.limits.memory
		in.mu.Unlock()
		e.oom = true
		if memory > 0 {
			e.how += fmt.Sprintf(", out of memory: the kernel killed it at its limit of %s", formatBytes(memory))
		} else {
			e.how += ", out of memory: the kernel killed it because the machine has none left"
		}
	}
	return e
}

// mark is the instance's value of BANYAN_INSTANCE, unlike that of any other on the machine.
func (in *instance) mark() string { return in.id + "@" + in.d.run }

func (in *instance) isMine(value string) bool { return value == in.mark() }

// pids returns the running processes of the instance.
func (in *instance) pids(p *process) []int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.group != nil {
		return in.group.pids()
	}
	return readProcessTable().tree(p.pid)
}

func (in *instance) dropGroup() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.group != nil {
		_ = in.group.destroy()
		in.group = nil
	}
}

func absolute(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}
