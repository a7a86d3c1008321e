package observe

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler returns the page of all metrics in the formats of Prometheus: those of Config.Collectors, those of the
// replicas, the services and the machine as of the last sample, and those of this process. docs/observe.md lists them.
func (o *Observer) Handler() http.Handler { return o.handler }

func (o *Observer) newHandler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	var reg prometheus.Registerer = registry
	if o.cfg.System != "" {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"system": o.cfg.System}, registry)
	}
	all := append([]prometheus.Collector{o.newCollector(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}, o.cfg.Collectors...)
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	// One part that fails must not hide the others.
	opts := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: errorLog{o}, MaxRequestsInFlight: 8}
	return promhttp.HandlerFor(registry, opts), nil
}

type errorLog struct{ o *Observer }

func (l errorLog) Println(v ...any) { l.o.cfg.Log.Error("showing metrics", "error", fmt.Sprint(v...)) }

// collector shows the last sample. The samples of a replica that has gone disappear with it.
type collector struct {
	o   *Observer
	all []*prometheus.Desc

	build                                                           *prometheus.Desc
	wanted, ready                                                   *prometheus.Desc
	cpu, memory, throttled, waited, cpuLimit, memoryLimit, restarts *prometheus.Desc
	up                                                              *prometheus.Desc
	machineCPU, machineStolen, machineCores, machineUsed            *prometheus.Desc
	machineMemory, machineLoad                                      *prometheus.Desc
	samples, skipped, historyBytes, historySeconds, recorded        *prometheus.Desc
	recordErrors                                                    *prometheus.Desc
}

func (o *Observer) newCollector() *collector {
	c := &collector{o: o}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("banyan_"+name, help, labels, nil)
		c.all = append(c.all, d)
		return d
	}
	c.build = desc("build_info", "Always 1; the labels say which program this is.", "version", "goversion")
	c.wanted = desc("service_replicas_wanted", "Replicas that the service should have.", "service")
	c.ready = desc("service_replicas_ready", "Replicas that are ready for calls.", "service")
	c.up = desc("replica_ready", "1 if the replica's state is ready, 0 otherwise.", "service", "replica")
	c.cpu = desc("replica_cpu_seconds_total", "CPU time used, user and system.", "service", "replica")
	c.memory = desc("replica_memory_bytes", "Resident memory.", "service", "replica")
	c.waited = desc("replica_cpu_waiting_seconds_total", "Time for which threads of the replica were ready to run and did not, all of them together.", "service", "replica")
	c.throttled = desc("replica_cpu_throttled_seconds_total", "Time for which the CPU limit held the replica back.", "service", "replica")
	c.cpuLimit = desc("replica_cpu_limit_cores", "CPU limit; absent where there is none.", "service", "replica")
	c.memoryLimit = desc("replica_memory_limit_bytes", "Memory limit; absent where there is none.", "service", "replica")
	c.restarts = desc("replica_restarts_total", "Restarts of the replica since the system came up.", "service", "replica")
	c.machineCPU = desc("machine_cpu_seconds_total", "CPU time used by everything on the machine.")
	c.machineStolen = desc("machine_cpu_stolen_seconds_total", "CPU time that the hypervisor gave to others.")
	c.machineCores = desc("machine_cpu_cores", "CPU cores that are online.")
	c.machineUsed = desc("machine_memory_used_bytes", "Memory that is not available to new programs.")
	c.machineMemory = desc("machine_memory_bytes", "Memory of the machine.")
	c.machineLoad = desc("machine_load1", "Load average over one minute.")
	c.samples = desc("observe_samples_total", "Samples taken.")
	c.skipped = desc("observe_samples_skipped_total", "Samples that were not later than the one before.")
	c.historyBytes = desc("observe_history_bytes", "Memory that the history uses.")
	c.historySeconds = desc("observe_history_seconds", "How far the history reaches back.", "resolution")
	c.recorded = desc("observe_recorded_bytes_total", "Bytes written to the recording.")
	c.recordErrors = desc("observe_record_errors_total", "Intervals that could not be recorded.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
		m, err := prometheus.NewConstMetric(d, t, v, labels...)
		if err != nil { // a name that is not UTF-8
			m = prometheus.NewInvalidMetric(d, err)
		}
		ch <- m
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.GaugeValue, v, labels) }
	counter := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.CounterValue, v, labels) }
	c.o.mu.Lock()
	last, n, bytes := c.o.last, c.o.counts, c.o.history.bytes()
	fine, coarse := c.o.history.fine.reach(), c.o.history.coarse.reach()
	c.o.mu.Unlock()

	gauge(c.build, 1, c.o.cfg.Version, runtime.Version())
	counter(c.samples, float64(n.samples))
	counter(c.skipped, float64(n.skipped))
	gauge(c.historyBytes, float64(bytes))
	gauge(c.historySeconds, fine.Seconds(), "fine")
	gauge(c.historySeconds, coarse.Seconds(), "coarse")
	if c.o.record != nil {
		counter(c.recorded, float64(n.recorded))
		counter(c.recordErrors, float64(n.recordErrors))
	}
	if last == nil {
		return
	}
	if m := last.Machine; m.Cores > 0 {
		counter(c.machineCPU, m.Busy.Seconds())
		counter(c.machineStolen, m.Stolen.Seconds())
		gauge(c.machineCores, float64(m.Cores))
		gauge(c.machineUsed, float64(m.MemoryUsed))
		gauge(c.machineMemory, float64(m.MemoryTotal))
		gauge(c.machineLoad, m.Load1)
	}
	shown := map[replicaKey]bool{} // a name that stands twice would spoil the whole page
	for _, p := range last.Processes {
		if k := (replicaKey{p.Service, p.Replica}); !p.Exited && !shown[k] {
			shown[k] = true
			counter(c.cpu, p.CPU.Seconds(), p.Service, p.Replica)
			counter(c.waited, p.Waited.Seconds(), p.Service, p.Replica)
			counter(c.throttled, p.Throttled.Seconds(), p.Service, p.Replica)
			gauge(c.memory, float64(p.Memory), p.Service, p.Replica)
		}
	}
	c.collectServices(last.Services, gauge, counter)
}

func (c *collector) collectServices(services []ServiceState, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	shown := map[replicaKey]bool{}
	for _, s := range services {
		if shown[replicaKey{s.Service, ""}] {
			continue
		}
		shown[replicaKey{s.Service, ""}] = true
		gauge(c.wanted, float64(s.Wanted), s.Service)
		gauge(c.ready, float64(s.Ready), s.Service)
		for _, r := range s.Replicas {
			k := replicaKey{s.Service, r.Replica}
			if shown[k] {
				continue
			}
			shown[k] = true
			ready := 0.0
			if r.State == StateReady {
				ready = 1
			}
			gauge(c.up, ready, s.Service, r.Replica)
			counter(c.restarts, float64(r.Restarts), s.Service, r.Replica)
			if r.CPULimit > 0 {
				gauge(c.cpuLimit, r.CPULimit, s.Service, r.Replica)
			}
			if r.MemoryLimit > 0 {
				gauge(c.memoryLimit, float64(r.MemoryLimit), s.Service, r.Replica)
			}
		}
	}
}
