package cache

import (
	"strings"

	"github.com/banyanhq/banyan/cache/resp"
)

// tracking knows which clients keep copies of which keys, to tell them when one has changed.
type tracking struct {
	keys  map[string]map[int64]struct{} // to the clients that have read it
	bcast map[*client]struct{}          // that want to hear of all keys, or of those with a prefix
}

func newTracking() tracking {
	return tracking{keys: map[string]map[int64]struct{}{}, bcast: map[*client]struct{}{}}
}

func (t *tracking) any() bool { return len(t.keys) > 0 || len(t.bcast) > 0 }

// tracker is how one client tracks.
type tracker struct {
	bcast, optIn, optOut, noLoop bool
	prefixes                     []string
	redirect                     int64 // client that is told instead; 0: itself
	broken                       bool  // that one is gone
	caching                      bool  // CLIENT CACHING was called for the next command
}

// wants reports whether the client wants to hear of what its command reads.
func (t *tracker) wants() bool {
	return !t.bcast && (!t.optIn || t.caching) && (!t.optOut || !t.caching)
}

// remember notes the keys that a command has read.
func (s *Server) remember(k *call) {
	for _, i := range k.cmd.keysOf(k.args) {
		key := string(k.args[i])
		if s.track.keys[key] == nil {
			if s.set.trackingMax > 0 && int64(len(s.track.keys)) >= s.set.trackingMax {
				for other := range s.track.keys { // some key has to go
					s.invalidate([]byte(other), nil)
					break
				}
			}
			s.track.keys[key] = map[int64]struct{}{}
		}
		s.track.keys[key][k.c.id] = struct{}{}
	}
}

// invalidate tells those that have read a key that it has changed.
func (s *Server) invalidate(key []byte, by *client) {
	if ids := s.track.keys[string(key)]; ids != nil {
		delete(s.track.keys, string(key))
		for id := range ids {
			if c := s.clients[id]; c != nil && c.tracks != nil && !(c.tracks.noLoop && c == by) {
				s.tellInvalid(c, key)
			}
		}
	}
	for c := range s.track.bcast {
		if c.tracks.noLoop && c == by {
			continue
		}
		wanted := len(c.tracks.prefixes) == 0
		for _, p := range c.tracks.prefixes {
			wanted = wanted || strings.HasPrefix(string(key), p)
		}
		if wanted {
			s.tellInvalid(c, key)
		}
	}
}

// invalidateAll tells all that track that nothing they have read is good any more.
func (s *Server) invalidateAll() {
	if !s.track.any() {
		return
	}
	clear(s.track.keys)
	for _, c := range s.clients {
		if c.tracks != nil {
			s.tellInvalid(c, nil)
		}
	}
}

// tellInvalid tells a client, or the one that it has named, of a key; nil: of all.
func (s *Server) tellInvalid(c *client, key []byte) {
	to := c
	if c.tracks.redirect != 0 {
		if to = s.clients[c.tracks.redirect]; to == nil {
			if !c.tracks.broken && c.v3 {
				b := resp.AppendPush(nil, true, 2)
				b = resp.AppendBulk(b, "tracking-redir-broken")
				s.send(c, resp.AppendInt(b, c.tracks.redirect))
			}
			c.tracks.broken = true
			return
		}
	}
	var b []byte
	switch {
	case to.v3:
		b = resp.AppendPush(b, true, 2)
		b = resp.AppendBulk(b, "invalidate")
	case to.subs != nil && has(to.subs[channels], "__redis__:invalidate"):
		b = resp.AppendArray(b, 3)
		b = resp.AppendBulk(b, "message")
		b = resp.AppendBulk(b, "__redis__:invalidate")
	default:
		return
	}
	if key == nil {
		b = resp.AppendNull(b, to.v3)
	} else {
		b = resp.AppendArray(b, 1)
		b = resp.AppendBulk(b, key)
	}
	if s.current != nil && s.current.c == to {
		s.current.after = append(s.current.after, b...) // behind the answer of the command that has changed the key
		return
	}
	s.send(to, b)
}

func has(set map[string]struct{}, name string) bool { _, ok := set[name]; return ok }

// stopTracking has a client not be told any more.
func (s *Server) stopTracking(c *client) {
	delete(s.track.bcast, c)
	c.tracks = nil // what it has read is forgotten when that changes
}

func (k *call) clientTracking() {
	on := k.is(2, "ON")
	if !on && !k.is(2, "OFF") {
		k.syntax()
		return
	}
	t := &tracker{}
	for i := 3; i < len(k.args); i++ {
		switch {
		case k.is(i, "BCAST"):
			t.bcast = true
		case k.is(i, "OPTIN"):
			t.optIn = true
		case k.is(i, "OPTOUT"):
			t.optOut = true
		case k.is(i, "NOLOOP"):
			t.noLoop = true
		case k.is(i, "PREFIX") && i+1 < len(k.args):
			t.prefixes = append(t.prefixes, k.arg(i+1))
			i++
		case k.is(i, "REDIRECT") && i+1 < len(k.args):
			id, ok := k.intArg(i + 1)
			if !ok {
				return
			}
			if k.s.clients[id] == nil {
				k.fail("ERR The client ID you want redirect to does not exist")
				return
			}
			t.redirect = id
			i++
		default:
			k.syntax()
			return
		}
	}
	if !on {
		k.s.stopTracking(k.c)
		k.ok()
		return
	}
	if reason := t.wrong(k.c); reason != "" {
		k.fail(reason)
		return
	}
	k.s.stopTracking(k.c)
	k.c.tracks = t
	if t.bcast {
		k.s.track.bcast[k.c] = struct{}{}
	}
	k.ok()
}

// wrong says why the options do not go together, or not with those of before.
func (t *tracker) wrong(c *client) string {
	switch {
	case len(t.prefixes) > 0 && !t.bcast:
		return "ERR PREFIX option requires BCAST mode to be enabled"
	case c.tracks != nil && c.tracks.bcast != t.bcast:
		return "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
	case t.bcast && (t.optIn || t.optOut):
		return "ERR OPTIN and OPTOUT are not compatible with BCAST"
	case t.optIn && t.optOut:
		return "ERR You can't specify both OPTIN mode and OPTOUT mode"
	case c.tracks != nil && (c.tracks.optIn != t.optIn && c.tracks.optOut || c.tracks.optOut != t.optOut && c.tracks.optIn):
		return "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
	}
	for i, a := range t.prefixes {
		for _, b := range t.prefixes[:i] {
			if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
				return "ERR Prefix '" + a + "' overlaps with an existing prefix '" + b + "'. Prefixes for a single client must not overlap."
			}
		}
	}
	return ""
}

func (k *call) clientCaching() {
	t := k.c.tracks
	switch {
	case t == nil || !t.optIn && !t.optOut:
		k.fail("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	case k.is(2, "YES") && t.optIn, k.is(2, "NO") && t.optOut:
		t.caching = true
		k.ok()
	case k.is(2, "YES"):
		k.fail("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case k.is(2, "NO"):
		k.fail("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	default:
		k.syntax()
	}
}

func (k *call) clientTrackingInfo() {
	t := k.c.tracks
	flags, redirect := []string{"off"}, int64(-1)
	var prefixes []string
	if t != nil {
		flags, redirect, prefixes = []string{"on"}, t.redirect, t.prefixes
		for _, f := range []struct {
			on   bool
			name string
		}{{t.bcast, "bcast"}, {t.optIn, "optin"}, {t.optOut, "optout"}, {t.optIn && t.caching, "caching-yes"},
			{t.optOut && t.caching, "caching-no"}, {t.noLoop, "noloop"}, {t.broken, "broken_redirect"}} {
			if f.on {
				flags = append(flags, f.name)
			}
		}
	}
	k.mapOf(3)
	k.text("flags")
	k.setOf(len(flags))
	for _, f := range flags {
		k.text(f)
	}
	k.text("redirect")
	k.int64(redirect)
	k.text("prefixes")
	k.setOf(len(prefixes))
	for _, p := range prefixes {
		k.text(p)
	}
}
