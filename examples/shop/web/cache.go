package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// cache keeps what services have answered in Redis, or in whatever speaks its
// protocol, for all replicas of web. It is only ever a help: where there is
// none, and where it does not answer, nothing is found in it. A nil one is none.
type cache struct {
	name   string
	client redis.UniversalClient
	ttl    time.Duration
	wait   time.Duration // for an answer, at most
	log    *slog.Logger
	rests  atomic.Int64 // until then it is not asked, in nanoseconds since 1970
	late   atomic.Int64 // time-outs since the last answer
	since  atomic.Int64 // when the first of them was, in nanoseconds since 1970
}

const (
	// Nobody waits longer than this for a cache that is there to save time. It is far longer than one that is there takes: a
	// replica of web that waits for CPU time must not take that for the cache's, drop its connections and ask catalog too, which
	// doubles the work just when there is no time for it. With 50 ms here, one stall of a busy machine was enough for a shop that
	// never came back to its caches.
	cacheTime = 250 * time.Millisecond
	// One that did not answer is left alone for so long.
	cacheRest = time.Second
	// So many time-outs in a row, over so long, make one that does not answer. Many at once say as much of a stall here.
	cacheLate   = 5
	cacheSilent = time.Second
)

// newCache returns the cache at <NAME>_REDIS_URL, or nil where the surroundings
// have none. <NAME>_REDIS_NODES has all addresses of one that is a cluster.
// Nothing is dialled yet.
func newCache(env httpserve.Env, name string, ttl, wait time.Duration) (*cache, error) {
	variable := strings.ToUpper(name) + "_REDIS_URL"
	url := env.Getenv(variable)
	if url == "" {
		return nil, nil
	}
	one, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: want a URL such as redis://127.0.0.1:6379", variable, url)
	}
	options := redis.UniversalOptions{
		Addrs: []string{one.Addr}, DB: one.DB, Username: one.Username, Password: one.Password, TLSConfig: one.TLSConfig,
		DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, PoolTimeout: wait,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
	}
	if nodes := env.Getenv(strings.ToUpper(name) + "_REDIS_NODES"); nodes != "" {
		options.Addrs, options.IsClusterMode = strings.Split(nodes, ","), true
	}
	return &cache{name: name, client: redis.NewUniversalClient(&options), ttl: ttl, wait: wait, log: env.Log}, nil
}

// quiet keeps the client from telling the standard error what cache tells the log.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// usable reports whether the cache is there, and not at rest.
func (c *cache) usable() bool { return c != nil && time.Now().UnixNano() >= c.rests.Load() }

// failed has the cache rest after an error, or after one time-out too many. That
// a visitor has gone is none of the cache.
func (c *cache) failed(ctx context.Context, doing string, err error) {
	if err == nil || errors.Is(err, redis.Nil) {
		c.late.Store(0)
		return
	}
	now := time.Now().UnixNano()
	if ctx.Err() != nil || timedOut(err) && !c.silent(now) {
		return
	}
	c.late.Store(0)
	if was := c.rests.Load(); now >= was && c.rests.CompareAndSwap(was, now+int64(cacheRest)) {
		c.log.Warn("a cache does not answer; everything is asked for without it", "cache", c.name, "doing", doing, "error", err)
	}
}

// silent counts a time-out, and reports whether those since the last answer are enough of them over a time long enough.
func (c *cache) silent(now int64) bool {
	n := c.late.Add(1)
	if n == 1 {
		c.since.Store(now)
	}
	return n >= cacheLate && now-c.since.Load() >= int64(cacheSilent)
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &n) && n.Timeout()
}

// do asks the cache for something, if it is usable, and reports whether it did
// what it was asked.
func (c *cache) do(ctx context.Context, doing string, ask func(context.Context) error) bool {
	if !c.usable() {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	err := ask(bounded)
	c.failed(ctx, doing, err)
	return err == nil
}

// get returns what is stored under a key.
func (c *cache) get(ctx context.Context, key string) (value []byte, found bool) {
	found = c.do(ctx, "GET", func(ctx context.Context) (err error) {
		value, err = c.client.Get(ctx, key).Bytes()
		return err
	})
	return value, found
}

// set stores a value, whatever was there.
func (c *cache) set(ctx context.Context, key string, value any) {
	c.do(ctx, "SET", func(ctx context.Context) error { return c.client.Set(ctx, key, value, c.ttl).Err() })
}

// fill stores a value that was asked for because there was none, unless
// somebody has stored a newer one meanwhile.
func (c *cache) fill(ctx context.Context, key string, value any) {
	c.do(ctx, "SET", func(ctx context.Context) error {
		return c.client.SetArgs(ctx, key, value, redis.SetArgs{Mode: "NX", TTL: c.ttl}).Err()
	})
}

// forget removes what is stored under a key.
func (c *cache) forget(ctx context.Context, key string) {
	c.do(ctx, "DEL", func(ctx context.Context) error { return c.client.Del(ctx, key).Err() })
}

// close ends its connections.
func (c *cache) close() error {
	if c == nil {
		return nil
	}
	return c.client.Close()
}
