package cache

import (
	"maps"
	"slices"
	"strings"
)

// What the table says of itself: COMMAND and those below it.

func (r *registry) names() []string { return slices.Sorted(maps.Keys(r.byName)) }

// describe answers with what is known of a command, as COMMAND INFO does.
func (k *call) describe(c *command) {
	k.array(10)
	k.text(c.full)
	k.int(c.arity)
	var flags []string
	for _, f := range strings.Fields(c.flags) {
		if f != "unqueued" && f != "in_pubsub" {
			flags = append(flags, f)
		}
	}
	if c.keys != nil {
		flags = append(flags, "movablekeys")
	}
	k.setOf(len(flags))
	for _, f := range flags {
		k.simple(f)
	}
	k.int(c.first)
	k.int(c.last)
	k.int(c.step)
	categories := c.categories()
	k.setOf(len(categories))
	for _, g := range categories {
		k.simple("@" + g)
	}
	k.array(0) // tips
	k.array(0) // key specifications
	k.array(len(c.byName))
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		k.describe(c.byName[name])
	}
}

func (k *call) commandAll() {
	names := k.s.registry.names()
	k.array(len(names))
	for _, name := range names {
		k.describe(k.s.registry.byName[name])
	}
}

// commandNamed finds a command by its full name.
func (k *call) commandNamed(name []byte) *command {
	group, sub, isSub := strings.Cut(strings.ToLower(string(name)), "|")
	c := k.s.registry.byName[group]
	if c == nil || !isSub {
		return c
	}
	return c.byName[sub]
}

func (k *call) commandInfo() {
	if len(k.args) == 2 {
		k.commandAll()
		return
	}
	k.array(len(k.args) - 2)
	for _, name := range k.args[2:] {
		if c := k.commandNamed(name); c != nil {
			k.describe(c)
		} else {
			k.nullArray()
		}
	}
}

func (k *call) commandList() {
	var names []string
	for _, c := range k.s.registry.all {
		names = append(names, c.full)
	}
	k.texts(names)
}

// commandDocs answers with the group of each command: what the table knows.
func (k *call) commandDocs() {
	names := k.s.registry.names()
	if len(k.args) > 2 {
		names = nil
		for _, a := range k.args[2:] {
			if c := k.commandNamed(a); c != nil {
				names = append(names, c.full)
			}
		}
	}
	k.mapOf(len(names))
	for _, name := range names {
		c := k.commandNamed([]byte(name))
		k.text(name)
		k.mapOf(1)
		k.text("group")
		k.text(c.group())
	}
}

// group is the one of Redis's documentation that a command belongs to.
func (c *command) group() string {
	for _, g := range strings.Fields(c.groups) {
		switch g {
		case "string", "hash", "list", "set", "bitmap", "stream", "connection":
			return g
		case "keyspace":
			return "generic"
		case "sortedset":
			return "sorted-set"
		case "transaction":
			return "transactions"
		}
	}
	if c.has("pubsub") || c.name == "pubsub" {
		return "pubsub"
	}
	return "server"
}

func (k *call) commandGetKeys() {
	c := k.s.registry.find(k.args[2:])
	if c == nil {
		k.fail("ERR Invalid command specified")
		return
	}
	if !c.takes(len(k.args) - 2) {
		k.fail("ERR Invalid number of arguments specified for command")
		return
	}
	keys := c.keysOf(k.args[2:])
	if len(keys) == 0 {
		k.fail("ERR The command has no key arguments")
		return
	}
	k.array(len(keys))
	for _, i := range keys {
		k.bulk(k.args[2+i])
	}
}
