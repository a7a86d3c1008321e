package gateway

import (
	"net/http"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// limit is the rate limit of one target.
type limit struct {
	limiter *policy.RateLimiter
	by      string
	header  string
}

func newLimit(cfg topology.Limit) *limit {
	return &limit{limiter: policy.NewRateLimiter(float64(cfg.Rate), cfg.Burst), by: cfg.By, header: http.CanonicalHeaderKey(cfg.Header)}
}

// withinLimit counts the request, and returns the fault with which it is refused if it is one too many.
func (c *call) withinLimit() fault {
	l := c.target.limit
	if l == nil {
		return fault{}
	}
	var key uint64
	switch l.by {
	case "client":
		key = policy.HashString(c.client())
	case "header":
		for _, value := range c.r.Header[l.header] {
			key = policy.HashString(value)
			break
		}
	}
	wait, ok := l.limiter.Allow(key, c.start)
	if ok {
		return fault{}
	}
	return fault{kind: requestDenied, detail: "too many requests, come again later", retry: wait}
}
