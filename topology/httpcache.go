package topology

// HTTPCache has the gateway keep a route's answers to GET, as far as they allow it (RFC 9111), and serve them to all
// clients.
type HTTPCache struct {
	// MaxObject is the largest body that is kept.
	MaxObject Bytes `yaml:"max_object" schema:"default=1MiB,minimum=1KiB,maximum=1GiB"`
	// TTL is how long an answer is fresh that does not say so itself and whose status allows it to be kept. 0: such
	// answers are not kept, or only to be validated.
	TTL Duration `yaml:"ttl" schema:"maximum=365d"`
	// Heuristic guesses how long an answer is fresh that says nothing but when it was last modified: a tenth of its age,
	// a day at most (RFC 9111, 4.2.2).
	Heuristic bool `yaml:"heuristic"`
	// StaleWhileRevalidate is for how long an answer that has expired is still served while a newer one is fetched, where
	// it says nothing of that itself (RFC 5861).
	StaleWhileRevalidate Duration `yaml:"stale_while_revalidate" schema:"maximum=365d"`
	// StaleIfError is for how long an answer that has expired is served where the service fails, where it says nothing of
	// that itself (RFC 5861).
	StaleIfError Duration `yaml:"stale_if_error" schema:"maximum=365d"`
	// Key says what of a request tells answers apart. Left out: its host, path and whole query.
	Key HTTPCacheKey `yaml:"key"`
	// Objects that the route has, for planning. Count and zipf hold where the workload's paths have no variables that tell.
	Objects *HTTPObjects `yaml:"objects"`
}

// HTTPCacheKey says what of a request tells answers apart, besides host and path, and before any Vary does.
type HTTPCacheKey struct {
	// Query parameters that count; all others do not. Left out: all count.
	Query Strings `yaml:"query" schema:"maxItems=100"`
	// IgnoreQuery names parameters that do not count, such as utm_source.
	IgnoreQuery Strings `yaml:"ignore_query" schema:"maxItems=100"`
	// NoQuery leaves the whole query out.
	NoQuery bool `yaml:"no_query"`
	// Headers whose values count.
	Headers Strings `yaml:"headers" schema:"maxItems=16"`
	// Cookies whose values count.
	Cookies Strings `yaml:"cookies" schema:"maxItems=16"`
}

// HTTPObjects is what a prediction assumes of the objects that a cached route has.
type HTTPObjects struct {
	// Count of different objects that are asked for.
	Count int `yaml:"count" schema:"required,minimum=1,maximum=5000000"`
	// Zipf is the exponent of their popularity: the one of rank k is asked for in proportion to 1/k^zipf. 0: all alike.
	Zipf float64 `yaml:"zipf" schema:"minimum=0,maximum=10,default=0.99"`
	// Size of an object's body, on average.
	Size Bytes `yaml:"size" schema:"default=8KiB,minimum=1B,maximum=1GiB"`
	// TTL is how long an object is fresh. Left out: the ttl of the cache, or for good where that is 0.
	TTL Duration `yaml:"ttl" schema:"maximum=365d"`
}

// HTTPCacheStore bounds what all routes with an http_cache keep together.
type HTTPCacheStore struct {
	// Memory that is used.
	Memory Bytes `yaml:"memory" schema:"default=64MiB,minimum=1MiB,maximum=1TiB"`
	// Dir is a folder in which answers survive a restart, relative to the file. Left out: they are kept in memory only.
	Dir string `yaml:"dir" schema:"format=file"`
	// Disk that is used under dir.
	Disk Bytes `yaml:"disk" schema:"default=1GiB,minimum=1MiB,maximum=1PiB"`
}

// httpCache checks a route's cache.
func (c *checker) httpCache(s spot, r *Route) {
	h := r.HTTPCache
	if h == nil {
		return
	}
	s = s.child("http_cache")
	if r.Method != "" && r.Method != "GET" && r.Method != "HEAD" {
		c.at(s, Problem{Found: r.Method, Message: "answers to this method are not kept", Expected: "a route for GET, HEAD or any method"})
	}
	if r.Sticky != nil {
		c.at(s, Problem{Message: "sticky binds clients by a cookie in the answers, and kept answers have none", Expected: "one of http_cache and sticky"})
	}
	if len(r.Split) > 0 || r.Canary != nil {
		c.at(s, Problem{Message: "kept answers of one version would be given for those of the other", Expected: "one of http_cache and split or canary"})
	}
	if memory := c.sys.httpMemory(); h.MaxObject > memory {
		c.at(s.child("max_object"), Problem{Found: h.MaxObject.String(), Message: "it is more than all of the memory (" + memory.String() + ")",
			Hint: "raise the system's 'http_cache: {memory: ...}'"})
	}
	key := s.child("key")
	switch k := h.Key; {
	case k.NoQuery && len(k.Query)+len(k.IgnoreQuery) > 0:
		c.at(key, Problem{Message: "no_query leaves the whole query out", Expected: "no_query, or the names of parameters"})
	case len(k.Query) > 0 && len(k.IgnoreQuery) > 0:
		c.at(key, Problem{Message: "only the parameters in query count, so that none is left to ignore", Expected: "one of query and ignore_query"})
	}
	for i, name := range h.Key.Headers {
		if name == "" || !isToken(name) {
			c.at(key.child("headers").item(i), Problem{Found: quoteFound(name), Expected: "the name of a header"})
		}
	}
	for i, name := range h.Key.Cookies {
		if name == "" || !isToken(name) {
			c.at(key.child("cookies").item(i), Problem{Found: quoteFound(name), Expected: "the name of a cookie"})
		}
	}
	if o := h.Objects; o != nil && o.Size > h.MaxObject {
		c.at(s.child("objects").child("size"), Problem{Found: o.Size.String(), Message: "the average object is larger than what is kept (max_object, " + h.MaxObject.String() + ")"})
	}
}

// httpMemory is what all cached answers may take in memory.
func (s *System) httpMemory() Bytes {
	if s.HTTPCache != nil && s.HTTPCache.Memory > 0 {
		return s.HTTPCache.Memory
	}
	return 64 << 20
}

// httpStore checks that the store is of use.
func (c *checker) httpStore() {
	if c.sys.HTTPCache == nil {
		return
	}
	for _, r := range c.sys.Routes {
		if r.HTTPCache != nil {
			return
		}
	}
	c.at(c.spots[c.sys].child("http_cache"), Problem{Message: "no route keeps anything", Expected: "a route with 'http_cache: {}'"})
}
