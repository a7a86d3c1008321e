package topology

import (
	"fmt"
	"path/filepath"
	"strings"
)

// cacheKept checks what is kept of a cache: only an embedded one keeps anything, in a folder of its own.
func (c *checker) cacheKept(name string, v *Cache, s spot) {
	c.origins(v, s)
	c.cacheNodes(v, s)
	if v.Persist == nil {
		return
	}
	at := s.child("persist")
	if v.Engine != "embedded" && v.Engine != "" {
		c.at(at, Problem{Found: quoteFound(v.Engine), Message: "the engine keeps what is in it itself", Expected: "persist: only with engine: embedded"})
		return
	}
	if v.Persist.Dir == "" {
		return
	}
	for _, other := range sortedKeys(c.sys.Caches) {
		o := c.sys.Caches[other]
		if other < name && o != nil && o.Persist != nil && filepath.Clean(o.Persist.Dir) == filepath.Clean(v.Persist.Dir) {
			c.at(at.child("dir"), Problem{Found: quoteFound(v.Persist.Dir), Message: "caches." + other + " has the same folder", Expected: "a folder of its own"})
			return
		}
	}
}

// cacheNodes checks that the nodes of a cache make a cluster that outlives one of them.
func (c *checker) cacheNodes(v *Cache, s spot) {
	refuse := func(field, found, message, expected string) {
		c.at(s.child(field), Problem{Found: found, Message: message, Expected: expected})
	}
	nodes, replicas := fmt.Sprint(v.Nodes), fmt.Sprint(v.Replicas)
	switch {
	case v.Nodes <= 1 && v.HotReads != 0:
		refuse("hot_reads", quoteFound(v.HotReads.String()), "there is no other node that could answer", "nodes: 3 or more")
	case v.Nodes <= 1 && v.Replicas == 0:
	case v.Engine != "embedded" && v.Engine != "":
		refuse("nodes", quoteFound(v.Engine), "the engine has nodes of its own, of which the file says nothing", "nodes and replicas: only with engine: embedded")
	case v.Nodes <= 1:
		refuse("replicas", replicas, "there is no other node that could hold them", "nodes: 3 or more")
	case v.Nodes == 2:
		refuse("nodes", nodes, "neither of two nodes goes on when the other dies, for it has no majority", "1, or 3 and more")
	case v.Nodes < 1+v.Replicas:
		refuse("replicas", replicas, "each primary and its replicas are "+fmt.Sprint(1+v.Replicas)+" nodes, and there are "+nodes, "fewer replicas, or more nodes")
	case v.NodeMemory() < minNodeMemory:
		refuse("memory", quoteFound(v.Memory.String()), fmt.Sprintf("it is shared by %d primaries", v.Primaries()), "at least "+minNodeMemory.String()+" for each")
	}
	for i, o := range v.Origins {
		if v.Nodes > 1 && o.Write == "behind" {
			c.at(s.child("origins").item(i).child("write"), Problem{Found: quoteFound(o.Write), Message: "what waits to be written would not go along when slots move between nodes",
				Expected: "through or off, or nodes: 1"})
		}
	}
}

// minNodeMemory is the least that a node of a cache may hold.
const minNodeMemory Bytes = 1 << 20

// origins checks what the keys of a cache come from.
func (c *checker) origins(v *Cache, s spot) {
	if len(v.Origins) > 0 && v.Engine != "embedded" && v.Engine != "" {
		c.at(s.child("origins"), Problem{Found: quoteFound(v.Engine), Message: "only an embedded cache loads from origins", Expected: "engine: embedded"})
		return
	}
	for i, o := range v.Origins {
		at := s.child("origins").item(i)
		if o.Keys != "" && strings.Count(o.Keys, "*") != 1 {
			c.at(at.child("keys"), Problem{Found: quoteFound(o.Keys), Expected: "a name with one * in it, such as item:*"})
		}
		url, table := at.child("url"), at.child("table")
		switch {
		case table.node != nil && url.node != nil:
			c.at(table, Problem{Message: "both url and table are given", Expected: "one of them"})
		case table.node != nil:
			if c.sys.Tables[o.Table] == nil {
				c.unknown(table, "table", o.Table, func() []string { return sortedKeys(c.sys.Tables) })
			}
		case url.node == nil:
			c.at(at, Problem{Message: "nothing to load from is given", Expected: "url: such as http://127.0.0.1:9000/items/{key}"})
		case o.URL != "" && !strings.Contains(o.URL, "{key}"):
			c.at(url, Problem{Found: quoteFound(o.URL), Expected: "a URL with {key} in it"})
		case o.URL != "" && !strings.HasPrefix(o.URL, "http://") && !strings.HasPrefix(o.URL, "https://"):
			c.at(url, Problem{Found: quoteFound(o.URL), Expected: "a URL that begins with http:// or https://"})
		}
	}
}
