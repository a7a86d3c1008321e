package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/resp"
)

var connectionCommands = []command{
	{name: "ping", arity: -1, flags: "fast in_pubsub", groups: "connection", run: (*call).ping},
	{name: "echo", arity: 2, flags: "fast", groups: "connection", run: func(k *call) { k.bulk(k.args[1]) }},
	{name: "quit", arity: -1, flags: "fast no_auth unqueued in_pubsub", groups: "connection", run: func(k *call) { k.c.closing = true; k.ok() }},
	{name: "select", arity: 2, flags: "fast", groups: "connection", run: (*call).selectDB},
	{name: "auth", arity: -2, flags: "fast no_auth", groups: "connection", run: (*call).auth},
	{name: "hello", arity: -1, flags: "fast no_auth", groups: "connection", run: (*call).hello},
	{name: "reset", arity: 1, flags: "fast no_auth unqueued in_pubsub", groups: "connection", run: (*call).reset},
	{name: "client", arity: -2, groups: "connection", subs: []command{
		{name: "id", arity: 2, groups: "connection", run: func(k *call) { k.int64(k.c.id) }},
		{name: "info", arity: 2, groups: "connection", run: func(k *call) { k.verbatim(k.c.describe() + "\n") }},
		{name: "list", arity: -2, flags: "admin", groups: "connection", run: (*call).clientList},
		{name: "setname", arity: 3, groups: "connection", run: (*call).clientSetName},
		{name: "getname", arity: 2, groups: "connection", run: (*call).clientGetName},
		{name: "setinfo", arity: 4, groups: "connection", run: (*call).clientSetInfo},
		{name: "kill", arity: -3, flags: "admin", groups: "connection", run: (*call).clientKill},
		{name: "reply", arity: 3, groups: "connection", run: (*call).clientReply},
		{name: "unblock", arity: -3, flags: "admin", groups: "connection", run: (*call).clientUnblock},
		{name: "no-evict", arity: 3, flags: "admin", groups: "connection", run: func(k *call) { k.clientSwitch(&k.c.noEvict) }},
		{name: "no-touch", arity: 3, groups: "connection", run: func(k *call) { k.clientSwitch(&k.c.noTouch) }},
		{name: "tracking", arity: -3, groups: "connection", run: (*call).clientTracking},
		{name: "trackinginfo", arity: 2, groups: "connection", run: (*call).clientTrackingInfo},
		{name: "caching", arity: 3, groups: "connection", run: (*call).clientCaching},
		{name: "getredir", arity: 2, groups: "connection", run: (*call).clientGetRedir},
	}},
}

func (k *call) ping() {
	if len(k.args) > 2 {
		k.fail(wrongArity(k.cmd))
		return
	}
	if k.c.subs.n() > 0 && !k.v3 {
		k.array(2)
		k.text("pong")
		if len(k.args) == 2 {
			k.bulk(k.args[1])
		} else {
			k.text("")
		}
		return
	}
	if len(k.args) == 2 {
		k.bulk(k.args[1])
		return
	}
	k.simple("PONG")
}

func (k *call) selectDB() {
	if k.s.sharding != nil && k.arg(1) != "0" {
		k.fail("ERR SELECT is not allowed in cluster mode")
		return
	}
	if n, ok := k.dbArg(1, errNotInt); ok {
		k.c.db = n
		k.ok()
	}
}

// login makes the client a user, or answers that it may not be.
func (k *call) login(name, password string) bool {
	u := k.s.acl.users[name]
	if u == nil || !u.on || !u.accepts(password) {
		k.s.acl.deny(k.c, "auth", "AUTH")
		k.fail("WRONGPASS invalid username-password pair or user is disabled.")
		return false
	}
	k.c.user, k.c.known = u, true
	return true
}

func (k *call) auth() {
	if len(k.args) > 3 {
		k.syntax()
		return
	}
	if len(k.args) == 2 {
		if k.s.acl.users["default"].noPass {
			k.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
			return
		}
		if k.login("default", k.arg(1)) {
			k.ok()
		}
		return
	}
	if k.login(k.arg(1), k.arg(2)) {
		k.ok()
	}
}

func (k *call) hello() {
	version := int64(0)
	if len(k.args) > 1 {
		n, ok := resp.ParseInt(k.args[1])
		if !ok {
			k.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if n < 2 || n > 3 {
			k.fail("NOPROTO unsupported protocol version")
			return
		}
		version = n
	}
	var user, password, name string
	login, named := false, false
	for i := 2; i < len(k.args); i++ {
		switch {
		case k.is(i, "AUTH") && i+2 < len(k.args):
			login, user, password = true, k.arg(i+1), k.arg(i+2)
			i += 2
		case k.is(i, "SETNAME") && i+1 < len(k.args):
			named, name = true, k.arg(i+1)
			i++
		default:
			k.failf("ERR Syntax error in HELLO option '%s'", k.args[i])
			return
		}
	}
	if named && !plainName(name) {
		k.fail(errClientName)
		return
	}
	if login && !k.login(user, password) {
		return
	}
	if !k.c.known {
		k.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if version != 0 {
		k.c.v3 = version == 3
		k.v3 = k.c.v3
	}
	if named {
		k.c.name = name
	}
	k.mapOf(7)
	k.text("server")
	k.text("redis")
	k.text("version")
	k.text(redisVersion)
	k.text("proto")
	k.int(map[bool]int{false: 2, true: 3}[k.c.v3])
	k.text("id")
	k.int64(k.c.id)
	k.text("mode")
	k.text(k.s.mode())
	k.text("role")
	k.text("master")
	k.text("modules")
	k.array(0)
}

func (k *call) reset() {
	c := k.c
	k.s.endTransaction(c)
	k.s.unsubscribeAll(c)
	k.s.stopTracking(c)
	if c.monitor {
		k.s.stopMonitor(c)
	}
	c.name, c.db, c.v3, c.silent, c.noEvict, c.noTouch = "", 0, false, answers, false, false
	c.asking, c.readonly = false, false
	k.s.acl.welcome(c)
	k.simple("RESET")
}

const errClientName = "ERR Client names cannot contain spaces, newlines or special characters."

func plainName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

func (k *call) clientSetName() {
	name := k.arg(2)
	if !plainName(name) || len(name) > 1<<10 {
		k.fail(errClientName)
		return
	}
	k.c.name = name
	k.ok()
}

func (k *call) clientGetName() {
	if k.c.name == "" {
		k.null()
		return
	}
	k.text(k.c.name)
}

func (k *call) clientSetInfo() {
	if !plainName(k.arg(3)) || len(k.args[3]) > 1<<10 {
		k.failf("ERR %s cannot contain spaces, newlines or special characters.", strings.ToLower(k.arg(2)))
		return
	}
	switch {
	case k.is(2, "LIB-NAME"):
		k.c.library[0] = k.arg(3)
	case k.is(2, "LIB-VER"):
		k.c.library[1] = k.arg(3)
	default:
		k.failf("ERR Unrecognized option '%s'", k.args[2])
		return
	}
	k.ok()
}

func (k *call) clientSwitch(on *bool) {
	switch {
	case k.is(2, "ON"):
		*on = true
	case k.is(2, "OFF"):
		*on = false
	default:
		k.syntax()
		return
	}
	k.ok()
}

func (k *call) clientReply() {
	switch {
	case k.is(2, "ON"):
		k.c.silent = answers
		k.ok()
	case k.is(2, "OFF"):
		k.c.silent = noAnswers
	case k.is(2, "SKIP"):
		if k.c.silent == answers {
			k.c.silent = skipNext
		}
	default:
		k.syntax()
	}
}

func (k *call) clientGetRedir() {
	switch {
	case k.c.tracks == nil:
		k.int(-1)
	default:
		k.int64(k.c.tracks.redirect)
	}
}

// kind of a client, as CLIENT LIST TYPE names it.
func (c *client) kind() string {
	if c.subs.n() > 0 && !c.v3 {
		return "pubsub"
	}
	return "normal"
}

// describe is a client's line in CLIENT LIST.
func (c *client) describe() string {
	now := c.server.store.Now() / 1000
	flags := ""
	for _, f := range []struct {
		on     bool
		letter string
	}{{c.subs.n() > 0, "P"}, {c.tx != nil && c.tx.open, "x"}, {c.blocked != nil, "b"}, {c.tracks != nil, "t"}, {c.monitor, "O"}} {
		if f.on {
			flags += f.letter
		}
	}
	if flags == "" {
		flags = "N"
	}
	multi, watch := -1, 0
	if c.tx != nil {
		watch = len(c.tx.watched)
		if c.tx.open {
			multi = len(c.tx.queued)
		}
	}
	sub, psub, ssub := 0, 0, 0
	if c.subs != nil {
		sub, psub, ssub = len(c.subs[channels]), len(c.subs[patterns]), len(c.subs[shards])
	}
	redirect := int64(-1)
	if c.tracks != nil {
		redirect = c.tracks.redirect
	}
	last := "NULL"
	if c.last != nil {
		last = c.last.full
	}
	version := 2
	if c.v3 {
		version = 3
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d multi=%d watch=%d omem=%d cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s",
		c.id, c.from, c.server.Addr(), c.name, now-c.since, max(now-c.heard, 0), flags, c.db, sub, psub, ssub, multi, watch,
		len(c.push)+c.backlog, last, c.user.name, redirect, version, c.library[0], c.library[1])
}

// clientsInOrder are all clients, by id.
func (s *Server) clientsInOrder() []*client {
	all := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *client) int { return int(a.id - b.id) })
	return all
}

func (k *call) clientList() {
	want := func(*client) bool { return true }
	switch {
	case len(k.args) == 2:
	case k.is(2, "TYPE") && len(k.args) == 4:
		kind := strings.ToLower(k.arg(3))
		if !slices.Contains([]string{"normal", "master", "replica", "slave", "pubsub"}, kind) {
			k.failf("ERR Unknown client type '%s'", k.args[3])
			return
		}
		want = func(c *client) bool { return c.kind() == kind }
	case k.is(2, "ID") && len(k.args) > 3:
		ids := map[int64]bool{}
		for i := 3; i < len(k.args); i++ {
			id, ok := resp.ParseInt(k.args[i])
			if !ok || id < 1 {
				k.fail("ERR Invalid client ID")
				return
			}
			ids[id] = true
		}
		want = func(c *client) bool { return ids[c.id] }
	default:
		k.syntax()
		return
	}
	var b strings.Builder
	for _, c := range k.s.clientsInOrder() {
		if want(c) {
			b.WriteString(c.describe() + "\n")
		}
	}
	k.verbatim(b.String())
}

// verbatim answers with text.
func (k *call) verbatim(s string) {
	if !k.v3 {
		k.text(s)
		return
	}
	k.out = append(k.out, '=')
	k.out = strconv.AppendInt(k.out, int64(len(s)+4), 10)
	k.out = append(k.out, "\r\ntxt:"...)
	k.out = append(k.out, s...)
	k.out = append(k.out, '\r', '\n')
}

// killFilter parses the filters of CLIENT KILL.
func (k *call) killFilter() (want func(*client) bool, skipMe, ok bool) {
	if len(k.args) == 3 {
		return func(c *client) bool { return c.from.String() == k.arg(2) }, false, true
	}
	if len(k.args)%2 != 0 {
		k.syntax()
		return nil, false, false
	}
	skipMe = true
	var tests []func(*client) bool
	for i := 2; i < len(k.args); i += 2 {
		value := k.arg(i + 1)
		switch {
		case k.is(i, "ID"):
			id, ok := resp.ParseInt(k.args[i+1])
			if !ok || id < 1 {
				k.fail("ERR client-id should be greater than 0")
				return nil, false, false
			}
			tests = append(tests, func(c *client) bool { return c.id == id })
		case k.is(i, "ADDR"):
			tests = append(tests, func(c *client) bool { return c.from.String() == value })
		case k.is(i, "LADDR"):
			tests = append(tests, func(*client) bool { return k.s.Addr().String() == value })
		case k.is(i, "TYPE"):
			tests = append(tests, func(c *client) bool { return c.kind() == strings.ToLower(value) })
		case k.is(i, "USER"):
			if k.s.acl.users[value] == nil {
				k.failf("ERR No such user '%s'", value)
				return nil, false, false
			}
			tests = append(tests, func(c *client) bool { return c.user.name == value })
		case k.is(i, "SKIPME") && (k.is(i+1, "YES") || k.is(i+1, "NO")):
			skipMe = k.is(i+1, "YES")
		default:
			k.syntax()
			return nil, false, false
		}
	}
	return func(c *client) bool {
		for _, t := range tests {
			if !t(c) {
				return false
			}
		}
		return true
	}, skipMe, true
}

func (k *call) clientKill() {
	want, skipMe, ok := k.killFilter()
	if !ok {
		return
	}
	n := 0
	for _, c := range k.s.clientsInOrder() {
		switch {
		case !want(c):
		case c != k.c:
			c.kill()
			n++
		case !skipMe:
			k.c.closing = true
			n++
		}
	}
	if len(k.args) == 3 {
		if n == 0 {
			k.fail("ERR No such client")
		} else {
			k.ok()
		}
		return
	}
	k.int(n)
}

func (k *call) clientUnblock() {
	id, ok := k.intArg(2)
	if !ok {
		return
	}
	fail := len(k.args) == 4 && k.is(3, "ERROR")
	if len(k.args) > 4 || len(k.args) == 4 && !fail && !k.is(3, "TIMEOUT") {
		k.fail("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	c := k.s.clients[id]
	if c == nil || c.blocked == nil {
		k.int(0)
		return
	}
	answer := call{s: k.s, c: c, cmd: c.blocked.cmd, v3: c.v3}
	if fail {
		answer.fail("UNBLOCKED client unblocked via CLIENT UNBLOCK")
	} else {
		answer.timedOut()
	}
	k.s.wake(c.blocked, answer.out)
	k.int(1)
}
