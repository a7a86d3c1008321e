package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/reactor"
)

// Config of a Server.
type Config struct {
	// Listen is the address to be reached at. Default: 127.0.0.1:6379.
	Listen string
	// Memory that the data may take, in bytes. 0: any.
	Memory int64
	// Eviction is a value of maxmemory-policy: what becomes of keys when Memory is used up. Default: allkeys-lfu with a
	// Memory, noeviction without.
	Eviction string
	// TTL after which a key expires that was stored without an expiry. 0: never.
	TTL time.Duration
	// Password that clients must give. Default: none is asked for.
	Password string
	// Loops that serve connections. Default: as many as there are processors for this process.
	Loops int
	// MaxClients that may be connected at once. Default: 10,000.
	MaxClients int
	// Databases that clients can select. Default: 16.
	Databases int
	// Origins that keys come from. Default: none.
	Origins []Origin
	// Persist says what is kept on disk. Default: nothing.
	Persist Persist
	// Cluster that the server is a node of. Default: none.
	Cluster *Cluster
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:6379"
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("the address to listen at: %w", err)
	}
	if c.Memory < 0 || c.TTL < 0 || c.Loops < 0 || c.MaxClients < 0 {
		return errors.New("memory, ttl, loops and clients: want no negative numbers")
	}
	if err := c.Persist.validate(); err != nil {
		return err
	}
	if err := c.validateCluster(); err != nil {
		return err
	}
	if c.Eviction == "" {
		c.Eviction = "noeviction"
		if c.Memory > 0 {
			c.Eviction = "allkeys-lfu"
		}
	}
	if _, ok := evictions[c.Eviction]; !ok {
		return fmt.Errorf("eviction %q: want a value of maxmemory-policy, such as allkeys-lfu or noeviction", c.Eviction)
	}
	if c.Loops == 0 {
		c.Loops = reactor.Processors()
	}
	if c.MaxClients == 0 {
		c.MaxClients = 10_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// evictions are the values of maxmemory-policy. What is evicted is for policy.TinyLFU to say in all of them; they say
// which keys it chooses among.
var evictions = map[string]keyspace.Eviction{
	"noeviction":   keyspace.EvictNone,
	"allkeys-lru":  keyspace.EvictAll,
	"allkeys-lfu":  keyspace.EvictAll,
	"volatile-lru": keyspace.EvictVolatile,
	"volatile-lfu": keyspace.EvictVolatile,
	"volatile-ttl": keyspace.EvictVolatile,

	"allkeys-random":  keyspace.EvictAll,
	"volatile-random": keyspace.EvictVolatile,
}

// maxBulk is the most that proto-max-bulk-len can be.
const maxBulk = keyspace.MaxValue

// settings are what CONFIG SET changes. They are guarded by the server's lock.
type settings struct {
	memory      int64
	eviction    string
	timeout     int64 // seconds after which an idle client is closed; 0: never
	maxClients  int64
	slowerThan  int64 // microseconds; negative: none is logged
	slowlogLen  int64
	latency     int64 // milliseconds from which on an event is noted; 0: none is
	notify      uint32
	maxBulk     int
	queryLimit  int
	pushHard    int // unread bytes of a subscriber for which it is closed at once,
	pushSoft    int // and those
	pushSeconds int64
	aclLogLen   int64
	trackingMax int64
}

func newSettings(c *Config) settings {
	return settings{
		memory: c.Memory, eviction: c.Eviction, maxClients: int64(c.MaxClients), slowerThan: 10_000, slowlogLen: 128,
		maxBulk: maxBulk, queryLimit: 1 << 30, pushHard: 32 << 20, pushSoft: 8 << 20, pushSeconds: 60, aclLogLen: 128,
		trackingMax: 1_000_000,
	}
}
