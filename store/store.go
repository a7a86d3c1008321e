// Package store runs tables behind the DynamoDB API: durable, on one node or replicated on several. Any AWS SDK is a client.
//
// New opens the data, Listen binds the address, Run serves until its context ends and owns every goroutine. What was answered to a
// client is on disk. The parts, from the inside: attr (values), expr (expressions), shard (the deterministic state machine), engine
// (disk and group commit), wire (JSON), dynamo (the API).
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/store/dynamo"
	"github.com/banyanhq/banyan/store/engine"
)

// Config of a store.
type Config struct {
	// Listen is the address to be reached at. Default 127.0.0.1:0.
	Listen string
	// Dir for the data; made if it is not there.
	Dir string
	// FS that Dir lies in. Default: the machine's.
	FS vfs.FS
	// Region that ARNs name. Default us-east-1.
	Region string
	// Users may sign requests: secrets by access key. Empty: requests are not checked, which is refused where others can reach it.
	Users map[string]string
	// Tables to be created if they are not there.
	Tables []Table
	// Cache for blocks of data, in bytes. Default 64 MiB.
	Cache int64
	// Sweep is how often expired items are looked for. Default 5s.
	Sweep time.Duration
	// Cluster has the tables be on several nodes, of which this is one. Dir, FS, Cache, Sweep and Log go before what it says of
	// them. Nil: they are on this node alone.
	Cluster *cluster.Config
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// backend keeps the tables: an engine on one node, or a node of a cluster.
type backend interface {
	dynamo.Store
	Run(ctx context.Context) error
	Close() error
	Stats() engine.Stats
	Overloaded(err error) bool
	Unavailable(err error) bool
}

// Store is tables and their API.
type Store struct {
	cfg      Config
	engine   backend
	api      *dynamo.API
	listener net.Listener
}

// New opens the data.
func New(cfg Config) (*Store, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Users) == 0 && !loopback(cfg.Listen) {
		return nil, fmt.Errorf("%s can be reached by others: name users that must sign their requests, or listen on 127.0.0.1", cfg.Listen)
	}
	s := &Store{cfg: cfg}
	var err error
	if cfg.Cluster == nil {
		s.engine, err = engine.Open(engine.Config{Dir: cfg.Dir, FS: cfg.FS, Cache: cfg.Cache, Sweep: cfg.Sweep, Log: cfg.Log})
	} else {
		c := *cfg.Cluster
		c.Dir, c.FS, c.Cache, c.Sweep, c.Log = cfg.Dir, cfg.FS, cfg.Cache, cfg.Sweep, cfg.Log
		s.engine, err = cluster.Open(c)
	}
	if err != nil {
		return nil, err
	}
	s.api = dynamo.New(dynamo.Config{Store: s.engine, Region: cfg.Region, Users: cfg.Users, Log: cfg.Log, Operations: s.operations(),
		Overloaded: s.engine.Overloaded, Unavailable: s.engine.Unavailable})
	return s, nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Listen binds the address. If it fails the store is closed.
func (s *Store) Listen() (err error) {
	if s.listener, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return errors.Join(fmt.Errorf("opening the tables' address: %w", err), s.engine.Close())
	}
	if n, ok := s.engine.(*cluster.Node); ok {
		if err := n.Listen(); err != nil {
			return errors.Join(err, s.listener.Close(), n.Close())
		}
	}
	return nil
}

// URL is where clients reach the tables.
func (s *Store) URL() string { return "http://" + s.listener.Addr().String() }

// Region that clients must name.
func (s *Store) Region() string { return s.api.Region() }

// Authenticated says whether requests must be signed by a user.
func (s *Store) Authenticated() bool { return len(s.cfg.Users) > 0 }

// Close gives back what New and Listen took, where Run was not called.
func (s *Store) Close() error {
	var err error
	if s.listener != nil {
		err = s.listener.Close()
	}
	return errors.Join(err, s.engine.Close())
}

// How long requests may go on when the store stops, and how many connections there may be at once.
const (
	drain   = 5 * time.Second
	clients = 10_000
)

// Run serves until ctx ends; when it returns all is closed. It creates the tables that the Config names before it answers.
func (s *Store) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all errgroup.Group
	all.Go(func() error {
		defer stop() // without the engine nothing can be served
		return s.engine.Run(running)
	})
	all.Go(func() error {
		defer stop()
		serving, end := context.WithCancel(ctx)
		defer end()
		defer context.AfterFunc(running, end)()
		if n, ok := s.engine.(*cluster.Node); ok && n.Ready(serving) != nil {
			return s.listener.Close() // it ended before it had the data
		}
		if err := s.createTables(serving); err != nil {
			closed := s.listener.Close()
			if ctx.Err() != nil {
				return closed // it was stopped before it could begin
			}
			return errors.Join(err, closed)
		}
		return dynamo.NewServer(s.api, clients).Serve(serving, s.listener, drain)
	})
	return errors.Join(all.Wait(), s.engine.Close())
}
