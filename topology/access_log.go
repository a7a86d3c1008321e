package topology

// AccessLog says what is written of each request from outside.
type AccessLog struct {
	// File that lines are appended to, relative to the topology file; - is the standard output. It is opened anew with
	// each reload, so that it can be moved away first.
	File string `yaml:"file" schema:"required,format=file"`
	// MaxSize of the file: one that has grown to it is moved to FILE.1, in the place of the one before. 0: it grows.
	MaxSize Bytes `yaml:"max_size" schema:"default=0"`
	// Format of the lines: json says most, and is what 'banyan gateway dry-run' and 'banyan load import' read best; common
	// and combined are those of Apache httpd.
	Format string `yaml:"format" schema:"enum=json|common|combined,default=json"`
	// Headers of requests that json lines hold, by name: those that routes match, balancing hashes or limits count by.
	// None is logged unless it is named here, for headers hold secrets.
	Headers []string `yaml:"headers" schema:"maxItems=32"`
	// Sample is the share of requests that are logged. Those that failed (5xx, or broken off) always are.
	Sample Percent `yaml:"sample" schema:"maximum=100%,default=100%"`
}
