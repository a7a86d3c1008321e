package cache

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Origin is an HTTP service that a cache stands in front of: keys of a pattern are loaded from there when they are asked for
// and not there, and what is stored under them may be written there.
type Origin struct {
	// Keys that come from the origin: a name with one * in it, such as item:*. Of several patterns the first counts that fits.
	Keys string
	// URL that a key is loaded from. {key} stands for what the * stands for, escaped as its place in the URL needs it.
	URL string
	// Header that is sent along.
	Header http.Header
	// TTL is how long a value is fresh. Default: 1m.
	TTL time.Duration
	// Stale is for how long a value is still served that is no longer fresh, while it is loaded anew, or cannot be. Default: 0.
	Stale time.Duration
	// Missing is how long it is remembered that the origin has no such thing (404, 410). 0: it is asked each time.
	Missing time.Duration
	// Early is how eagerly a value is loaded anew before it is stale, by those who find it: see policy.RefreshEarly. 0: never.
	Early float64
	// Timeout of a load or a write, the wait for its turn included. Default: 2s.
	Timeout time.Duration
	// Concurrency is how many requests the origin gets at once. Default: 64.
	Concurrency int
	// Waiting is how many more may wait for their turn. Default: 1000.
	Waiting int
	// MaxValue is the longest answer that is taken. Default: 8 MiB.
	MaxValue int64
	// Write says what becomes of what clients store: "off": it stays in the cache; "through": the origin has it before the
	// client is answered; "behind": the client is answered at once, and the origin has it soon. Default: off.
	Write string
	// Delay of a write behind, in which further ones of the same key take its place. Default: 1s.
	Delay time.Duration
	// Behind is how many keys may wait to be written. Default: 10,000.
	Behind int
	// Breaker of requests to the origin. Default: five failures in a row open it for a second, doubling up to 30.
	Breaker topology.Breaker
}

// The values of Origin.Write.
const (
	writeOff     = "off"
	writeThrough = "through"
	writeBehind  = "behind"
)

// origin is an Origin at work. The server's lock guards what changes.
type origin struct {
	Origin
	before, after string // the * of the pattern
	query         int    // where the query begins in URL
	client        *http.Client
	places        chan struct{} // that requests hold
	breaker       *policy.Breaker
	admitted      int           // requests that are under way or wait
	took          time.Duration // what a load takes, lately
	behind        int           // keys that wait to be written

	loads, failures, writes, refreshes, refused, lost int64
}

func newOrigin(cfg Origin) (*origin, error) {
	o := &origin{Origin: cfg}
	var ok bool
	if o.before, o.after, ok = strings.Cut(o.Keys, "*"); !ok || strings.Contains(o.after, "*") {
		return nil, fmt.Errorf("keys %q: want a name with one * in it, such as item:*", o.Keys)
	}
	u, err := url.Parse(strings.ReplaceAll(o.URL, "{key}", "k"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the origin's URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(o.URL, "{key}"):
		return nil, fmt.Errorf("the origin's URL %q: want http://HOST/PATH with {key} in it", o.URL)
	case strings.Contains(u.Host, "{key}") || strings.Index(o.URL, "{key}") < strings.Index(o.URL, u.Host)+len(u.Host):
		return nil, fmt.Errorf("the origin's URL %q: {key} belongs into the path or the query", o.URL)
	}
	if o.query = strings.IndexByte(o.URL, '?'); o.query < 0 {
		o.query = len(o.URL)
	}
	if o.TTL < 0 || o.Stale < 0 || o.Missing < 0 || o.Early < 0 || o.Timeout < 0 || o.Concurrency < 0 || o.Waiting < 0 || o.MaxValue < 0 || o.Delay < 0 || o.Behind < 0 {
		return nil, errors.New("an origin's settings: want no negative numbers")
	}
	o.complete()
	if o.Write != writeOff && o.Write != writeThrough && o.Write != writeBehind {
		return nil, fmt.Errorf("write %q: want off, through or behind", o.Write)
	}
	if o.MaxValue > maxBulk {
		return nil, fmt.Errorf("the longest value of an origin: want %d bytes at most", maxBulk)
	}
	o.places = make(chan struct{}, o.Concurrency)
	o.breaker = policy.NewBreaker(o.Breaker)
	o.client = &http.Client{
		Transport:     &http.Transport{MaxConnsPerHost: o.Concurrency, MaxIdleConnsPerHost: o.Concurrency, IdleConnTimeout: 90 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return o, nil
}

// complete fills the defaults in.
func (o *origin) complete() {
	or := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	or(&o.TTL, time.Minute)
	or(&o.Timeout, 2*time.Second)
	or(&o.Delay, time.Second)
	for _, n := range []struct {
		v *int
		d int
	}{{&o.Concurrency, 64}, {&o.Waiting, 1000}, {&o.Behind, 10_000}} {
		if *n.v == 0 {
			*n.v = n.d
		}
	}
	if o.MaxValue == 0 {
		o.MaxValue = 8 << 20
	}
	if o.Write == "" {
		o.Write = writeOff
	}
	if b := &o.Breaker; b.Failures == 0 && !b.Off {
		*b = topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second)}
	}
}

// originOf returns the origin that a key comes from, nil if there is none.
func (s *Server) originOf(key []byte) *origin {
	for _, o := range s.origins {
		if len(key) >= len(o.before)+len(o.after) && strings.HasPrefix(string(key), o.before) && strings.HasSuffix(string(key), o.after) {
			return o
		}
	}
	return nil
}

// maxURL is the longest URL that an origin is asked for.
const maxURL = 8 << 10

// urlOf is where a key is at the origin.
func (o *origin) urlOf(key string) (string, error) {
	part := key[len(o.before) : len(key)-len(o.after)]
	if part == "" || part == "." || part == ".." {
		return "", fmt.Errorf("%q cannot be part of a path", part)
	}
	u := strings.ReplaceAll(o.URL[:o.query], "{key}", url.PathEscape(part)) + strings.ReplaceAll(o.URL[o.query:], "{key}", url.QueryEscape(part))
	if len(u) > maxURL {
		return "", fmt.Errorf("a URL of %d bytes is too long", len(u))
	}
	return u, nil
}

// expiry is when a value goes that is stored now.
func (o *origin) expiry(now int64) int64 { return now + (o.TTL + o.Stale).Milliseconds() }

// admit lets a request to the origin wait for its turn, or says why not. The lock is held; release undoes it.
func (o *origin) admit(now time.Duration) (policy.Ticket, error) {
	if o.admitted >= o.Concurrency+o.Waiting {
		o.refused++
		return 0, fmt.Errorf("%d requests to the origin wait already", o.admitted-o.Concurrency)
	}
	if o.breaker == nil {
		o.admitted++
		return 0, nil
	}
	ticket, ok := o.breaker.Admit(now, true)
	if !ok {
		o.refused++
		return 0, errors.New("the origin has failed several times in a row, and is left alone for a while")
	}
	o.admitted++
	return ticket, nil
}

// release notes how a request has ended. The lock is held.
func (o *origin) release(now time.Duration, t policy.Ticket, failed bool) {
	o.admitted--
	if failed {
		o.failures++
	}
	if o.breaker == nil {
		return
	}
	outcome := policy.Success
	if failed {
		outcome = policy.Failure
	}
	if o.breaker.Report(now, t, outcome) {
		o.breaker.Trip(now)
	}
}
