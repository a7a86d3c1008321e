package httpcache

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// Rules are what a route adds to what its answers say of themselves.
type Rules struct {
	// TTL is the freshness lifetime of an answer that gives none and that may be stored by its status. 0: none.
	TTL time.Duration
	// Heuristic lets a lifetime be guessed from Last-Modified where neither the answer nor TTL gives one (RFC 9111,
	// 4.2.2): a tenth of its age, at most a day.
	Heuristic bool
	// StaleWhileRevalidate and StaleIfError hold where an answer does not say how long it may be served stale while a
	// newer one is fetched, or while none can be (RFC 5861).
	StaleWhileRevalidate, StaleIfError time.Duration
	// MaxObject is the largest body that is stored, in bytes. 0: a MiB.
	MaxObject int64
	// Key says what makes two requests ask for the same.
	Key Key
}

const (
	heuristicShare = 10 // a tenth
	heuristicMost  = 24 * time.Hour
	// longest bounds ages and lifetimes (RFC 9111, 1.2.2), so that no sum of them overflows: a Date may be two thousand years
	// past, and an Expires eight thousand ahead.
	longest = time.Duration(maxDelta) * time.Second
)

// freshness is what is known of one stored answer's age and lifetime. All of it is settled when the answer comes.
type freshness struct {
	date       time.Time // Date, or when it came
	received   time.Time // response_time
	initialAge time.Duration
	lifetime   time.Duration
	heuristic  bool
	took       time.Duration // how long the origin took, for early refreshes

	noCache        bool // never without validation
	mustRevalidate bool // never stale
	swr, sie       time.Duration
}

// responseDirectives returns the directives that hold for an answer in this cache: those of a targeted field alone where
// there is one (RFC 9213, 2.2), otherwise Cache-Control's; and whether Expires counts.
func responseDirectives(h http.Header) (d directives, isTargeted bool) {
	for _, key := range targeted {
		if lines := h[key]; len(lines) > 0 {
			if d, ok := parseTargeted(lines); ok {
				return d, true
			}
		}
	}
	d = parseCacheControl(h["Cache-Control"])
	if len(h["Cache-Control"]) == 0 {
		for _, line := range h["Pragma"] { // obsolete and meant for requests, but clear
			eachMember(line, func(name, _ string, _, _ bool) { d.noCache = d.noCache || strings.EqualFold(name, "no-cache") })
		}
	}
	return d, false
}

// explicitLifetime is the freshness lifetime that an answer gives itself (RFC 9111, 4.2.1).
func explicitLifetime(h http.Header, d directives, isTargeted bool, date, now time.Time) (time.Duration, bool) {
	switch {
	case d.sMaxAge != absent:
		return time.Duration(d.sMaxAge) * time.Second, true
	case d.maxAge != absent:
		return time.Duration(d.maxAge) * time.Second, true
	case isTargeted:
		return 0, false
	}
	expires, given, ok := dateField(h, "Expires", now)
	switch {
	case !given:
		return 0, false
	case !ok:
		return 0, true // in the past (RFC 9111, 5.3)
	}
	return min(max(0, expires.Sub(date)), longest), true
}

// assess settles what is known of an answer's freshness. requested and received are when the request was sent and when
// the answer's head came.
func (r *Rules) assess(status int, h http.Header, requested, received time.Time) freshness {
	d, isTargeted := responseDirectives(h)
	f := freshness{received: received, took: received.Sub(requested), noCache: d.noCache}
	// All three forbid a shared cache to use the answer once it is stale (RFC 9111, 5.2.2.2, 5.2.2.8 and 5.2.2.10), and
	// what an explicit directive prohibits, no other directive permits (4.2.4: MUST NOT against the MAY of RFC 5861).
	f.mustRevalidate = d.mustRevalidate || d.proxyRevalidate || d.sMaxAge != absent
	var ok bool
	var apparent time.Duration
	if f.date, _, ok = dateField(h, "Date", received); ok {
		apparent = max(0, received.Sub(f.date)).Truncate(time.Second) // a Date has no parts of a second
	} else {
		f.date = received // RFC 9110, 6.6.1
	}
	// RFC 9111, 4.2.3
	f.initialAge = min(max(apparent, parseAge(h["Age"])+f.took), longest)

	f.lifetime, ok = explicitLifetime(h, d, isTargeted, f.date, received)
	if !ok && (heuristicStatus(status) || d.public) {
		if r.TTL > 0 {
			f.lifetime = r.TTL
		} else if modified, _, dated := dateField(h, "Last-Modified", received); r.Heuristic && dated && modified.Before(f.date) {
			f.lifetime = min(f.date.Sub(modified)/heuristicShare, heuristicMost)
			f.heuristic = true
		}
	}
	f.swr, f.sie = r.StaleWhileRevalidate, r.StaleIfError
	if d.staleWhileRevalidate != absent {
		f.swr = time.Duration(d.staleWhileRevalidate) * time.Second
	}
	if d.staleIfError != absent {
		f.sie = time.Duration(d.staleIfError) * time.Second
	}
	return f
}

// age is current_age (RFC 9111, 4.2.3).
func (f *freshness) age(now time.Time) time.Duration {
	return f.initialAge + min(max(0, now.Sub(f.received)), longest)
}

// use is what may be done with a stored answer.
type use uint8

const (
	useFresh    use = iota // serve it
	useStale               // serve it, stale: the client allows it
	useRefresh             // serve it, and fetch a newer one behind the client's back
	useValidate            // ask the origin first
)

// decide says what may be done with a stored answer for a request (RFC 9111, 4). random, from 0 to 1, spreads the
// refreshes that are made early so that not all clients find an answer expired at once (Vattani, Chierichetti and
// Lowenstein, Optimal Probabilistic Cache Stampede Prevention, VLDB 2015).
func (f *freshness) decide(req *directives, now time.Time, random float64) use {
	if f.noCache || req.noCache {
		return useValidate
	}
	age := f.age(now)
	if req.maxAge == 0 || req.maxAge != absent && age > time.Duration(req.maxAge)*time.Second {
		return useValidate
	}
	left := f.lifetime - age // fresh while it is more than 0
	if req.minFresh != absent && left < time.Duration(req.minFresh)*time.Second {
		return useValidate
	}
	if left > 0 {
		// -ln(random) is 1 on average: the refresh begins about as long before the end as the fetch takes.
		if f.took > 0 && left < time.Minute && random > 0 && float64(left) < -math.Log(random)*float64(f.took) {
			return useRefresh
		}
		return useFresh
	}
	if f.mustRevalidate {
		return useValidate
	}
	if f.swr > 0 && -left < f.swr {
		return useRefresh
	}
	if req.maxStale != absent && -left <= time.Duration(req.maxStale)*time.Second {
		return useStale
	}
	return useValidate
}

// mayServeOnError reports whether a stored answer may stand in for one that the origin failed to give (RFC 9111, 4.2.4;
// RFC 5861, 4).
func (f *freshness) mayServeOnError(req *directives, now time.Time) bool {
	if f.noCache || req.noCache {
		return false
	}
	over := f.age(now) - f.lifetime
	if over <= 0 {
		return true // still fresh: it was asked again for the client's sake only, or early
	}
	if f.mustRevalidate {
		return false
	}
	return req.staleIfError != absent && over < time.Duration(req.staleIfError)*time.Second || over < f.sie
}
