package main

import (
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/topology"
)

// cacheNodesTable shows the nodes of caches that are clusters; it is empty where there are none.
func cacheNodesTable(all []control.CacheServerStatus) string {
	t := table{gap: true, head: []string{"CACHE", "NODE", "ADDRESS", "ROLE", "STATE", "SLOTS", "KEYS", "MEMORY"}}
	some := false
	for _, s := range all {
		for _, n := range s.Nodes {
			some = true
			role := "primary"
			if n.Of != 0 {
				role = fmt.Sprint("replica of ", n.Of)
			}
			memory := topology.Bytes(n.Used >> 10 << 10).String()
			if n.Limit > 0 {
				memory += " of " + topology.Bytes(n.Limit>>10<<10).String()
			}
			t.row(s.Cache, fmt.Sprint(n.Node), n.Address, role, n.State, fmt.Sprint(n.Slots), fmt.Sprint(n.Keys), memory)
		}
	}
	if !some {
		return ""
	}
	var b strings.Builder
	t.write(&b)
	return b.String()
}

// cacheHotTable shows the keys that get most of the requests of caches; it is empty where there are none.
func cacheHotTable(all []control.CacheServerStatus) string {
	copies, some := false, false
	for _, s := range all {
		copies, some = copies || copied(s.Hot), some || len(s.Hot) > 0
	}
	if !some {
		return ""
	}
	t := table{gap: true, head: append([]string{"CACHE"}, hotHead(copies)...)}
	t.head[1] = "HOT KEY"
	for _, s := range all {
		hotTable(&t, []string{s.Cache}, s.Hot, copies)
	}
	var b strings.Builder
	t.write(&b)
	return b.String()
}
