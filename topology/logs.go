package topology

// Logs says how what services write and send as log lines is kept.
type Logs struct {
	// Off keeps no lines but the last ones of each replica, as text, and takes none by any protocol.
	Off bool `yaml:"off"`
	// Retain is how long lines are kept.
	Retain Duration `yaml:"retain" schema:"default=7d,minimum=1m"`
	// MaxSize that the lines may take on disk, compressed; beyond it the oldest go.
	MaxSize Bytes `yaml:"max_size" schema:"default=10GiB"`
	// MaxLine is how much of a line is kept; longer ones are cut, and counted.
	MaxLine Bytes `yaml:"max_line" schema:"default=256KiB,minimum=1KiB,maximum=2MiB"`
	// Rate of lines that a replica may write, over ten seconds; beyond it its lines are dropped, counted, and a line says how many.
	Rate Rate `yaml:"rate" schema:"default=20000/s"`
	// Redact takes text out of lines before they are stored: email, card (numbers that pass the check digit), secret (values of password,
	// token, api_key, authorization), bearer, ipv4.
	Redact []string `yaml:"redact" schema:"maxItems=20"`
	// RedactPatterns are rules of your own: regular expressions (RE2) by name. Their first group, or all of what matches, is replaced by [NAME].
	RedactPatterns map[string]string `yaml:"redact_patterns"`
	// Syslog is an address at which syslog is received, over UDP and TCP. Left out: none is.
	Syslog string `yaml:"syslog" schema:"format=address"`
	// Engine that lines are sent on to: elasticsearch or loki. They are kept here as well. embedded: they are sent nowhere.
	Engine string `yaml:"engine" schema:"enum=embedded|elasticsearch|loki,default=embedded"`
	// URL of the engine, such as http://elastic:9200.
	URL string `yaml:"url" schema:"format=url"`
}

// Traces says which traces are kept, and for how long.
type Traces struct {
	// Off keeps no traces and takes none; services still pass them on.
	Off bool `yaml:"off"`
	// Retain is how long spans are kept.
	Retain Duration `yaml:"retain" schema:"default=3d,minimum=1m"`
	// MaxSize that spans may take on disk, compressed; beyond it the oldest go.
	MaxSize Bytes `yaml:"max_size" schema:"default=5GiB"`
	// Share of the traces that is kept besides those with errors, the slowest of each route, and rare ones.
	Share Percent `yaml:"share" schema:"maximum=100%,default=5%"`
	// Few is a rate up to which all traces are kept.
	Few Rate `yaml:"few" schema:"default=5/s"`
	// Wait for the spans of a trace, from its first on, before it is decided whether to keep it.
	Wait Duration `yaml:"wait" schema:"default=10s,minimum=100ms,maximum=5m"`
}
