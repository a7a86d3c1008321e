package cache

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sampler knows how many commands and bytes there were in the last seconds.
type sampler struct {
	at      time.Time
	before  counters
	perSec  float64
	inKbps  float64
	outKbps float64
}

// take takes a reading once a second.
func (s *sampler) take(now time.Time, c *counters) {
	took := now.Sub(s.at).Seconds()
	if took < 1 {
		return
	}
	s.perSec = max(0, float64(c.commands-s.before.commands)/took)
	s.inKbps = max(0, float64(c.in-s.before.in)/took/1024)
	s.outKbps = max(0, float64(c.out-s.before.out)/took/1024)
	s.at, s.before = now, counters{commands: c.commands, in: c.in, out: c.out}
}

// infoSections in the order in which INFO tells them; whether they are told if none is named.
var infoSections = []struct {
	name  string
	usual bool
	write func(*Server, *strings.Builder)
}{
	{"Server", true, (*Server).infoServer},
	{"Clients", true, (*Server).infoClients},
	{"Memory", true, (*Server).infoMemory},
	{"Persistence", true, (*Server).infoPersistence},
	{"Stats", true, (*Server).infoStats},
	{"Replication", true, (*Server).infoReplication},
	{"CPU", true, (*Server).infoCPU},
	{"Commandstats", false, (*Server).infoCommands},
	{"Errorstats", true, (*Server).infoErrors},
	{"Cluster", true, (*Server).infoCluster},
	{"Origins", true, (*Server).infoOrigins},
	{"Keyspace", true, (*Server).infoKeyspace},
}

func (k *call) info() {
	wanted := map[string]bool{}
	for i := range k.args[1:] {
		wanted[strings.ToLower(k.arg(i+1))] = true
	}
	all := wanted["all"] || wanted["everything"]
	usual := len(wanted) == 0 || wanted["default"]
	var b strings.Builder
	for _, s := range infoSections {
		if s.name == "Origins" && len(k.s.origins) == 0 {
			continue
		}
		if all || usual && s.usual || wanted[strings.ToLower(s.name)] {
			if b.Len() > 0 {
				b.WriteString("\r\n")
			}
			b.WriteString("# " + s.name + "\r\n")
			s.write(k.s, &b)
		}
	}
	k.verbatim(b.String())
}

func (s *Server) infoServer(b *strings.Builder) {
	up := int64(s.elapsed().Seconds())
	fmt.Fprintf(b, "redis_version:%s\r\nserver_name:banyan\r\nredis_mode:%s\r\nos:%s\r\narch_bits:64\r\nprocess_id:%d\r\n", redisVersion, s.mode(), runtime.GOOS, os.Getpid())
	fmt.Fprintf(b, "run_id:%s\r\ntcp_port:%s\r\nserver_time_usec:%d\r\n", s.runID, parameters["port"].get(s), time.Now().UnixMicro())
	fmt.Fprintf(b, "uptime_in_seconds:%d\r\nuptime_in_days:%d\r\nio_threads:%d\r\n", up, up/86400, s.cfg.Loops)
}

func (s *Server) infoClients(b *strings.Builder) {
	blocked, tracking, subscribers := 0, 0, 0
	for _, c := range s.clients {
		if c.blocked != nil {
			blocked++
		}
		if c.tracks != nil {
			tracking++
		}
		if c.subs.n() > 0 {
			subscribers++
		}
	}
	fmt.Fprintf(b, "connected_clients:%d\r\nmaxclients:%d\r\nblocked_clients:%d\r\ntracking_clients:%d\r\npubsub_clients:%d\r\n",
		len(s.clients), s.set.maxClients, blocked, tracking, subscribers)
}

func (s *Server) infoMemory(b *strings.Builder) {
	used, resident := s.store.Used(), s.store.Resident()
	ratio := 1.0
	if used > 0 {
		ratio = float64(resident) / float64(used)
	}
	fmt.Fprintf(b, "used_memory:%d\r\nused_memory_human:%.2fM\r\nused_memory_dataset:%d\r\nused_memory_peak:%d\r\n", used, float64(used)/(1<<20),
		s.store.Arena.Used(), max(used, s.count.peak))
	fmt.Fprintf(b, "allocator_resident:%d\r\nmem_fragmentation_ratio:%.2f\r\nmaxmemory:%d\r\nmaxmemory_policy:%s\r\nmem_allocator:arena\r\n", resident, ratio,
		s.set.memory, s.set.eviction)
	fmt.Fprintf(b, "eviction_window:%.4f\r\n", s.store.Window())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(b, "go_heap:%d\r\ngo_gc_cycles:%d\r\ngo_gc_pause_total_us:%d\r\n", m.HeapAlloc, m.NumGC, m.PauseTotalNs/1000)
}

func (s *Server) infoStats(b *strings.Builder) {
	c := &s.count
	fmt.Fprintf(b, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\ninstantaneous_ops_per_sec:%.0f\r\n", c.connections, c.commands, s.sampled.perSec)
	fmt.Fprintf(b, "total_net_input_bytes:%d\r\ntotal_net_output_bytes:%d\r\ninstantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n", c.in, c.out,
		s.sampled.inKbps, s.sampled.outKbps)
	fmt.Fprintf(b, "rejected_connections:%d\r\nexpired_keys:%d\r\nevicted_keys:%d\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\n", c.rejected,
		s.store.Expired, s.store.Evicted, s.store.Hits, s.store.Misses)
	fmt.Fprintf(b, "pubsub_channels:%d\r\npubsub_patterns:%d\r\npubsubshard_channels:%d\r\n", len(s.hub[channels]), len(s.hub[patterns]), len(s.hub[shards]))
	fmt.Fprintf(b, "tracking_total_keys:%d\r\nslowlog_len:%d\r\ntotal_error_replies:%d\r\nacl_access_denied:%d\r\n", len(s.track.keys), len(s.slowlog.entries), c.errors, c.denied)
}

func (s *Server) infoCommands(b *strings.Builder) {
	for _, c := range s.registry.all {
		n := s.count.calls[c.number]
		if n.calls == 0 && n.rejected == 0 {
			continue
		}
		each := 0.0
		if n.calls > 0 {
			each = float64(n.micros) / float64(n.calls)
		}
		fmt.Fprintf(b, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d\r\n", c.full, n.calls, n.micros, each, n.rejected, n.failed)
	}
}

func (s *Server) infoErrors(b *strings.Builder) {
	for _, name := range slices.Sorted(maps.Keys(s.count.byError)) {
		fmt.Fprintf(b, "errorstat_%s:count=%d\r\n", name, s.count.byError[name])
	}
}

func (s *Server) infoKeyspace(b *strings.Builder) {
	for i := range s.store.Databases() {
		if db := s.store.DB(i); db.Len() > 0 {
			fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", i, db.Len(), db.Volatile())
		}
	}
}
