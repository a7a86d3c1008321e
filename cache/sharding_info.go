package cache

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// mode is what INFO and HELLO call this server.
func (s *Server) mode() string {
	if s.sharding != nil {
		return "cluster"
	}
	return "standalone"
}

func (s *Server) infoCluster(b *strings.Builder) {
	h := s.sharding
	if h == nil {
		b.WriteString("cluster_enabled:0\r\n")
		return
	}
	fmt.Fprintf(b, "cluster_enabled:1\r\ncluster_node:%d\r\ncluster_lease:%d\r\ncluster_keys_in_flight:%d\r\n", h.id, map[bool]int{true: 1}[h.active && h.node.Leased()], len(h.flight))
	h.infoHot(b)
}

// infoReplication tells who follows whom. Replication is asynchronous: what master_repl_offset is ahead of a replica's offset is lost
// if the primary is.
func (s *Server) infoReplication(b *strings.Builder) {
	h := s.sharding
	switch {
	case h == nil:
		fmt.Fprintf(b, "role:master\r\nconnected_slaves:0\r\nmaster_replid:%s\r\nmaster_repl_offset:0\r\n", s.runID)
	case h.of != 0:
		host, port := place(h.m.Members[h.of])
		link := "down"
		if h.attached && time.Since(h.heard) < 5*time.Second || h.attached && h.offset == h.applied {
			link = "up"
		}
		fmt.Fprintf(b, "role:slave\r\nmaster_host:%s\r\nmaster_port:%d\r\nmaster_link_status:%s\r\nmaster_sync_in_progress:%d\r\n", host, port, link,
			map[bool]int{true: 1}[!h.whole()])
		fmt.Fprintf(b, "slave_repl_offset:%d\r\nslave_read_only:1\r\nconnected_slaves:0\r\nmaster_replid:%040x\r\nmaster_repl_offset:%d\r\n", h.applied, h.source, h.offset)
	default:
		h.collect()
		fmt.Fprintf(b, "role:master\r\nconnected_slaves:%d\r\nsync_full:%d\r\nsync_partial_ok:%d\r\n", len(h.links), h.syncs[beginFull],
			h.syncs[beginResumed]+h.syncs[beginRenamed])
		for i, id := range slices.Sorted(maps.Keys(h.links)) {
			l := h.links[id]
			host, port := place(h.m.Members[id])
			state := "online"
			if !l.whole {
				state = "send_bulk"
			}
			fmt.Fprintf(b, "slave%d:ip=%s,port=%d,state=%s,offset=%d,lag=%d,unreplicated_bytes=%d\r\n", i, host, port, state, l.acked,
				int(time.Since(l.heard).Seconds()), h.end()-l.acked)
		}
		fmt.Fprintf(b, "master_replid:%040x\r\nmaster_repl_offset:%d\r\nrepl_backlog_active:%d\r\nrepl_backlog_size:%d\r\nrepl_backlog_first_byte_offset:%d\r\nrepl_backlog_histlen:%d\r\n",
			h.stream, h.end(), map[bool]int{true: 1}[h.streaming], keepStream, h.base, len(h.tail))
	}
}

func (k *call) role() {
	h := k.s.sharding
	switch {
	case h == nil:
		k.array(3)
		k.text("master")
		k.int(0)
		k.array(0)
	case h.of != 0:
		host, port := place(h.m.Members[h.of])
		k.array(5)
		k.text("slave")
		k.text(host)
		k.int(port)
		k.text(map[bool]string{true: "connected", false: "sync"}[h.attached && h.whole()])
		k.int64(h.applied)
	default:
		k.array(3)
		k.text("master")
		k.int64(h.end())
		k.array(len(h.links))
		for _, id := range slices.Sorted(maps.Keys(h.links)) {
			host, port := place(h.m.Members[id])
			k.texts([]string{host, fmt.Sprint(port), fmt.Sprint(h.links[id].acked)})
		}
	}
}
