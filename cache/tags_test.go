package cache

import "testing"

func TestTags(t *testing.T) {
	cfg := Config{Persist: Persist{Dir: t.TempDir()}}
	s, stop := runServer(t, cfg)
	script(t, s.Addr().String(), `
		a: cache.tag none x
		> -ERR no such key
		a: mset a 1 b 2 c 3 d 4
		a: cache.tag a red round
		> 2
		a: cache.tag a red
		> 0
		a: cache.tag b red
		a: cache.tag c round
		a: cache.tag d red
		a: cache.tags a
		> ["red" "round"]
		a: cache.tagged red
		> ["a" "b" "d"]
		a: set a 5
		a: del b
		a: cache.tagged red
		> ["a" "d"]
		a: set b 6
		a: rename d e
		a: select 1
		a: set other 1
		a: cache.tag other red
	`)
	stop() // tags outlive a restart
	s, stop = runServer(t, cfg)
	defer stop()
	script(t, s.Addr().String(), `
		a: cache.tagged red
		> ["a"]
		b: client tracking on bcast
		a: watch a
		b: cache.invalidate red unknown
		> 2
		a: multi
		a: ping
		a: exec
		> nil*
		a: mget a b c e
		> [nil "6" "3" "4"]
		a: cache.tagged red
		> []
		a: select 1
		a: exists other
		> 0
		a: cache.tagged round
		> []
	`)
}

// The tags that an origin names are those of what was loaded; what is loaded while they are invalidated is not kept.
func TestTagsOfOrigin(t *testing.T) {
	from := newService(t)
	from.header.Set("Cache-Tag", "goods, red")
	from.header.Set("Surrogate-Key", "page home")
	from.set("1", "one")
	s := startServer(t, Config{Origins: []Origin{from.origin(Origin{})}})
	c, d := dial(t, s.Addr().String()), dial(t, s.Addr().String())
	c.doLine("get item:1")
	if got := c.doLine("cache.tags item:1"); got != `["goods" "home" "page" "red"]` {
		t.Error(got)
	}
	if got := c.doLine("cache.invalidate home"); got != "1" {
		t.Error(got)
	}
	from.hold()
	c.send("get", "item:1")
	waitFor(t, func() bool { return blocked(s) == 1 })
	d.doLine("cache.invalidate red")
	from.free()
	if got := c.read() + d.doLine("exists item:1"); got != `"one"0` {
		t.Error(got)
	}
}
