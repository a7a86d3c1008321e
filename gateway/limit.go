package gateway

import (
	"hash/maphash"
	"net/http"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// limit is the rate limit of one target.
type limit struct {
	cfg     topology.Limit
	limiter *policy.RateLimiter
	seed    maphash.Seed // so that nobody can choose a value that uses up another's bucket
	by      string
	header  string
}

func newLimit(cfg topology.Limit) *limit {
	return &limit{cfg: cfg, limiter: policy.NewRateLimiter(float64(cfg.Rate), cfg.Burst), seed: maphash.MakeSeed(), by: cfg.By, header: http.CanonicalHeaderKey(cfg.Header)}
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
		key = maphash.String(l.seed, c.client(p.chain()))
	case "header":
		if value, ok := p.Header(l.header); ok {
			key = maphash.String(l.seed, value)
		}
	}
	wait, ok := l.limiter.Allow(key, c.start)
	if ok {
		return fault{}
	}
	return fault{kind: requestDenied, detail: "too many requests, come again later", retry: wait}
}
