package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Config of a Gateway. Zero means the default, field by field.
type Config struct {
	// System whose routes and services are served, as package topology loaded it. Required.
	System *topology.System
	// Log takes one line for each thing that went wrong by the gateway's own fault, and at debug level one for each
	// request. Default: nowhere.
	Log *slog.Logger
	// Wait is how long a request may wait for a backend, where none is ready or all are at their limit; never longer
	// than its own time-out. Default 1s; negative: it is refused at once.
	Wait time.Duration
	// MaxWaiting is how many requests may wait for one service; further ones are refused. Default 1024.
	MaxWaiting int
	// MaxBody is the largest request body in bytes that is passed on. Default 0: any, for bodies are streamed.
	MaxBody int64
	// DrainTimeout is how long Run waits for requests in flight once its context has ended. Default 10s.
	DrainTimeout time.Duration
	// TrustedProxies are the addresses in front of the gateway whose X-Forwarded headers are believed. From all others
	// these headers are dropped. Default: none.
	TrustedProxies []netip.Prefix
	// StateDir is the folder for what outlives the gateway: the local authority of TLS without certificates, the secret of
	// sticky sessions. Default: none.
	StateDir string
	// Secret signs the cookies that bind clients to replicas; gateways that share it honour each other's. At least 16
	// bytes. Default: derived from the secret of the system's gateways; where it has none, kept in StateDir; where there is
	// none of these, drawn anew, so that such sessions end with the gateway.
	Secret []byte
	// Zone that the gateway runs in, for 'locality'. Default: the system's.
	Zone string
	// Gateway is the number of this gateway among Gateways that serve the system, from 0, for 'subset'. Default: as the
	// system's 'gateways' say.
	Gateway, Gateways int
	// OnCanary is told what becomes of canaries, on the goroutine of the request that decided it. Default: nobody is; the
	// log says it in any case.
	OnCanary func(route, service string, e policy.CanaryEvent)
	// FullTierOnly has all requests carried by net/http. Default: those that the fast tier can carry go through it, where
	// the platform has one (Linux on amd64 or arm64).
	FullTierOnly bool
}

func (c *Config) setDefaults() error {
	if c.System == nil {
		return errors.New("gateway: no system given")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Wait == 0 {
		c.Wait = time.Second
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 1024
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Second
	}
	if n := len(c.Secret); n > 0 && n < 16 {
		return fmt.Errorf("gateway: Secret of %d bytes: want at least 16", len(c.Secret))
	}
	if c.Gateways == 0 {
		c.Gateway, c.Gateways = c.System.Gateways.Number()
	}
	c.Zone = cmp.Or(c.Zone, c.System.Zone)
	if c.Gateway < 0 || c.Gateway >= c.Gateways {
		return fmt.Errorf("gateway: number %d of %d gateways", c.Gateway, c.Gateways)
	}
	if c.MaxWaiting < 0 || c.MaxBody < 0 || c.DrainTimeout < 0 {
		return fmt.Errorf("gateway: MaxWaiting %d, MaxBody %d, DrainTimeout %v: none may be negative", c.MaxWaiting, c.MaxBody, c.DrainTimeout)
	}
	return nil
}
