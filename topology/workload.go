package topology

// Workload is the load that a system is planned for and tested with: open (a rate that does not care how the system
// does) or closed (users who wait for the answer and think before they go on). Exactly one of rate, stages, trace and
// users is set.
type Workload struct {
	// Rate at which scenarios are started, for example 200/s (an open workload).
	Rate Rate `yaml:"rate"`
	// Arrivals of an open workload: poisson (random, as independent users are) or constant (evenly spaced).
	Arrivals string `yaml:"arrivals" schema:"enum=poisson|constant,default=poisson"`
	// Stages of an open workload whose rate changes: each leads from the rate before to its own, linearly unless its shape
	// says otherwise.
	Stages []Stage `yaml:"stages"`
	// Trace is a recorded series of arrivals that is replayed.
	Trace *Trace `yaml:"trace"`
	// Users of a closed workload, each running one scenario after the other.
	Users int `yaml:"users" schema:"minimum=0,maximum=10000000"`
	// Think is the mean pause of a user between two requests.
	Think Duration `yaml:"think"`
	// ThinkTimes is the distribution of all pauses, whose means are given: exponential, constant, uniform (from half to one
	// and a half of the mean) or lognormal (of a standard deviation as large as the mean: a few users read for long).
	ThinkTimes string `yaml:"think_times" schema:"enum=exponential|constant|uniform|lognormal,default=exponential"`
	// Duration of a load test, its warm-up not included.
	Duration Duration `yaml:"duration" schema:"default=30s,maximum=168h"`
	// Warmup is run first and left out of the figures.
	Warmup Duration `yaml:"warmup" schema:"default=0s,maximum=24h"`
	// Timeout of one request, as the client sees it.
	Timeout Duration `yaml:"timeout" schema:"default=30s,minimum=1ms,maximum=1h"`
	// Mix gives each scenario its share. Shares are weights: they need not add up to 100%.
	Mix map[string]Percent `yaml:"mix"`
	// Feeders supply the steps with rows of values, by name: ${products.id} is the column id of the row at hand.
	Feeders map[string]*Feeder `yaml:"feeders" schema:"keys=name"`
	// Scenarios are what users do, by name.
	Scenarios map[string]*Scenario `yaml:"scenarios" schema:"keys=name"`
	// Thresholds that a load test must keep, such as 'p99 < 200ms', 'errors < 0.1%' or 'p99{POST /checkout} < 300ms'.
	Thresholds []string `yaml:"thresholds"`
}

// Trace is a CSV file, gzip'd or not, with a header: the first column is the time, the second the number of arrivals
// (or the rate) of each period.
type Trace struct {
	// File of the trace, relative to the topology file.
	File string `yaml:"file" schema:"required,format=file"`
	// Speed at which it is replayed: 60 turns an hour into a minute, and multiplies the rate by as much.
	Speed float64 `yaml:"speed" schema:"exclusiveMinimum=0,maximum=1000000,default=1"`
	// Scale multiplies the number of arrivals.
	Scale float64 `yaml:"scale" schema:"exclusiveMinimum=0,maximum=1000000,default=1"`
	// From is the offset into the trace at which the replay starts, in the trace's own time.
	From Duration `yaml:"from"`
	// Length of the part that is replayed, in the trace's own time. 0: to the end.
	Length Duration `yaml:"length"`
	// Period of one sample. Left out: the difference of the first two times.
	Period Duration `yaml:"period"`
}

// Feeder is a source of values for requests: the rows of a file or a range of whole numbers. Each run of a scenario
// takes one row of every feeder that its steps name, before its first step, and all of them see that row. Exactly one
// of file and from is set.
type Feeder struct {
	// File of rows, relative to the topology file, gzip'd or not: CSV with a header, or JSON objects, one a line (the
	// name then ends in .jsonl, .ndjson or .json). ${NAME.COLUMN} is a value; a column of JSON may be a path: price.amount.
	File string `yaml:"file" schema:"format=file"`
	// From is the first of a range of whole numbers, which are used as ${NAME}.
	From *int `yaml:"from"`
	// To is the last number of the range. Left out: there is no end.
	To *int `yaml:"to"`
	// Order in which rows are taken: sequence (one after the other, then from the start again), random (each as likely),
	// zipf (the first ones more often) or once (none twice in a run; a scenario that finds none left is not started).
	Order string `yaml:"order" schema:"enum=sequence|random|zipf|once,default=sequence"`
}

// Scenario is what one user does, step by step.
type Scenario struct {
	// Think overrides the workload's pause between two steps.
	Think *Duration `yaml:"think"`
	// Setup is run once, before the load begins, and left out of the figures. What it extracts, every run of the scenario
	// knows. Where a step of it fails, the load is not begun.
	Setup []*Step `yaml:"setup" schema:"maxItems=1000"`
	// Steps in their order.
	Steps []*Step `yaml:"steps" schema:"required,minItems=1,maxItems=1000"`
	// Teardown is run once, after the load has ended, however it ended, and left out of the figures. It knows what setup
	// extracted.
	Teardown []*Step `yaml:"teardown" schema:"maxItems=1000"`
}

// Step is one request: exactly one of path, redis, grpc, websocket, tcp, nats and dynamodb. In path, headers, body, form,
// json and the texts of the others, ${name} is replaced: by a value that an earlier step extracted, by ${feeder.column} of
// a feeder's row, or by ${user}, ${iteration}, ${seq}, ${uuid}, ${random:1:100} (a whole number, both ends included),
// ${zipf:1:100} (the same, small numbers more often) or ${pick:a,b,c}.
type Step struct {
	// Name of the step in reports. Left out: the name of the route that it matches.
	Name string `yaml:"name"`
	// Tags under which reports show it together with the other steps that have them, such as read or write. Steps of one
	// name have the same tags.
	Tags Strings `yaml:"tags" schema:"maxItems=20"`
	// To is the address that the step goes to, where that is not the target of the run. Its scheme is the protocol: http,
	// https, h2 (HTTP/2 over TLS), h2c (HTTP/2 without), grpc, grpcs, ws, wss, tcp, tls, redis, rediss, nats, dynamodb,
	// dynamodbs.
	To string `yaml:"to"`
	// Method of the request.
	Method string `yaml:"method" schema:"enum=GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS,default=GET"`
	// Path of the request, with its query.
	Path string `yaml:"path" schema:"format=path"`
	// Redis commands, such as 'GET user:${user}': words with spaces between them, those with a space in quotes. Several are
	// sent together (pipelined), and the step ends with the last answer.
	Redis Strings `yaml:"redis" schema:"maxItems=10000"`
	// GRPC calls a method.
	GRPC *GRPCCall `yaml:"grpc"`
	// WebSocket connects, sends a message, awaits one.
	WebSocket *WebSocketCall `yaml:"websocket"`
	// TCP sends bytes and reads the answer.
	TCP *TCPCall `yaml:"tcp"`
	// NATS sends a request, or publishes.
	NATS *NATSCall `yaml:"nats"`
	// DynamoDB is an action, such as GetItem, whose input is json.
	DynamoDB string `yaml:"dynamodb"`
	// Headers of the request.
	Headers map[string]string `yaml:"headers"`
	// Body of the request, as it is.
	Body string `yaml:"body"`
	// Form is sent as application/x-www-form-urlencoded.
	Form map[string]string `yaml:"form"`
	// JSON is sent as application/json.
	JSON any `yaml:"json"`
	// Extract takes values from the answer, for later steps, by variable name.
	Extract map[string]*Extract `yaml:"extract" schema:"keys=variable"`
	// Expect says what a good answer is. Left out: a status from 200 to 399.
	Expect *Expect `yaml:"expect"`
	// Think overrides the pause after this step.
	Think *Duration `yaml:"think"`
	// Weight, where only some runs of the scenario take this step.
	Weight Percent `yaml:"weight" schema:"maximum=100%,default=100%"`
}

// Extract takes a value from an answer; exactly one field is set.
type Extract struct {
	// JSON path of the value, such as id or items.0.id.
	JSON string `yaml:"json"`
	// Header whose value it is.
	Header string `yaml:"header"`
	// Regex whose first group it is.
	Regex string `yaml:"regex"`
}

// Expect says what a good answer is.
type Expect struct {
	// Status codes that are good.
	Status []int `yaml:"status" schema:"maxItems=500,itemMinimum=100,itemMaximum=599"`
	// Contains is text that the body must hold.
	Contains string `yaml:"contains"`
}
