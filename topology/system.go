package topology

import "time"

// System is a whole backend: what runs, how calls reach it, what it keeps, what is promised of it and what load it is
// expected to carry.
type System struct {
	// Version of the file's format. Always 1.
	Version int `yaml:"version" schema:"enum=1,default=1"`
	// Name of the system: lower-case letters, digits and dashes. It names the state directory, the metrics' label and
	// the manifests that are exported.
	Name string `yaml:"system" schema:"required,format=name"`
	// Machine that the system runs on, as the planner sees it. Left out: the machine at hand.
	Machine *Machine `yaml:"machine"`
	// Listen is the address on which the gateway answers requests from outside. Port 0 takes a free port.
	Listen string `yaml:"listen" schema:"format=address,default=127.0.0.1:8080"`
	// AcceptProxyFrom are the networks of the proxies in front, such as 10.0.0.0/8. Where they are given, every connection to
	// 'listen' must come from them and begin with the PROXY protocol (v1 or v2), which says whose it is; others are closed.
	AcceptProxyFrom []string `yaml:"accept_proxy_from" schema:"maxItems=1000"`
	// Connections bounds those of clients. Left out: as its fields' defaults say.
	Connections *Connections `yaml:"connections"`
	// TLS answers requests from outside over TLS too. Left out: plain HTTP only.
	TLS *TLS `yaml:"tls"`
	// TCP leads connections from outside to services as they are.
	TCP []*TCP `yaml:"tcp" schema:"maxItems=1000"`
	// Admin is the address of the page with the Prometheus metrics (/metrics). Port 0 takes a free port.
	Admin string `yaml:"admin" schema:"format=address,default=127.0.0.1:0"`
	// Zone that this machine is in: that of the gateway, and of the replicas that it starts. Left out: zones do not matter.
	Zone string `yaml:"zone" schema:"format=name"`
	// Gateways says that the gateway is one of several that serve the system. Left out: it is the only one.
	Gateways *Gateways `yaml:"gateways"`
	// AccessLog of the requests from outside. Left out: none is written.
	AccessLog *AccessLog `yaml:"access_log"`
	// Logs of the services: how long they are kept, and what is taken out of them. Left out: as its fields' defaults say.
	Logs *Logs `yaml:"logs"`
	// Traces that are kept. Left out: as its fields' defaults say.
	Traces *Traces `yaml:"traces"`
	// HTTPCache bounds what all routes with an http_cache keep together.
	HTTPCache *HTTPCacheStore `yaml:"http_cache"`
	// Layers from top to bottom. A service may use services of its own layer and of those below it, never above.
	Layers []string `yaml:"layers" schema:"default=[presentation, business, data]"`
	// Services are the programs that answer requests, by name.
	Services map[string]*Service `yaml:"services" schema:"keys=name"`
	// Routes lead requests from outside to services. The longest matching path wins; a route with a method or a host
	// wins over one without.
	Routes []*Route `yaml:"routes"`
	// Caches are in-memory caches behind the Redis protocol, by name.
	Caches map[string]*Cache `yaml:"caches" schema:"keys=name"`
	// Tables are sharded, replicated tables behind the DynamoDB API, by name.
	Tables map[string]*Table `yaml:"tables" schema:"keys=name"`
	// Queues are durable work queues: each message is handled by one consumer, by name.
	Queues map[string]*Queue `yaml:"queues" schema:"keys=name"`
	// Topics are retained logs of events: each consumer group sees every event, by name.
	Topics map[string]*Topic `yaml:"topics" schema:"keys=name"`
	// Sagas are workflows of calls, messages and waits that outlive crashes and undo what they did when a step fails, by name.
	Sagas map[string]*Saga `yaml:"sagas" schema:"keys=name"`
	// Functions are serverless functions: started by an event or a request, scaled to zero when idle, by name.
	Functions map[string]*Function `yaml:"functions" schema:"keys=name"`
	// SLOs are the promises made to users, by name.
	SLOs map[string]*SLO `yaml:"slos" schema:"keys=name"`
	// Monitoring says what is kept of the metrics, and who is told of alerts.
	Monitoring Monitoring `yaml:"monitoring"`
	// Workload is the load that the system is planned for and tested with.
	Workload *Workload `yaml:"workload"`
	// Growth of the demand over time, for capacity planning.
	Growth *Growth `yaml:"growth"`
	// Prices of resources, for the planner's costs.
	Prices *Prices `yaml:"prices"`
	// Demands are what one request of each route asks of each service, by route name, then by service name. Written by
	// hand, or by 'banyan calibrate' from a run. They take precedence over the services' own 'work'. The names
	// 'gateway' and 'client' stand for Banyan's gateway and for the load generator where it shares the machine.
	Demands map[string]map[string]*Demand `yaml:"demands"`
	// Calibration says where calibrated demands come from. Written by 'banyan calibrate'.
	Calibration *Calibration `yaml:"calibration"`
	// Dir is the folder of the first file, absolute if Load read it. Relative paths start from it.
	Dir string `yaml:"-"`
}

// DefaultMaxConnections is the bound on connections of a system that says nothing of it.
const DefaultMaxConnections = 50_000

// Connections bounds the connections that clients have to 'listen', and to the TLS address as well.
type Connections struct {
	// Max at once, each. Where all places are taken, one on which no request is under way is closed for one that comes; without such
	// a one it is refused. Never more than three quarters of the files that the process may have open.
	Max int `yaml:"max" schema:"default=50000,minimum=1,maximum=10000000"`
	// PerClient is how many of them one address may have, of IPv6 one network of 64 bits; further ones are refused. Left out: half
	// of max, but for this machine itself and for trusted proxies.
	PerClient int `yaml:"per_client" schema:"minimum=1,maximum=10000000"`
}

// Machine is the hardware that all replicas share.
type Machine struct {
	// Cores of the CPU, which all replicas on the machine share.
	Cores CPU `yaml:"cores" schema:"exclusiveMinimum=0,maximum=4096"`
	// Memory of the machine.
	Memory Bytes `yaml:"memory"`
}

// SLO is one promise: a share of requests that succeed, and how fast.
type SLO struct {
	// Route that the promise is about, by its name.
	Route string `yaml:"route" schema:"required"`
	// Latency limits by percentile, for example {p99: 200ms}. Keys are p followed by a number from 0 to 100.
	Latency map[string]Duration `yaml:"latency" schema:"keys=percentile"`
	// Availability is the share of requests that must not fail, for example 99.9%.
	Availability Percent `yaml:"availability" schema:"maximum=100%"`
	// Window over which the promise is kept.
	Window Duration `yaml:"window" schema:"default=30d,minimum=1s"`
}

// Growth says how demand changes, compounding.
type Growth struct {
	// Requests grow by this much, for example 8%/month.
	Requests GrowthRate `yaml:"requests"`
	// Data grows by this much, for example 5%/month.
	Data GrowthRate `yaml:"data"`
}

// Prices of the resources that a system uses, in any one currency.
type Prices struct {
	// CPUHour is the price of one core for one hour.
	CPUHour float64 `yaml:"cpu_hour" schema:"minimum=0"`
	// MemoryGiBHour is the price of one GiB of memory for one hour.
	MemoryGiBHour float64 `yaml:"memory_gib_hour" schema:"minimum=0"`
	// StorageGiBMonth is the price of one GiB of disk for one month.
	StorageGiBMonth float64 `yaml:"storage_gib_month" schema:"minimum=0"`
	// EgressGiB is the price of one GiB sent out.
	EgressGiB float64 `yaml:"egress_gib" schema:"minimum=0"`
	// Currency in which the prices are given; it is only printed.
	Currency string `yaml:"currency" schema:"default=USD"`
}

// Demand is what one request of a route asks of one service, or of a table (tables.NAME), all its visits together unless said otherwise.
type Demand struct {
	// Visits to the service for each request of the route.
	Visits float64 `yaml:"visits" schema:"minimum=0,maximum=1000000,default=1"`
	// Calls that one visit makes to each service that its service uses, by name. Left out: by the service's 'work', made to
	// fit the visits of the route.
	Calls map[string]float64 `yaml:"calls" schema:"itemMinimum=0,itemMaximum=1000000"`
	// Writes is the share of the visits that write, where they are operations on a table (tables.NAME). Left out: as the table's
	// 'writes' says. What an operation costs, the table says: nothing but visits and writes is given of one.
	Writes *Percent `yaml:"writes" schema:"maximum=100%"`
	// CPU time of one visit.
	CPU Duration `yaml:"cpu" schema:"maximum=24h"`
	// CPUError is the standard error of the CPU time of one visit (cpu, async and wake together), as calibrated. 0: not known.
	CPUError Duration `yaml:"cpu_error" schema:"maximum=24h"`
	// Delay of one visit that is not CPU and does not queue: disk, timers, the network.
	Delay Duration `yaml:"delay" schema:"maximum=24h"`
	// SCV is the squared coefficient of variation of the CPU time: 0 constant, 1 exponential.
	SCV *float64 `yaml:"scv" schema:"minimum=0,maximum=1000,default=1"`
	// Async is CPU time of one visit that nobody waits for: garbage collection, logging, work after the answer.
	Async Duration `yaml:"async" schema:"maximum=24h"`
	// Wake is CPU time that one visit costs more after a long rest of its replica: threads are woken, and caches hold what
	// others left there. A visit that comes a time t after the one before spends 1 - exp(-t/4ms) of it, and one to a replica
	// that its CPU limit makes stand still with work to do spends none.
	Wake Duration `yaml:"wake" schema:"maximum=24h"`
	// DelaySCV is the squared coefficient of variation of the delay.
	DelaySCV *float64 `yaml:"delay_scv" schema:"minimum=0,maximum=1000000,default=1"`
	// Quantiles of the CPU time of one visit, for example {p50: 1ms, p90: 3ms, p99: 9ms}, for simulation: where they are
	// given, times have that shape, stretched to the mean, instead of one by scv.
	Quantiles map[string]Duration `yaml:"quantiles" schema:"keys=percentile"`
	// DelayQuantiles are the same of the delay.
	DelayQuantiles map[string]Duration `yaml:"delay_quantiles" schema:"keys=percentile"`
}

// Cooling is after how long a rest a replica has lost all but 1/e of what made its last visit cheaper: see Demand.Wake. It was fitted to
// what processes of a shared virtual machine used at loads from 20 to 1,900 visits a second.
const Cooling = 4 * time.Millisecond

// Rested is the share of Demand.Wake that a visit spends on average where so many come to its replica in a second, by chance: between
// them lies t with density rate e^(-rate t), over which 1 - exp(-t/Cooling) has the mean 1/(1 + rate Cooling).
func Rested(rate float64) float64 { return 1 / (1 + rate*Cooling.Seconds()) }
