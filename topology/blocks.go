package topology

// Cache is an in-memory cache behind the Redis protocol.
type Cache struct {
	// Memory that the entries may take.
	Memory Bytes `yaml:"memory" schema:"default=64MiB,minimum=1MiB"`
	// TTL after which an entry expires that was stored without one. 0: never.
	TTL Duration `yaml:"ttl"`
	// Engine that serves the cache: embedded, or redis at the given URL.
	Engine string `yaml:"engine" schema:"enum=embedded|redis,default=embedded"`
	// URL of an external engine.
	URL string `yaml:"url" schema:"format=url"`
	// HitRatio that the planner assumes before anything was measured.
	HitRatio Percent `yaml:"hit_ratio" schema:"maximum=100%"`
}

// Table is a sharded, replicated table behind the DynamoDB API.
type Table struct {
	// Key of the items: the partition key, or [partition key, sort key].
	Key Strings `yaml:"key" schema:"required,maxItems=2"`
	// Consistency that reads and writes are given: strong (consensus; unavailable in the minority of a partition) or
	// eventual (leaderless; available, and converging).
	Consistency string `yaml:"consistency" schema:"enum=strong|eventual,default=strong"`
	// Shards that the items are spread over.
	Shards int `yaml:"shards" schema:"minimum=1,maximum=100000,default=1"`
	// Replicas that hold each shard.
	Replicas int `yaml:"replicas" schema:"minimum=1,maximum=9,default=1"`
	// Engine that serves the table: embedded, or dynamodb at the given URL.
	Engine string `yaml:"engine" schema:"enum=embedded|dynamodb,default=embedded"`
	// URL of an external engine.
	URL string `yaml:"url" schema:"format=url"`
}

// Queue is a durable work queue: each message is handled by one consumer at a time, until it is acknowledged.
type Queue struct {
	// AckWait is how long a consumer may take before the message is given to another.
	AckWait Duration `yaml:"ack_wait" schema:"default=30s,minimum=1ms"`
	// MaxDeliver is how often a message is delivered before it is dead.
	MaxDeliver int `yaml:"max_deliver" schema:"minimum=1,maximum=10000,default=5"`
	// DeadLetter is the queue that dead messages are moved to. One that the file does not say more about is added to
	// the system, with the defaults and the same engine.
	DeadLetter string `yaml:"dead_letter"`
	// Engine that serves the queue: embedded, or nats at the given URL.
	Engine string `yaml:"engine" schema:"enum=embedded|nats,default=embedded"`
	// URL of an external engine.
	URL string `yaml:"url" schema:"format=url"`
}

// Topic is a retained log of events: each consumer group sees every event.
type Topic struct {
	// Retain is how long events are kept.
	Retain Duration `yaml:"retain" schema:"default=24h,minimum=1s"`
	// Partitions that keep order each, by key.
	Partitions int `yaml:"partitions" schema:"minimum=1,maximum=10000,default=1"`
	// Engine that serves the topic: embedded, or nats or kafka at the given URL.
	Engine string `yaml:"engine" schema:"enum=embedded|nats|kafka,default=embedded"`
	// URL of an external engine.
	URL string `yaml:"url" schema:"format=url"`
}

// Function is a serverless function.
type Function struct {
	// Build is the folder of a Go package, relative to the file.
	Build string `yaml:"build" schema:"format=file"`
	// Run is the command that starts an instance, where nothing is built.
	Run Command `yaml:"run"`
	// On says what starts the function.
	On Trigger `yaml:"on"`
	// Uses names what the function calls, as for a service.
	Uses []string `yaml:"uses"`
	// Timeout of one invocation.
	Timeout Duration `yaml:"timeout" schema:"default=30s,minimum=1ms,maximum=1h"`
	// Memory of one instance.
	Memory Bytes `yaml:"memory" schema:"default=128MiB,minimum=1MiB"`
	// Concurrency is the number of invocations that one instance handles at once.
	Concurrency int `yaml:"concurrency" schema:"minimum=1,maximum=10000,default=1"`
	// Work is what one invocation asks for, for planning.
	Work *Work `yaml:"work"`
}

// Trigger starts a function: exactly one field is set, or none where a service calls the function through 'uses'.
type Trigger struct {
	// Topic whose events start it.
	Topic string `yaml:"topic"`
	// Queue whose messages start it.
	Queue string `yaml:"queue"`
	// HTTP path on the gateway that starts it.
	HTTP string `yaml:"http" schema:"format=path"`
	// Every so often it is started.
	Every Duration `yaml:"every"`
}
