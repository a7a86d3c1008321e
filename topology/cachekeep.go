package topology

// CachePersist has an embedded cache be kept on disk, so that it is warm again after a restart.
type CachePersist struct {
	// Append has every change be appended to a file. It says when that file is synced: always, before a command is answered
	// (clients that wait share a sync); everysec, once a second, so that a machine that dies loses what was acknowledged in
	// the last second or two; no, when the operating system likes. off: there is no such file.
	Append string `yaml:"append" schema:"enum=always|everysec|no|off,default=everysec"`
	// Snapshot is how often a snapshot is written, where anything has changed. 0: never, unless by SAVE and BGSAVE.
	Snapshot Duration `yaml:"snapshot" schema:"maximum=365d"`
	// Rewrite is the size from which on the append file is written anew when it has doubled since the last time.
	Rewrite Bytes `yaml:"rewrite" schema:"default=64MiB,minimum=1MiB,maximum=1TiB"`
	// Dir is the folder for the files, relative to the file; each cache has its own. Left out: one in .banyan beside the file.
	Dir string `yaml:"dir" schema:"format=file"`
}

// CacheOrigin is an HTTP service that an embedded cache stands in front of: keys of a pattern are loaded from there when they
// are asked for (GET, MGET) and not there, once however many ask.
type CacheOrigin struct {
	// Keys that come from the origin: a name with one * in it, such as item:*. Of several origins the first counts that fits.
	Keys string `yaml:"keys" schema:"required"`
	// URL that a key is loaded from, by GET. {key} stands for what the * stands for, escaped.
	URL string `yaml:"url" schema:"format=url"`
	// Table that keys are loaded from, in place of a URL. Tables do not run yet, so that this is refused when the cache starts.
	Table string `yaml:"table"`
	// Headers that are sent along.
	Headers map[string]string `yaml:"headers"`
	// TTL is how long a value is fresh.
	TTL Duration `yaml:"ttl" schema:"default=1m,minimum=1ms,maximum=365d"`
	// Stale is for how long a value that is no longer fresh is still served, while it is loaded anew or cannot be.
	Stale Duration `yaml:"stale" schema:"maximum=365d"`
	// Missing is how long it is remembered that the origin has no such thing (404, 410). 0: it is asked each time.
	Missing Duration `yaml:"missing" schema:"default=5s,maximum=365d"`
	// Early is how eagerly a value is loaded anew before it is stale, by chance, so that not all find it stale at once. It is
	// the beta of XFetch (Vattani et al., 2015): 1 is optimal there, 0: never.
	Early float64 `yaml:"early" schema:"default=1,minimum=0,maximum=100"`
	// Timeout of a load or a write, the wait for its turn included.
	Timeout Duration `yaml:"timeout" schema:"default=2s,minimum=1ms,maximum=1h"`
	// Concurrency is how many requests the origin gets at once.
	Concurrency int `yaml:"concurrency" schema:"default=64,minimum=1,maximum=10000"`
	// Waiting is how many more may wait for their turn; beyond that clients get an error.
	Waiting int `yaml:"waiting" schema:"default=1000,minimum=1,maximum=100000"`
	// MaxValue is the longest answer that is taken.
	MaxValue Bytes `yaml:"max_value" schema:"default=8MiB,minimum=1B,maximum=512MiB"`
	// Write says what becomes of what clients store under these keys: off, it stays in the cache; through, the origin has it
	// (PUT, DELETE) before the client is answered; behind, the client is answered at once and the origin has it soon: what
	// waits is lost if the process is killed.
	Write string `yaml:"write" schema:"enum=off|through|behind,default=off"`
	// Delay of a write behind, in which further writes of the same key take its place.
	Delay Duration `yaml:"delay" schema:"default=1s,minimum=1ms,maximum=1h"`
	// Behind is how many keys may wait to be written.
	Behind int `yaml:"behind" schema:"default=10000,minimum=1,maximum=1000000"`
	// Breaker leaves an origin alone for a while that fails again and again; clients get an error then, or a stale value.
	Breaker Breaker `yaml:"breaker"`
}
