package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

// Server is a cache. New makes it, Listen binds it, Run serves.
type Server struct {
	cfg      Config
	registry *registry
	listener *net.TCPListener
	loops    []*loop
	begun    time.Time // of the monotonic clock that times commands
	runID    string
	freeing  sync.WaitGroup // memory that is being given back
	keep     *keeper        // nil: nothing is kept on disk
	sharding *sharding      // nil: it is not of a cluster
	origins  []*origin
	outside  sync.WaitGroup  // requests to origins
	away     context.Context // of them
	recall   context.CancelFunc
	chance   func() float64

	mu      sync.Mutex // guards all below, and what the loops' clients say is guarded by it
	store   *keyspace.Store
	set     settings
	limits  resp.Limits
	clients map[int64]*client
	nextID  int64
	current *call // that is being carried out
	acl     acl
	hub     hub
	watched map[watchKey][]*client
	waiting map[watchKey][]*waiting
	loads   map[watchKey]*load
	missing missing
	writing map[watchKey][]*write
	behind  map[watchKey]*pending
	ready   []watchKey
	track   tracking
	slowlog slowlog
	events  latencyEvents
	monitor []*client
	count   counters
	sampled sampler
	closed  bool
}

// counters of a server since it started, or since CONFIG RESETSTAT.
type counters struct {
	connections, rejected, commands, in, out, errors, denied int64
	peak                                                     int64
	calls                                                    []callCount // by the command's number
	byError                                                  map[string]int64
}

type callCount struct{ calls, micros, rejected, failed int64 }

// New checks the configuration and prepares a server. It binds nothing and starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if !supported {
		return nil, errors.New("the cache's server needs Linux on amd64 or arm64")
	}
	s := &Server{
		cfg: cfg, registry: newRegistry(), begun: time.Now(), clients: map[int64]*client{}, watched: map[watchKey][]*client{},
		waiting: map[watchKey][]*waiting{}, set: newSettings(&cfg), hub: newHub(), track: newTracking(), runID: randomID(),
		loads: map[watchKey]*load{}, missing: missing{}, writing: map[watchKey][]*write{}, behind: map[watchKey]*pending{}, chance: rand.Float64,
	}
	for i, cfg := range cfg.Origins {
		o, err := newOrigin(cfg)
		if err != nil {
			return nil, fmt.Errorf("origin %d: %w", i+1, err)
		}
		s.origins = append(s.origins, o)
	}
	s.away, s.recall = context.WithCancel(context.Background())
	s.limits = resp.Limits{Args: 1 << 20, Bulk: s.set.maxBulk}
	s.resetCounters()
	s.acl = newACL(s.registry, cfg.Password)
	var err error
	s.store, err = keyspace.New(keyspace.Config{Databases: cfg.Databases, Gone: s.gone, CountSlots: cfg.Cluster != nil})
	if err != nil {
		return nil, fmt.Errorf("making the keyspace: %w", err)
	}
	s.store.SetNow(time.Now().UnixMilli())
	s.store.SetTTL(cfg.TTL.Milliseconds())
	s.applyMemory()
	return s, nil
}

func (s *Server) applyMemory() { s.store.SetLimit(s.set.memory, evictions[s.set.eviction]) }

func (s *Server) resetCounters() {
	s.count = counters{calls: make([]callCount, len(s.registry.all)), byError: map[string]int64{}}
	if s.store != nil {
		s.store.Counters = keyspace.Counters{}
	}
}

// Listen binds the address, so that one that is taken is known before anything runs, and restores what was kept on disk.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("opening the cache's address: %w", err)
	}
	if err := s.restore(); err != nil {
		return errors.Join(err, l.Close())
	}
	s.listener = l.(*net.TCPListener)
	if err := s.openCluster(); err != nil {
		return errors.Join(fmt.Errorf("joining the cluster: %w", err), l.Close())
	}
	return nil
}

// Addr is the address that Listen has bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends. It closes the listener and all connections, and returns nil after an end that was asked for;
// what is not kept on disk is gone then.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() {
		s.closeOrigins()
		s.freeing.Wait()
		err = errors.Join(err, s.closeFiles())
		s.mu.Lock()
		s.closed = true
		err = errors.Join(err, s.store.Close())
		if s.sharding != nil {
			err = errors.Join(err, s.sharding.hot.close())
		}
		s.mu.Unlock()
	}()
	defer s.listener.Close()
	for range s.cfg.Loops {
		l, err := newLoop(s)
		if err != nil {
			for _, l := range s.loops {
				l.close()
			}
			return err
		}
		s.loops = append(s.loops, l)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	for i, l := range s.loops {
		group.Go(func() error {
			defer stop() // one that fails ends the others
			return l.run(i == 0)
		})
	}
	group.Go(func() error { return s.keepFiles(ctx) })
	if s.sharding != nil {
		group.Go(func() error {
			defer stop()
			return s.sharding.run(ctx)
		})
	}
	<-ctx.Done()
	for _, l := range s.loops {
		l.stop()
	}
	err = group.Wait()
	for _, l := range s.loops {
		l.close()
	}
	return err
}

// elapsed is the monotonic time since the server was made.
func (s *Server) elapsed() time.Duration { return time.Since(s.begun) }

// tick is what is done ten times a second: keys that have expired go, what was deleted is freed, idle clients are closed.
// It reports whether there is more to be done soon.
func (s *Server) tick() (busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.store.SetNow(now.UnixMilli())
	// A millisecond at most at a time, and on while many of those that are looked at have expired.
	for began := s.elapsed(); ; {
		seen, expired := s.store.Sweep(64)
		if expired*10 < seen || seen == 0 {
			break
		}
		if s.elapsed()-began > time.Millisecond {
			busy = true
			break
		}
	}
	for began := s.elapsed(); s.store.Tidy(256); {
		if s.elapsed()-began > time.Millisecond {
			busy = true
			break
		}
	}
	if len(s.ready) > 0 { // what they wait for is gone
		s.serveWaiting()
	}
	if len(s.behind) > 0 {
		s.sendBehind(false)
	}
	if s.sharding != nil {
		s.sharding.collect()
	}
	s.count.peak = max(s.count.peak, s.store.Used())
	s.sampled.take(now, &s.count)
	s.closeIdle(now)
	return busy
}

// closeIdle closes clients that say nothing for too long, and subscribers that read too little.
func (s *Server) closeIdle(now time.Time) {
	for _, c := range s.clients {
		idle := now.Unix()-c.heard > s.set.timeout && s.set.timeout > 0 && c.subs == nil && c.blocked == nil
		slow := c.softSince != 0 && now.Unix()-c.softSince >= s.set.pushSeconds
		if idle || slow {
			c.kill()
		}
	}
}
