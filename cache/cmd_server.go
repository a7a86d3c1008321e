package cache

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redisVersion is the one whose commands and answers this server keeps to.
const redisVersion = "7.0.15"

var serverCommands = []command{
	{name: "info", arity: -1, groups: "dangerous", run: (*call).info},
	{name: "time", arity: 1, flags: "fast", run: (*call).time},
	{name: "role", arity: 1, flags: "fast", groups: "admin dangerous", run: (*call).role},
	{name: "monitor", arity: 1, flags: "admin", run: (*call).startMonitor},
	{name: "config", arity: -2, subs: []command{
		{name: "get", arity: -3, flags: "admin", run: (*call).configGet},
		{name: "set", arity: -4, flags: "admin", run: (*call).configSet},
		{name: "resetstat", arity: 2, flags: "admin", run: func(k *call) { k.s.resetCounters(); k.ok() }},
	}},
	{name: "slowlog", arity: -2, subs: []command{
		{name: "get", arity: -2, flags: "admin", run: (*call).slowlogGet},
		{name: "len", arity: 2, flags: "admin", run: func(k *call) { k.int(len(k.s.slowlog.entries)) }},
		{name: "reset", arity: 2, flags: "admin", run: func(k *call) { k.s.slowlog.entries = nil; k.ok() }},
	}},
	{name: "latency", arity: -2, subs: []command{
		{name: "latest", arity: 2, flags: "admin", run: (*call).latencyLatest},
		{name: "history", arity: 3, flags: "admin", run: (*call).latencyHistory},
		{name: "reset", arity: -2, flags: "admin", run: (*call).latencyReset},
	}},
	{name: "memory", arity: -2, subs: []command{
		{name: "usage", arity: -3, flags: "readonly", first: 2, last: 2, step: 1, run: (*call).memoryUsage},
		{name: "stats", arity: 2, run: (*call).memoryStats},
	}},
	{name: "command", arity: -1, groups: "connection", run: (*call).commandAll, subs: []command{
		{name: "count", arity: 2, groups: "connection", run: func(k *call) { k.int(len(k.s.registry.byName)) }},
		{name: "list", arity: 2, groups: "connection", run: (*call).commandList},
		{name: "info", arity: -2, groups: "connection", run: (*call).commandInfo},
		{name: "docs", arity: -2, groups: "connection", run: (*call).commandDocs},
		{name: "getkeys", arity: -3, groups: "connection", run: (*call).commandGetKeys},
	}},
	{name: "acl", arity: -2, subs: []command{
		{name: "whoami", arity: 2, flags: "", run: func(k *call) { k.text(k.c.user.name) }},
		{name: "users", arity: 2, flags: "admin", run: func(k *call) { k.texts(k.s.acl.names()) }},
		{name: "list", arity: 2, flags: "admin", run: (*call).aclList},
		{name: "cat", arity: -2, run: (*call).aclCat},
		{name: "setuser", arity: -3, flags: "admin", run: (*call).aclSetUser},
		{name: "getuser", arity: 3, flags: "admin", run: (*call).aclGetUser},
		{name: "deluser", arity: -3, flags: "admin", run: (*call).aclDelUser},
		{name: "genpass", arity: -2, run: (*call).aclGenPass},
		{name: "log", arity: -2, flags: "admin", run: (*call).aclLog},
		{name: "dryrun", arity: -4, flags: "admin", run: (*call).aclDryRun},
	}},
}

func randomID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (k *call) time() {
	now := time.Now()
	k.array(2)
	k.text(strconv.FormatInt(now.Unix(), 10))
	k.text(strconv.FormatInt(int64(now.Nanosecond()/1000), 10))
}

// startMonitor has the client be told of every command.
func (k *call) startMonitor() {
	if !k.c.monitor {
		k.c.monitor = true
		k.s.monitor = append(k.s.monitor, k.c)
	}
	k.ok()
}

func (s *Server) stopMonitor(c *client) {
	c.monitor = false
	s.monitor = slices.DeleteFunc(s.monitor, func(o *client) bool { return o == c })
}

// tellMonitors tells of a command that is about to be carried out; not of those that may hold passwords.
func (s *Server) tellMonitors(k *call) {
	if k.cmd.has("admin") || k.cmd.name == "auth" || k.cmd.name == "hello" {
		return
	}
	var b strings.Builder
	now := time.Now()
	fmt.Fprintf(&b, "+%d.%06d [%d %s]", now.Unix(), now.Nanosecond()/1000, k.c.db, k.c.from)
	for _, a := range k.args {
		b.WriteByte(' ')
		b.WriteString(strconv.QuoteToASCII(string(a)))
	}
	b.WriteString("\r\n")
	for _, c := range s.monitor {
		if c != k.c {
			s.send(c, []byte(b.String()))
		}
	}
}

// slowlog keeps the commands that took long, latest first.
type slowlog struct {
	next    int64
	entries []slowEntry
}

type slowEntry struct {
	id, at, micros int64
	args           []string
	client, name   string
}

// What is kept of a command.
const (
	slowArgs    = 32
	slowArgSize = 128
)

func (l *slowlog) add(s *Server, k *call, micros int64) {
	e := slowEntry{id: l.next, at: s.store.Now() / 1000, micros: micros, client: k.c.from.String(), name: k.c.name}
	l.next++
	for i, a := range k.args {
		if i == slowArgs-1 && len(k.args) > slowArgs {
			e.args = append(e.args, fmt.Sprintf("... (%d more arguments)", len(k.args)-slowArgs+1))
			break
		}
		text := string(a[:min(len(a), slowArgSize)])
		if len(a) > slowArgSize {
			text += fmt.Sprintf("... (%d more bytes)", len(a)-slowArgSize)
		}
		e.args = append(e.args, text)
	}
	if k.cmd.name == "auth" || k.cmd.name == "hello" || k.cmd.parent != nil && k.cmd.parent.name == "acl" {
		e.args = []string{strings.ToUpper(k.cmd.full), "(redacted)"}
	}
	l.entries = slices.Insert(l.entries, 0, e)
	l.entries = l.entries[:min(len(l.entries), int(s.set.slowlogLen))]
}

func (k *call) slowlogGet() {
	n := int64(10)
	if len(k.args) > 3 {
		k.fail(wrongArity(k.cmd))
		return
	}
	if len(k.args) == 3 {
		var ok bool
		if n, ok = k.intArg(2); !ok {
			return
		}
		if n < -1 {
			k.fail("ERR count should be greater than or equal to -1")
			return
		}
	}
	all := k.s.slowlog.entries
	if n >= 0 {
		all = all[:min(int(n), len(all))]
	}
	k.array(len(all))
	for _, e := range all {
		k.array(6)
		k.int64(e.id)
		k.int64(e.at)
		k.int64(e.micros)
		k.texts(e.args)
		k.text(e.client)
		k.text(e.name)
	}
}

// latencyEvents keeps the times that events took which took long, by name.
type latencyEvents map[string]*latencyEvent

type latencyEvent struct {
	samples []latencySample // oldest first
	most    int64
}

type latencySample struct{ at, ms int64 }

const latencySamples = 160

func (l *latencyEvents) add(name string, at, ms int64) {
	if *l == nil {
		*l = latencyEvents{}
	}
	e := (*l)[name]
	if e == nil {
		e = &latencyEvent{}
		(*l)[name] = e
	}
	e.most = max(e.most, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at == at {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return
	}
	e.samples = append(e.samples, latencySample{at, ms})
	if len(e.samples) > latencySamples {
		e.samples = e.samples[1:]
	}
}

func (k *call) latencyLatest() {
	k.array(len(k.s.events))
	for name, e := range k.s.events {
		last := e.samples[len(e.samples)-1]
		k.array(4)
		k.text(name)
		k.int64(last.at)
		k.int64(last.ms)
		k.int64(e.most)
	}
}

func (k *call) latencyHistory() {
	e := k.s.events[k.arg(2)]
	if e == nil {
		k.array(0)
		return
	}
	k.array(len(e.samples))
	for _, s := range e.samples {
		k.array(2)
		k.int64(s.at)
		k.int64(s.ms)
	}
}

func (k *call) latencyReset() {
	n := 0
	for name := range k.s.events {
		if len(k.args) == 2 || slices.ContainsFunc(k.args[2:], func(a []byte) bool { return string(a) == name }) {
			delete(k.s.events, name)
			n++
		}
	}
	k.int(n)
}

func (k *call) memoryUsage() {
	if len(k.args) > 3 && (len(k.args) != 5 || !k.is(3, "SAMPLES")) {
		k.syntax()
		return
	}
	if len(k.args) == 5 {
		if n, ok := k.intArg(4); !ok || n < 0 {
			if ok {
				k.syntax()
			}
			return
		}
	}
	e, there := k.db.Find(k.args[2])
	if !there {
		k.null()
		return
	}
	k.int64(e.Memory())
}

func (k *call) memoryStats() {
	s := k.s
	keys := 0
	for i := range s.store.Databases() {
		keys += s.store.DB(i).Len()
	}
	perKey := int64(0)
	if keys > 0 {
		perKey = s.store.Used() / int64(keys)
	}
	stats := []struct {
		name string
		n    int64
	}{
		{"peak.allocated", max(s.count.peak, s.store.Used())}, {"total.allocated", s.store.Used()},
		{"keys.count", int64(keys)}, {"keys.bytes-per-key", perKey},
		{"dataset.bytes", s.store.Arena.Used()}, {"allocator.resident", s.store.Resident()},
	}
	k.mapOf(len(stats))
	for _, st := range stats {
		k.text(st.name)
		k.int64(st.n)
	}
}
