package topology

// Service is a program that answers requests; it runs as one or more replicas.
type Service struct {
	// Layer of the architecture that the service belongs to, one of the system's layers.
	Layer string `yaml:"layer"`
	// Build is the folder of a Go package, relative to the file, that is built into the service's program.
	Build string `yaml:"build" schema:"format=file"`
	// Run is the command that starts a replica: a list of words, or one string that is split at spaces (quotes as in a
	// shell; no expansion). ${PORT} and other variables of the replica's environment are replaced. With 'build' it
	// gives the arguments of the program that was built.
	Run Command `yaml:"run"`
	// Backends are the replicas of a service that Banyan does not run itself: another team's, another machine's, a third
	// party's. With them neither 'build' nor 'run' is given.
	Backends []Backend `yaml:"backends" schema:"maxItems=10000"`
	// Dir is the working directory of the replicas, relative to the file. Left out: the file's own folder.
	Dir string `yaml:"dir" schema:"format=file"`
	// Env is added to the replicas' environment.
	Env map[string]string `yaml:"env" schema:"keys=env"`
	// Uses names what the service calls: other services by name, and caches.NAME, tables.NAME, queues.NAME,
	// topics.NAME, functions.NAME. The service finds each through its environment.
	Uses []string `yaml:"uses"`
	// Contract is the file of the service's API description (OpenAPI), relative to the file.
	Contract string `yaml:"contract" schema:"format=file"`
	// Replicas of the service: a number, or {min, max} between which it is scaled.
	Replicas Replicas `yaml:"replicas"`
	// Limits of one replica.
	Limits Limits `yaml:"limits"`
	// TimerSlack is by how much the kernel may put off what wakes a replica by the clock: the end of a sleep or a time-out. The
	// kernel's own is 50us. Runtimes that look around many times a millisecond, as Go's does, cost a quarter less CPU time with more.
	// 0 is what Banyan itself was started with.
	TimerSlack Duration `yaml:"timer_slack" schema:"default=500us,maximum=1s"`
	// Scale says what drives the number of replicas between min and max.
	Scale *Scale `yaml:"scale"`
	// Health checks of the replicas.
	Health Health `yaml:"health"`
	// Restart of a replica that exited.
	Restart Restart `yaml:"restart"`
	// Drain is how long a replica that is being stopped may take to finish its requests before it is killed.
	Drain Duration `yaml:"drain" schema:"default=10s,maximum=1h"`
	// Deploy says how replicas are replaced.
	Deploy Deploy `yaml:"deploy"`
	// Metrics is the path on which the service shows Prometheus metrics, for example /metrics.
	Metrics string `yaml:"metrics" schema:"format=path"`
	// Concurrency is how many requests one replica is given at once; further ones wait or are refused. 0: no limit.
	Concurrency int `yaml:"concurrency" schema:"minimum=0,maximum=1000000"`
	// Protocol that the replicas speak: http1, h2c (HTTP/2), or grpc (HTTP/2 with calls of gRPC in it).
	Protocol string `yaml:"protocol" schema:"enum=http1|h2c|grpc,default=http1"`
	// TLS is spoken with the replicas. Left out: it is not.
	TLS *BackendTLS `yaml:"tls"`
	// Inbound says how calls to this service are balanced, retried and broken. Routes may override it.
	Inbound Inbound `yaml:"inbound"`
	// Work is what one request asks of the service, for planning before anything was measured.
	Work *Work `yaml:"work"`
	// Link is the network between the service and those that call it, for simulation. Left out: it takes no time.
	Link *Link `yaml:"link"`
}

// Link is what the network adds to one call.
type Link struct {
	// Delay of one call, there and back.
	Delay Duration `yaml:"delay" schema:"maximum=1h"`
	// SCV is the squared coefficient of variation of the delay: 0 constant, 1 exponential.
	SCV *float64 `yaml:"scv" schema:"minimum=0,maximum=1000,default=1"`
}

// Replicas bounds the number of replicas of a service.
type Replicas struct {
	// Min is how many run at least, and at the start.
	Min int `yaml:"min" schema:"minimum=0,maximum=10000,default=1"`
	// Max is how many may run. Left out: as many as min.
	Max int `yaml:"max" schema:"minimum=1,maximum=10000"`
}

// Limits of one replica, kept by control groups where the machine allows it.
type Limits struct {
	// CPU in cores, for example 0.5 or 500m. 0: no limit.
	CPU CPU `yaml:"cpu" schema:"minimum=0,maximum=4096"`
	// Memory, for example 128MiB, at least 1MiB. 0: no limit.
	Memory Bytes `yaml:"memory"`
}

// Scale says what drives the number of replicas.
type Scale struct {
	// Target that the autoscaler holds.
	Target ScaleTarget `yaml:"target"`
	// Policy by which it reacts: kubernetes (the horizontal pod autoscaler), knative (windows of a minute and of seconds,
	// with panic), tracking (target tracking as AWS does it) or steps.
	Policy string `yaml:"policy" schema:"enum=kubernetes|knative|tracking|steps,default=kubernetes"`
	// Predict scales ahead of forecast traffic, where that has proved to pay on this very traffic.
	Predict bool `yaml:"predict"`
	// History is recorded traffic that the forecast starts from: a CSV file of a time and a rate or count, relative to the
	// file. What was recorded of earlier runs here is used in any case.
	History string `yaml:"history" schema:"format=file"`
	// Schedule has more replicas at least at times that are known beforehand.
	Schedule []ScaleWindow `yaml:"schedule" schema:"maxItems=100"`
	// Budget is what the service may cost in an hour at most, by 'prices' and its limits. 0: no bound.
	Budget float64 `yaml:"budget" schema:"minimum=0"`
	// Vertical gives each replica more CPU before there are more of them. Left out: their limits stay.
	Vertical *Vertical `yaml:"vertical"`
	// DryRun has the autoscaler decide and say why, and change nothing.
	DryRun bool `yaml:"dry_run"`
	// CoolDown is how long load must stay low before replicas are taken away.
	CoolDown Duration `yaml:"cool_down" schema:"default=5m"`
}

// ScaleWindow is a time that comes again.
type ScaleWindow struct {
	// At is when it begins: the five fields of a line of crontab, in the machine's time zone.
	At string `yaml:"at" schema:"format=cron"`
	// For is how long it lasts.
	For Duration `yaml:"for" schema:"minimum=1m,maximum=744h"`
	// Min is how many replicas there are then at least.
	Min int `yaml:"min" schema:"minimum=1,maximum=10000"`
}

// Vertical bounds the limits of one replica.
type Vertical struct {
	// Min cores of a replica. 0: its limit of CPU stays.
	Min CPU `yaml:"min" schema:"minimum=0,maximum=4096"`
	// Max cores of a replica.
	Max CPU `yaml:"max" schema:"minimum=0,maximum=4096"`
	// Memory of a replica. Left out: its limit stays.
	Memory *VerticalMemory `yaml:"memory"`
}

// VerticalMemory bounds the limit of memory of one replica, which must have one.
type VerticalMemory struct {
	// Min of the limit.
	Min Bytes `yaml:"min"`
	// Max of the limit.
	Max Bytes `yaml:"max"`
}

// ScaleTarget is the level that scaling holds; the first that is exceeded decides.
type ScaleTarget struct {
	// CPU used by a replica as a share of its limit (of one core where there is none).
	CPU Percent `yaml:"cpu" schema:"maximum=100%"`
	// Requests a second for each replica.
	Requests Rate `yaml:"requests"`
	// Concurrency is the number of requests in flight for each replica.
	Concurrency float64 `yaml:"concurrency" schema:"minimum=0"`
	// Queue is the number of waiting messages for each replica.
	Queue float64 `yaml:"queue" schema:"minimum=0"`
	// Utilization of a replica at its target of requests: the rest is headroom, of which 'predict' has less in proportion
	// where there are many replicas.
	Utilization Percent `yaml:"utilization" schema:"maximum=100%,default=70%"`
}

// Health checks, each with its own purpose.
type Health struct {
	// Startup holds back the other two until the replica has started. Left out: the ready check serves.
	Startup *Check `yaml:"startup"`
	// Ready says whether the replica may be given requests. Left out: it must accept TCP connections.
	Ready *Check `yaml:"ready"`
	// Live says whether the replica should be restarted. Left out: it is, only when its process exits.
	Live *Check `yaml:"live"`
}

// Check asks a replica how it is. A string is short for {path: STRING}.
type Check struct {
	// Path that answers an HTTP GET with a status from 200 to 399. Left out: a TCP connection is enough.
	Path string `yaml:"path" schema:"format=path"`
	// GRPC asks by gRPC's own protocol for health checks (grpc.health.v1) instead, and passes on SERVING.
	GRPC bool `yaml:"grpc"`
	// Interval between two checks.
	Interval Duration `yaml:"interval" schema:"default=1s,minimum=10ms,maximum=1h"`
	// Timeout of one check.
	Timeout Duration `yaml:"timeout" schema:"default=1s,minimum=1ms,maximum=1h"`
	// Failures in a row after which the check has failed.
	Failures int `yaml:"failures" schema:"minimum=1,maximum=1000,default=3"`
	// Deadline by which the check must have passed once; only for startup and ready.
	Deadline Duration `yaml:"deadline" schema:"default=30s,maximum=1h"`
}

// Restart of a replica whose process exited: at once the first time, then with exponential back-off.
type Restart struct {
	// Min is the first pause.
	Min Duration `yaml:"min" schema:"default=100ms,maximum=1h"`
	// Max is the longest pause.
	Max Duration `yaml:"max" schema:"default=30s,maximum=1h"`
	// Reset is how long a replica must have run for the pauses to start from min again.
	Reset Duration `yaml:"reset" schema:"default=30s"`
	// CrashLoop is the number of exits in a row after which the replica is called crash-looping.
	CrashLoop int `yaml:"crash_loop" schema:"minimum=1,maximum=1000,default=5"`
}

// Deploy says how replicas are replaced by newer ones.
type Deploy struct {
	// Surge is how many replicas more than wanted may run while replacing.
	Surge int `yaml:"surge" schema:"minimum=0,maximum=10000,default=1"`
	// Unavailable is how many replicas fewer than wanted may be ready while replacing. Surge and unavailable may not
	// both be 0.
	Unavailable int `yaml:"unavailable" schema:"minimum=0,maximum=10000,default=0"`
	// Deadline by which each new replica must be ready, or the replacement stops.
	Deadline Duration `yaml:"deadline" schema:"default=10m,maximum=24h"`
}

// Work is what one request asks of a service, before anything was measured.
type Work struct {
	// CPU time of one request.
	CPU Duration `yaml:"cpu" schema:"maximum=24h"`
	// Delay of one request that is not CPU and does not queue: disk, timers, the network.
	Delay Duration `yaml:"delay" schema:"maximum=24h"`
	// SCV is the squared coefficient of variation of the CPU time: 0 constant, 1 exponential.
	SCV *float64 `yaml:"scv" schema:"minimum=0,maximum=1000,default=1"`
	// Calls that one request makes to each used service, on average, by service name. Default 1 for each of 'uses'.
	Calls map[string]float64 `yaml:"calls" schema:"itemMinimum=0,itemMaximum=1000000"`
	// Parallel are used services that are called at the same time, several times where 'calls' says so: the request goes on
	// when the last call has been answered. Others are called one after the other. Left out: all are.
	Parallel []string `yaml:"parallel"`
}

// Known reports whether something is said of what a request costs, and not only of how its calls are made.
func (w *Work) Known() bool {
	return w != nil && (w.CPU > 0 || w.Delay > 0 || len(w.Parallel) == 0)
}
