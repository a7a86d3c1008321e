package cache

import (
	"fmt"
	"slices"
	"strings"
)

// command is one of the table: the only place that says what there is, who may call it, and what keys it has.
type command struct {
	name  string
	arity int // of arguments, the name included; negative: at least so many
	flags string
	// Keys are the arguments from first to last (negative: from the end) in steps; first 0: none. keys finds them where
	// that does not say it.
	first, last, step int
	keys              func(args [][]byte) []int
	groups            string // ACL categories beside those that follow from the flags
	run               func(*call)
	subs              []command // whose names are the second argument

	upper  string // the name, in upper case
	full   string // the name with that of what it belongs to: config|get
	number int    // in the order of the table, for ACL rules and counts
	write  bool
	read   bool
	grows  bool // may need memory: refused where there is none
	noAuth bool
	always bool // is carried out in a transaction's queue, too
	pubsub bool // may be called by a subscriber in version 2
	parent *command
	byName map[string]*command
}

// has reports whether the command has a flag.
func (c *command) has(flag string) bool { return slices.Contains(strings.Fields(c.flags), flag) }

// categories are the ACL categories that the command is in.
func (c *command) categories() []string {
	all := []string{}
	for _, p := range []struct{ flag, category string }{
		{"write", "write"}, {"readonly", "read"}, {"admin", "admin"}, {"pubsub", "pubsub"}, {"blocking", "blocking"},
	} {
		if c.has(p.flag) {
			all = append(all, p.category)
		}
	}
	if c.has("fast") {
		all = append(all, "fast")
	} else {
		all = append(all, "slow")
	}
	if c.has("admin") {
		all = append(all, "dangerous")
	}
	for _, g := range strings.Fields(c.groups) {
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

// aclCategories are all that there are.
var aclCategories = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "stream", "pubsub", "admin", "fast", "slow",
	"blocking", "dangerous", "connection", "transaction",
}

// keysOf returns which arguments are keys.
func (c *command) keysOf(args [][]byte) []int {
	if c.keys != nil {
		return c.keys(args)
	}
	if c.first == 0 {
		return nil
	}
	last := c.last
	if last < 0 {
		last += len(args)
	}
	var all []int
	for i := c.first; i <= last && i < len(args); i += c.step {
		all = append(all, i)
	}
	return all
}

// registry finds commands by name.
type registry struct {
	all    []*command // in the order of the table, those of groups behind their group
	byName map[string]*command
}

func newRegistry() *registry {
	r := &registry{byName: map[string]*command{}}
	for _, part := range [][]command{
		stringCommands, bitCommands, bitFieldCommands, keyCommands, hashCommands, setCommands, listCommands, sortedSetCommands, streamCommands,
		transactionCommands, pubsubCommands, connectionCommands, serverCommands, persistCommands, tagCommands, trafficCommands, clusterCommands,
	} {
		for i := range part {
			c := part[i] // a copy: servers share nothing
			r.add(&c, nil)
		}
	}
	return r
}

func (r *registry) add(c, parent *command) {
	c.upper = strings.ToUpper(c.name)
	c.full, c.number, c.parent = c.name, len(r.all), parent
	if parent != nil {
		c.full = parent.name + "|" + c.name
		parent.byName[c.name] = c
	} else {
		r.byName[c.name] = c
	}
	c.write, c.read, c.grows, c.noAuth = c.has("write"), c.has("readonly"), c.has("denyoom"), c.has("no_auth")
	c.always, c.pubsub = c.has("unqueued"), c.has("in_pubsub")
	r.all = append(r.all, c)
	if len(c.subs) > 0 {
		c.byName = map[string]*command{}
		for i := range c.subs {
			sub := c.subs[i]
			r.add(&sub, c)
		}
	}
}

// find returns the command that the arguments name, nil if there is none; for a group the command of the group.
func (r *registry) find(args [][]byte) *command {
	c := lookup(r.byName, args[0])
	if c == nil || c.byName == nil || len(args) < 2 {
		return c
	}
	if sub := lookup(c.byName, args[1]); sub != nil {
		return sub
	}
	return nil
}

func lookup(in map[string]*command, name []byte) *command {
	var lower [32]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, ch := range name {
		if ch >= 'A' && ch <= 'Z' {
			ch += 'a' - 'A'
		}
		lower[i] = ch
	}
	return in[string(lower[:len(name)])]
}

// unknown is the error for arguments that name no command.
func (r *registry) unknown(args [][]byte) string {
	if c := lookup(r.byName, args[0]); c != nil && c.byName != nil && len(args) > 1 {
		return fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", args[1], strings.ToUpper(c.name))
	}
	var b strings.Builder
	for _, a := range args[1:] {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%.*s' ", 128-b.Len(), a)
	}
	return fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", args[0], b.String())
}

func wrongArity(c *command) string {
	return fmt.Sprintf("ERR wrong number of arguments for '%s' command", c.full)
}

func (c *command) takes(n int) bool { return n == c.arity || c.arity < 0 && n >= -c.arity }
