package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Config says what to send where. Zero fields take their defaults.
type Config struct {
	// Target is the base address, such as http://127.0.0.1:8080 or redis://127.0.0.1:6379. Its scheme is the protocol. A path
	// in it is put before the paths of the steps.
	Target string
	// Workload to send, its defaults filled in. Exactly one of its rate, stages, trace and users is set.
	Workload *topology.Workload
	// Router names steps after the routes that they match. May be nil.
	Router *topology.Router
	// Dir is the directory that the files of the trace and the feeders are relative to.
	Dir string
	// Seed of everything that is drawn: arrivals, mix, think times, values. The same seed draws the same again.
	Seed uint64
	// Connections is the most that are open at once. Requests beyond it wait, and the wait counts in their latency.
	// Default: 4096, or one for each user of a closed workload, who then keeps it to himself.
	Connections int
	// Streams is how many requests of HTTP/2 and gRPC share one connection; Connections then bounds the requests that are
	// under way at once. Default: 100, or 1 for the users of a closed workload, who are clients of their own.
	Streams int
	// MaxInFlight is the most scenarios of an open workload that are under way at once, thinking ones included. Arrivals
	// beyond it wait. Default: 50000.
	MaxInFlight int
	// MaxLate is how late an arrival of an open workload may still be started where the generator or the target has
	// fallen behind; later ones are not sent, and counted. Default 0: all are sent, however late, as fast as they can be.
	MaxLate time.Duration
	// CatchUp is what becomes of the arrivals of an open workload that the generator or its limits have delayed: "all" (the
	// default) sends them as fast as can be, "skip" does not send those that are later than 10 ms, and counts them, and
	// "capped" sends all, at no more than twice the rate of the schedule. Whatever is sent counts from its intended start.
	CatchUp string
	// MaxBody is the longest body that is read, in bytes. Default: 64 MiB.
	MaxBody int64
	// TLS configures https; nil: the system's roots.
	TLS *tls.Config
	// Dial makes connections. Default: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Progress, if not nil, is called about once a second by one goroutine, which it must not hold up.
	Progress func(Progress)
	// Metrics, if not nil, tell of the run while it is under way, and of its result afterwards.
	Metrics *Metrics

	// Workers are the addresses of Workers (HOST:PORT) that send the load in equal parts instead of this process;
	// Connections, MaxInFlight and MaxLate then hold for each of them. Secret is the one that they know, at least 16 bytes.
	// TLS and Dial are of this process and do not reach them.
	Workers []string
	Secret  []byte

	newAlarm   func() (alarm, error) // of the system; tests put one on a simulated clock
	ownDial    bool                  // Dial was given
	goroutines bool                  // no event loops, for tests of the other way
	loops      int                   // how many; 0: as many as the load needs
	watch      func(*run)            // looks at the run under way now and then; nil: nobody does
	watchEvery time.Duration         // between two of its looks; 0: watchEvery
	part       part                  // of the load that this generator sends
	held       map[string][]byte     // files of the workload that a coordinator has sent; nil: they are read from Dir
	kept       kept                  // what setup has extracted elsewhere; not nil: setup and teardown are not run here
	patience   time.Duration         // with a silent worker; 0: workerPatience
	startAt    time.Time             // when the run begins; zero: at once
}

// Bounds of a run.
const (
	maxUsers       = 1_000_000
	defaultConns   = 4096
	defaultStreams = 100
	skipLate       = 10 * time.Millisecond // with CatchUp "skip"
	defaultSession = 50_000
	defaultMaxBody = 64 << 20
)

func (c Config) withDefaults() (Config, error) {
	if c.Workload == nil {
		return c, errors.New("load: no workload")
	}
	w := *c.Workload
	c.Workload = &w
	if w.Duration == 0 {
		w.Duration = topology.Duration(30 * time.Second)
	}
	if w.Timeout == 0 {
		w.Timeout = topology.Duration(30 * time.Second)
	}
	if w.Arrivals == "" {
		w.Arrivals = "poisson"
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = defaultSession
	}
	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.CatchUp == "skip" && (c.MaxLate == 0 || c.MaxLate > skipLate) {
		c.MaxLate = skipLate
	}
	if c.newAlarm == nil {
		c.newAlarm = newAlarm
	}
	if c.ownDial = c.ownDial || c.Dial != nil; c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Connections == 0 {
		if c.Connections = defaultConns; w.Users > 0 {
			c.Connections = w.Users
		}
	}
	if c.Streams == 0 {
		if c.Streams = defaultStreams; w.Users > 0 {
			c.Streams = 1
		}
	}
	return c, c.check()
}

func (c *Config) check() error {
	w := c.Workload
	kinds := 0
	for _, set := range []bool{w.Rate != 0, len(w.Stages) > 0, w.Trace != nil, w.Users != 0} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("load: the workload must have exactly one of rate, stages, trace and users")
	case w.Rate < 0:
		return fmt.Errorf("load: rate %v is negative", w.Rate)
	case w.Users < 0 || w.Users > maxUsers:
		return fmt.Errorf("load: %d users: want 1 to %d from one generator", w.Users, maxUsers)
	case w.Duration < 0 || w.Warmup < 0 || w.Timeout < 0 || w.Think < 0 || c.MaxLate < 0:
		return errors.New("load: a duration is negative")
	case w.Arrivals != "poisson" && w.Arrivals != "constant":
		return fmt.Errorf("load: arrivals %q: want poisson or constant", w.Arrivals)
	case !slices.Contains([]string{"", "exponential", "constant", "uniform", "lognormal"}, w.ThinkTimes):
		return fmt.Errorf("load: think times %q: want exponential, constant, uniform or lognormal", w.ThinkTimes)
	case !slices.Contains([]string{"", "all", "skip", "capped"}, c.CatchUp):
		return fmt.Errorf("load: catch-up %q: want all, skip or capped", c.CatchUp)
	case c.Connections < 0 || c.Streams < 0 || c.MaxInFlight < 0 || c.MaxBody < 0:
		return errors.New("load: a limit is negative")
	}
	return nil
}

// files are where the workload's files are read from.
func (c *Config) files() files { return files{dir: c.Dir, held: c.held} }
