package topology

import (
	"path/filepath"
	"strings"
)

// cacheKept checks what is kept of a cache: only an embedded one keeps anything, in a folder of its own.
func (c *checker) cacheKept(name string, v *Cache, s spot) {
	c.origins(v, s)
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
