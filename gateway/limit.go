package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// limit is the rate limit of one target.
type limit struct {
	cfg     topology.Limit
	limiter interface {
		Allow(key uint64, now time.Duration) (wait time.Duration, ok bool)
	}
	by     string
	header string

	// Nobody can choose a value that uses up another's bucket: the hash of keys has a seed, or, where several gateways
	// have to come to the same, their secret.
	seed   maphash.Seed
	secret []byte

	shared *policy.SharedLimiter // the limiter, where several gateways keep the limit together; else nil
	id     uint64                // its name among them
}

// newLimit returns the limit of a route or an edge.
func (g *Gateway) newLimit(name string, cfg topology.Limit) *limit {
	l := &limit{cfg: cfg, seed: maphash.MakeSeed(), by: cfg.By, header: http.CanonicalHeaderKey(cfg.Header)}
	if !cfg.Shared || g.secret == nil { // one gateway shares with itself
		l.limiter = policy.NewRateLimiter(float64(cfg.Rate), cfg.Burst)
		return l
	}
	_, count := g.cfg.System.Gateways.Number()
	l.shared = policy.NewSharedLimiter(float64(cfg.Rate), cfg.Burst, count, peerlink.Silence)
	l.limiter, l.secret, l.id = l.shared, g.secret, limitID(name, cfg)
	return l
}

// key is the bucket of a value.
func (l *limit) key(value string) uint64 {
	if l.secret == nil {
		return maphash.String(l.seed, value)
	}
	var buf [512]byte
	sum := sha256.Sum256(append(append(buf[:0], l.secret...), value...))
	return binary.BigEndian.Uint64(sum[:])
}

// withinLimit counts the request, and returns the fault with which it is refused if it is one too many.
func (c *walk) withinLimit(p parts) fault {
	l := c.target.limit
	if l == nil {
		return fault{}
	}
	var key uint64
	switch l.by {
	case "client":
		key = l.key(c.client(p.chain()))
	case "header":
		if value, ok := p.Header(l.header); ok {
			key = l.key(value)
		}
	}
	wait, ok := l.limiter.Allow(key, c.start)
	if ok {
		return fault{}
	}
	return fault{kind: requestDenied, detail: "too many requests, come again later", retry: wait}
}
