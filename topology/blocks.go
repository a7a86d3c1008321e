package topology

// Cache is an in-memory cache behind the Redis protocol.
type Cache struct {
	// Memory that the entries may take.
	Memory Bytes `yaml:"memory" schema:"default=64MiB,minimum=1MiB"`
	// TTL after which an entry expires that was stored without one. 0: never.
	TTL Duration `yaml:"ttl"`
	// Nodes that the cache runs on. With 3 or more it is a cluster, for clients of Redis Cluster; memory is what they hold together,
	// copies on replicas not counted.
	Nodes int `yaml:"nodes" schema:"minimum=1,maximum=64,default=1"`
	// Replicas of each primary among the nodes: of 6 nodes with 1, three are primaries.
	Replicas int `yaml:"replicas" schema:"minimum=0,maximum=5"`
	// HotReads has nodes of a cluster answer reads of hot keys that are other nodes', for connections that have said READONLY. It bounds
	// how old such an answer may be. 0: only a key's own node, and its replicas, answer.
	HotReads Duration `yaml:"hot_reads" schema:"maximum=1m"`
	// Engine that serves the cache: embedded, or redis at the given URL.
	Engine string `yaml:"engine" schema:"enum=embedded|redis,default=embedded"`
	// URL of an external engine.
	URL string `yaml:"url" schema:"format=url"`
	// HitRatio that is assumed where nothing says which keys are asked for.
	HitRatio Percent `yaml:"hit_ratio" schema:"maximum=100%"`
	// Of is what the cache holds copies of, as in 'uses'. Who uses both asks it only for what the cache does not have, and
	// stores the answer; a request that writes asks it, and drops the entry. Left out: the table of the same name, if
	// there is one.
	Of string `yaml:"of"`
	// Keys is how many different keys are asked for, for simulation: with memory, entry, ttl and skew it says how often
	// the cache hits. 0: not known.
	Keys int `yaml:"keys" schema:"minimum=0,maximum=20000000"`
	// Skew is the exponent of Zipf's law by which keys are asked for: 0 all alike, 0.99 as in the YCSB benchmark.
	Skew *float64 `yaml:"skew" schema:"minimum=0,maximum=10,default=0.99"`
	// Entry is the memory of one entry, its key included.
	Entry Bytes `yaml:"entry" schema:"default=1KiB,minimum=1"`
	// Lookup is what one operation asks of the cache. Left out: 10us of CPU, for Redis answers about 100,000 requests a
	// second on one core (its own benchmark page, without pipelining).
	Lookup *Cost `yaml:"lookup"`
	// Persist has the cache be kept on disk. Left out: what is in it is gone when it ends.
	Persist *CachePersist `yaml:"persist"`
	// Origins that keys come from which are not there.
	Origins []*CacheOrigin `yaml:"origins" schema:"maxItems=100"`
}

// Primaries are the nodes that share the keys.
func (v *Cache) Primaries() int { return max(1, v.Nodes/(1+v.Replicas)) }

// NodeMemory is what the entries of one node may take: a primary's share, of which its replicas have copies.
func (v *Cache) NodeMemory() Bytes { return v.Memory / Bytes(v.Primaries()) }

// Cost is what one operation of a block asks for, for planning before anything was measured.
type Cost struct {
	// CPU time of one operation.
	CPU Duration `yaml:"cpu"`
	// Delay of one operation that is not CPU and does not queue.
	Delay Duration `yaml:"delay"`
	// SCV is the squared coefficient of variation of the CPU time: 0 constant, 1 exponential.
	SCV *float64 `yaml:"scv" schema:"minimum=0,maximum=1000,default=1"`
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
	// Keys is how many items are asked for, for simulation: with skew it says how unevenly the shards are used. 0: they
	// are used alike.
	Keys int `yaml:"keys" schema:"minimum=0,maximum=1000000000"`
	// Skew is the exponent of Zipf's law by which items are asked for: 0 all alike, 0.99 as in the YCSB benchmark.
	Skew *float64 `yaml:"skew" schema:"minimum=0,maximum=10,default=0.99"`
	// Writes is the share of operations that write. Left out: those of requests whose method is not safe (RFC 9110,
	// 9.2.1), and of messages.
	Writes *Percent `yaml:"writes" schema:"maximum=100%"`
	// EventualReads is the share of reads that do not ask for consistency, as GetItem without ConsistentRead: any node answers
	// them, with what it has. For simulation and planning of strong tables; all reads of an eventual one are so.
	EventualReads Percent `yaml:"eventual_reads" schema:"maximum=100%"`
	// CPU that each node has, in cores, for simulation and planning of nodes with a CPU limit. 0: nodes share the machine's cores with
	// all else, as the tables inside of 'up' do.
	CPU CPU `yaml:"cpu" schema:"minimum=0,maximum=4096"`
	// Read is what one read asks of a node. Left out: 60us of CPU. etcd's own benchmark reads 141,578 times a second
	// (linearizable) on three machines of 8 cores; much of that is its network stack.
	Read *Cost `yaml:"read"`
	// Write is what one write asks of each node that holds its shard. Left out: 180us of CPU. etcd's own benchmark writes
	// 44,341 times a second, with a leader of 8 cores.
	Write *Cost `yaml:"write"`
	// Follow is what one write asks of each node that holds its shard and did not take the request. Left out: as much CPU as write.
	Follow *Cost `yaml:"follow"`
	// Fsync is the mean time in which a node's log reaches the disk, exponentially distributed. Writes that come meanwhile
	// share the next one (group commit). 1ms is what disks in data centres take; etcd asks for less than 10ms at p99.
	Fsync Duration `yaml:"fsync" schema:"default=1ms,maximum=10s"`
	// RoundTrip between two nodes that hold a shard. 0.5ms is one within a data centre (J. Dean, Numbers everyone should
	// know, 2009).
	RoundTrip Duration `yaml:"round_trip" schema:"default=500us,maximum=10s"`
	// Failover is how long the shards that a node led are without a leader when it has died: election time-outs of etcd
	// are 1s.
	Failover Duration `yaml:"failover" schema:"default=1s,maximum=1h"`
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
	// Consumers are the services that handle the messages, each with the number that one replica handles at once. What a
	// message asks for is the service's own 'work'. Functions say so themselves, by 'on'.
	Consumers map[string]int `yaml:"consumers" schema:"itemMinimum=1,itemMaximum=100000"`
	// Push has the messages posted to these services of 'consumers', each at a path, so that they need no client library.
	Push map[string]string `yaml:"push"`
	// Inbox is for how long it is remembered which messages these services have taken: one with the same id is then acknowledged
	// without being posted again. 0: not at all.
	Inbox Duration `yaml:"inbox" schema:"maximum=366d"`
	// Durability of a message that was acknowledged to its publisher: durable (on disk before), relaxed (on disk up to a
	// second later: the death of the machine loses it, that of the process does not) or replicated (on three nodes, and on the
	// disks of two before). One queue or topic that is replicated makes all so.
	Durability string `yaml:"durability" schema:"enum=durable|relaxed|replicated,default=durable"`
	// Backoff is how long a message waits after a failed delivery.
	Backoff *QueueBackoff `yaml:"backoff"`
	// Ordered keeps the order within each key: of the messages with one key, one is in flight at a time.
	Ordered bool `yaml:"ordered"`
	// Dedupe is for how long the id of a message is remembered, so that another one with the same id is not stored.
	Dedupe Duration `yaml:"dedupe" schema:"default=2m,maximum=1h"`
	// TTL after which a message ends that nobody has taken. 0: never.
	TTL Duration `yaml:"ttl"`
	// MaxMessages that the queue holds; a further one is refused. 0: any number.
	MaxMessages int `yaml:"max_messages" schema:"minimum=0,maximum=1000000000"`
	// MaxBytes that the messages of the queue take; a further one is refused. 0: as much as the disk has.
	MaxBytes Bytes `yaml:"max_bytes"`
	// Schedules publish messages at set times, by name.
	Schedules map[string]*QueueSchedule `yaml:"schedules" schema:"keys=name"`
	// Limit bounds how many messages a second all consumers together are given, deliveries that are made again included.
	Limit *DeliveryLimit `yaml:"limit"`
	// Limits bounds that of single consumers, by name: a service that messages are pushed to, a consumer of a NATS client, what
	// HTTP clients say with 'consumer'.
	Limits map[string]*DeliveryLimit `yaml:"limits" schema:"keys=name"`
	// Publish is what one message that is stored asks of the queue. Left out: 20us of CPU.
	Publish *Cost `yaml:"publish"`
	// Fsync is the mean time in which messages reach the disk, exponentially distributed. Those that come meanwhile share
	// the next one.
	Fsync Duration `yaml:"fsync" schema:"default=1ms,maximum=10s"`
}

// DeliveryLimit bounds deliveries: a token bucket, which is full when the process begins.
type DeliveryLimit struct {
	// Rate of messages that are given out for good.
	Rate Rate `yaml:"rate" schema:"required,exclusiveMinimum=0"`
	// Burst is how many may be given out at once. Left out: as many as in a second, at least one.
	Burst int `yaml:"burst" schema:"minimum=1,maximum=1000000000"`
}

// QueueSchedule publishes one message at each instant of a timetable: once, whatever becomes of the process about that time.
type QueueSchedule struct {
	// Cron says when: five fields of crontab such as '30 2 * * mon-fri', @hourly, @daily, @weekly, @monthly or @yearly, or
	// '@every 10m'. An instant that a change of the clocks leaves out comes at the change, one that is repeated comes once;
	// lines whose hour or minute begins with '*' go by the clock as it is.
	Cron string `yaml:"cron" schema:"required,maxLength=200"`
	// Zone whose clock the fields go by, such as Europe/Berlin. Left out: UTC.
	Zone string `yaml:"zone" schema:"maxLength=64"`
	// Missed says what becomes of instants that are more than a minute ago when they could be seen to, for the process did
	// not run or the queue was full: skip drops them, once publishes the latest of them.
	Missed string `yaml:"missed" schema:"enum=skip|once,default=skip"`
	// Body of the message.
	Body string `yaml:"body" schema:"maxLength=65536"`
	// JSON of the message, rather than a body.
	JSON any `yaml:"json"`
	// Headers of the message.
	Headers map[string]string `yaml:"headers" schema:"maxLength=2000"`
	// Key of the message, for queues that are ordered.
	Key string `yaml:"key" schema:"maxLength=256"`
	// Priority of the message: a higher one goes first.
	Priority int `yaml:"priority" schema:"minimum=0,maximum=9"`
	// TTL after which the message ends if nobody has taken it. 0: as the queue says.
	TTL Duration `yaml:"ttl" schema:"maximum=366d"`
}

// QueueBackoff is a wait that grows with each failed delivery of a message.
type QueueBackoff struct {
	// First wait. 0: a message that failed can be taken again at once.
	First Duration `yaml:"first" schema:"default=1s,maximum=24h"`
	// Max is the longest wait.
	Max Duration `yaml:"max" schema:"default=5m,maximum=24h"`
	// Factor by which it grows.
	Factor float64 `yaml:"factor" schema:"default=2,minimum=1,maximum=100"`
	// Jitter is the share of the wait that is random, so that messages that failed together don't come back together.
	Jitter Percent `yaml:"jitter" schema:"default=50%,maximum=100%"`
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
	// Consumers are the services that handle the events, each a group of its own, with the number that one replica handles
	// at once. A group never handles more at once than there are partitions.
	Consumers map[string]int `yaml:"consumers" schema:"itemMinimum=1,itemMaximum=100000"`
	// Push has the events posted to these services of 'consumers', each at a path, so that they need no client library.
	Push map[string]string `yaml:"push"`
	// Inbox is for how long it is remembered which messages these services have taken: one with the same id is then acknowledged
	// without being posted again. 0: not at all.
	Inbox Duration `yaml:"inbox" schema:"maximum=366d"`
	// Durability of an event that was acknowledged to its publisher, as for queues. One topic that is not relaxed makes all
	// topics durable.
	Durability string `yaml:"durability" schema:"enum=durable|relaxed|replicated,default=durable"`
	// Limits bounds how many events a second single consumer groups are given, by name: those of services that events are pushed
	// to, and those that fetch by HTTP. NATS clients read the stream themselves, and are not bounded.
	Limits map[string]*DeliveryLimit `yaml:"limits" schema:"keys=name"`
	// Filters say which events single consumer groups get, by name, by the attributes of the events (CloudEvents): exact, prefix or suffix of
	// attributes, and all, any or not of filters, such as {prefix: {type: order.}}. The others count as handled. NATS and Kafka clients read
	// the topic itself, and get all.
	Filters map[string]any `yaml:"filters" schema:"keys=name"`
	// Schema that events must have, a file: a JSON Schema, or Protobuf, of which the first message is meant. What does not have it
	// is refused. Left out: the one that was registered over HTTP, if any.
	Schema string `yaml:"schema" schema:"format=file"`
	// Compatibility that a new schema must have with the one before: backward (what was stored under the old one can be read
	// by the new one), forward (what is stored under the new one can be read by the old one), full (both) or none.
	Compatibility string `yaml:"compatibility" schema:"enum=backward|forward|full|none,default=backward"`
	// From has the topic consist of what happens elsewhere. Left out: of what clients publish.
	From *TopicSource `yaml:"from"`
	// Publish is what one event that is stored asks of the topic. Left out: 20us of CPU.
	Publish *Cost `yaml:"publish"`
	// Fsync is the mean time in which events reach the disk, exponentially distributed. Those that come meanwhile share
	// the next one.
	Fsync Duration `yaml:"fsync" schema:"default=1ms,maximum=10s"`
}

// TopicSource is what a topic consists of. Clients can't publish to it then.
type TopicSource struct {
	// Table whose changes are the events: each once, in their order, as DynamoDB Streams have them.
	Table string `yaml:"table" schema:"required"`
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
	// ColdStart is how long an instance takes until it is ready. Small programs in containers take 0.1 to 1s, most of it
	// the container (AWS gives 100ms to over 1s).
	ColdStart Duration `yaml:"cold_start" schema:"default=250ms,maximum=1h"`
	// Idle is how long an instance without work is kept. Ten minutes are what providers were seen to keep them (M. Shahrad
	// et al., Serverless in the Wild, 2020).
	Idle Duration `yaml:"idle" schema:"default=10m,maximum=24h"`
	// Instances is how many may run at once; further invocations wait.
	Instances int `yaml:"instances" schema:"minimum=1,maximum=10000,default=1000"`
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
