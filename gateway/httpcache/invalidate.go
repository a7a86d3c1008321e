package httpcache

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// safe reports whether a method asks for no change (RFC 9110, 9.2.1). One that is not known may.
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// Invalidating returns a writer through which the answer to an unsafe request invalidates what is stored of its URI, and
// of those in Location and Content-Location where they are of the same origin, before the client sees it (RFC 9111, 4.4).
// For a safe request it is w itself.
func (c *Cache) Invalidating(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if safe(r.Method) {
		return w
	}
	return &invalidator{signer: signer{ResponseWriter: w, cache: c, why: "method"}, r: r}
}

// invalidator is a signer that signs nothing, and invalidates.
type invalidator struct {
	signer
	r *http.Request
}

func (i *invalidator) WriteHeader(code int) {
	if i.status == 0 && code >= 200 {
		i.status = code
		if code < 400 {
			i.cache.invalidate(i.r, i.Header())
		}
	}
	i.ResponseWriter.WriteHeader(code)
}

func (i *invalidator) Write(p []byte) (int, error) {
	if i.status == 0 {
		i.WriteHeader(http.StatusOK)
	}
	return i.ResponseWriter.Write(p)
}

// invalidate drops what is stored of the URIs that an answer to an unsafe request is about.
func (c *Cache) invalidate(r *http.Request, h http.Header) {
	c.dropURI(r.Host, r.URL)
	base := *r.URL
	base.Scheme, base.Host = "http", r.Host
	for _, key := range [...]string{"Location", "Content-Location"} {
		for _, v := range h[key] {
			u, err := base.Parse(v)
			// The scheme is not compared: what ends TLS may stand in front.
			if err != nil || !sameHost(u.Host, r.Host) {
				continue
			}
			c.dropURI(r.Host, u)
		}
	}
}

func sameHost(a, b string) bool {
	return string(appendHost(nil, a)) == string(appendHost(nil, b))
}

// dropURI drops all that is stored of one URI, by whatever of it each zone's key takes.
func (c *Cache) dropURI(host string, u *url.URL) {
	c.mu.Lock()
	zones := c.zones
	keys := map[string]struct{}{}
	for _, z := range zones {
		keys[string(z.rules.Key.appendResource(nil, host, u))] = struct{}{}
	}
	for k := range keys {
		for f := range c.byRes[k] {
			c.doomOne(f, func(*flight) bool { return true })
		}
	}
	c.mu.Unlock()
	for k := range keys {
		if c.disk != nil {
			c.disk.removeResource(k, "")
		}
		c.store.purge(c.store.variants([]byte(k)), false)
	}
}

// Purge says what to drop: exactly one of Path and Tag.
type Purge struct {
	// Path of the answers. With a query, only those of that query; without one, of any. A path that ends in '*' stands for
	// all that begin with what is before it.
	Path string `json:"path,omitempty"`
	// Host limits a path to one host, port included where it is not 80. Empty: all.
	Host string `json:"host,omitempty"`
	// Tag that the answers' Cache-Tag or Surrogate-Key names.
	Tag string `json:"tag,omitempty"`
	// Soft makes them stale instead: they are validated before they serve again, and serve where that is allowed of stale
	// ones.
	Soft bool `json:"soft,omitempty"`
}

// Validate reports what is wrong with a purge.
func (p Purge) Validate() error {
	switch {
	case (p.Path == "") == (p.Tag == ""):
		return errors.New("purging: give a path or a tag, and not both")
	case p.Path != "" && p.Path[0] != '/':
		return fmt.Errorf("purging %q: a path begins with /", p.Path)
	case p.Tag != "" && p.Host != "":
		return fmt.Errorf("purging the tag %q: a host goes with a path only", p.Tag)
	}
	return nil
}

// Purge drops what p names and returns how many answers that were. What is on its way from the origin meanwhile is not
// stored. It returns an error only for a p that is not valid.
func (c *Cache) Purge(p Purge) (n int, err error) {
	if err := p.Validate(); err != nil {
		return 0, err
	}
	if p.Tag != "" {
		c.doom(func(f *flight) bool { return f.phase == waiting || hasTag(tagsOf(f.header), p.Tag) })
		n = c.purgeDisk(c.store.tagged(p.Tag), p.Soft, func(e *entry) bool { return hasTag(e.tags, p.Tag) })
		return n + c.store.purge(c.store.tagged(p.Tag), p.Soft), nil
	}
	host := string(appendHost(nil, p.Host))
	path, prefix := strings.CutSuffix(p.Path, "*")
	c.doom(func(f *flight) bool { return matchesPath(f.resource, host, path, prefix) })
	n = c.purgeDisk(c.store.under(host, path, prefix), p.Soft, func(e *entry) bool { return matchesPath(e.resource, host, path, prefix) })
	return n + c.store.purge(c.store.under(host, path, prefix), p.Soft), nil
}

// purgeDisk purges the disk tier and returns how many answers were there only. It comes before memory is purged: what is
// loaded in between is purged there.
func (c *Cache) purgeDisk(inMemory []*object, soft bool, which func(e *entry) bool) int {
	if c.disk == nil {
		return 0
	}
	known := map[string]bool{}
	for _, o := range inMemory {
		known[o.resource+"\x00"+o.variant()] = true
	}
	var n atomic.Int64 // also counted where the folder is only opened later
	count := func(e *entry) bool {
		if !which(e) {
			return false
		}
		if !known[e.resource+"\x00"+e.variant] {
			n.Add(1)
		}
		return true
	}
	if soft {
		c.disk.expire(count)
	} else {
		c.disk.remove(count)
	}
	return int(n.Load())
}

func hasTag(tags []string, tag string) bool {
	for _, t := range tags {
		if t == tag {
			return true
		}
	}
	return false
}
