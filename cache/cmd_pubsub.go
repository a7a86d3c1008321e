package cache

import (
	"maps"
	"slices"

	"github.com/banyanhq/banyan/cache/resp"
)

var pubsubCommands = []command{
	{name: "subscribe", arity: -2, flags: "pubsub in_pubsub", run: func(k *call) { k.subscribe(channels) }},
	{name: "unsubscribe", arity: -1, flags: "pubsub in_pubsub", run: func(k *call) { k.unsubscribe(channels) }},
	{name: "psubscribe", arity: -2, flags: "pubsub in_pubsub", run: func(k *call) { k.subscribe(patterns) }},
	{name: "punsubscribe", arity: -1, flags: "pubsub in_pubsub", run: func(k *call) { k.unsubscribe(patterns) }},
	{name: "ssubscribe", arity: -2, flags: "pubsub in_pubsub", run: func(k *call) { k.subscribe(shards) }},
	{name: "sunsubscribe", arity: -1, flags: "pubsub in_pubsub", run: func(k *call) { k.unsubscribe(shards) }},
	{name: "publish", arity: 3, flags: "pubsub fast", run: (*call).publish},
	{name: "spublish", arity: 3, flags: "pubsub fast", run: func(k *call) { k.int(k.s.publish(shards, k.arg(1), k.args[2])) }},
	{name: "pubsub", arity: -2, subs: []command{
		{name: "channels", arity: -2, flags: "pubsub", run: func(k *call) { k.pubsubChannels(channels) }},
		{name: "numsub", arity: -2, flags: "pubsub", run: func(k *call) { k.pubsubNumSub(channels) }},
		{name: "numpat", arity: 2, flags: "pubsub", run: func(k *call) { k.int(len(k.s.hub[patterns])) }},
		{name: "shardchannels", arity: -2, flags: "pubsub", run: func(k *call) { k.pubsubChannels(shards) }},
		{name: "shardnumsub", arity: -2, flags: "pubsub", run: func(k *call) { k.pubsubNumSub(shards) }},
	}},
}

// The kinds of subscriptions.
const (
	channels = iota
	patterns
	shards
	subscriptionKinds
)

// The words in the messages of each kind.
var subscriptionWords = [subscriptionKinds]struct{ subscribe, unsubscribe, message string }{
	{"subscribe", "unsubscribe", "message"},
	{"psubscribe", "punsubscribe", "pmessage"},
	{"ssubscribe", "sunsubscribe", "smessage"},
}

// hub knows who subscribes to what, by kind.
type hub [subscriptionKinds]map[string]map[*client]struct{}

func newHub() (h hub) {
	for i := range h {
		h[i] = map[string]map[*client]struct{}{}
	}
	return h
}

// subscriptions of a client, by kind.
type subscriptions [subscriptionKinds]map[string]struct{}

func (s *subscriptions) n() int {
	if s == nil {
		return 0
	}
	return len(s[channels]) + len(s[patterns]) + len(s[shards])
}

// counted is the number that the answers to a kind of subscription tell.
func (s *subscriptions) counted(kind int) int {
	switch {
	case s == nil:
		return 0
	case kind == shards:
		return len(s[shards])
	}
	return len(s[channels]) + len(s[patterns])
}

func (k *call) subscribe(kind int) {
	c := k.c
	if c.subs == nil {
		c.subs = &subscriptions{}
	}
	for i := range k.args[1:] {
		name := k.arg(i + 1)
		if c.subs[kind] == nil {
			c.subs[kind] = map[string]struct{}{}
		}
		c.subs[kind][name] = struct{}{}
		if k.s.hub[kind][name] == nil {
			k.s.hub[kind][name] = map[*client]struct{}{}
		}
		k.s.hub[kind][name][c] = struct{}{}
		k.tellSubscribed(subscriptionWords[kind].subscribe, &name, c.subs.counted(kind))
	}
}

func (k *call) tellSubscribed(word string, name *string, n int) {
	k.out = resp.AppendPush(k.out, k.v3, 3)
	k.text(word)
	if name == nil {
		k.null()
	} else {
		k.text(*name)
	}
	k.int(n)
}

func (k *call) unsubscribe(kind int) {
	c := k.c
	names := make([]string, 0, len(k.args))
	for i := range k.args[1:] {
		names = append(names, k.arg(i+1))
	}
	if len(k.args) == 1 && c.subs != nil {
		names = slices.Sorted(maps.Keys(c.subs[kind]))
	}
	word := subscriptionWords[kind].unsubscribe
	if len(names) == 0 {
		k.tellSubscribed(word, nil, c.subs.counted(kind))
	}
	for _, name := range names {
		k.s.leave(c, kind, name)
		k.tellSubscribed(word, &name, c.subs.counted(kind))
	}
	if c.subs.n() == 0 {
		c.subs = nil
	}
}

func (s *Server) leave(c *client, kind int, name string) {
	if c.subs == nil {
		return
	}
	delete(c.subs[kind], name)
	delete(s.hub[kind][name], c)
	if len(s.hub[kind][name]) == 0 {
		delete(s.hub[kind], name)
	}
}

func (s *Server) unsubscribeAll(c *client) {
	if c.subs == nil {
		return
	}
	for kind := range c.subs {
		for _, name := range slices.Collect(maps.Keys(c.subs[kind])) {
			s.leave(c, kind, name)
		}
	}
	c.subs = nil
}

// publish sends a message and returns how many clients it was sent to.
func (s *Server) publish(kind int, channel string, message []byte) (n int) {
	word := subscriptionWords[kind].message
	var texts [2][]byte // for version 2 and 3, made once for all
	for c := range s.hub[kind][channel] {
		i := 0
		if c.v3 {
			i = 1
		}
		if texts[i] == nil {
			b := resp.AppendPush(nil, c.v3, 3)
			b = resp.AppendBulk(b, word)
			b = resp.AppendBulk(b, channel)
			texts[i] = resp.AppendBulk(b, message)
		}
		s.send(c, texts[i])
		n++
	}
	if kind == shards {
		return n
	}
	for pattern, clients := range s.hub[patterns] {
		if !glob([]byte(pattern), []byte(channel)) {
			continue
		}
		for c := range clients {
			b := resp.AppendPush(nil, c.v3, 4)
			b = resp.AppendBulk(b, "pmessage")
			b = resp.AppendBulk(b, pattern)
			b = resp.AppendBulk(b, channel)
			s.send(c, resp.AppendBulk(b, message))
			n++
		}
	}
	return n
}

func (k *call) publish() {
	k.int(k.s.publish(channels, k.arg(1), k.args[2]))
	if k.s.sharding != nil {
		k.s.sharding.broadcast(k.args[1], k.args[2])
	}
}

func (k *call) pubsubChannels(kind int) {
	if len(k.args) > 3 {
		k.fail(wrongArity(k.cmd))
		return
	}
	var names []string
	for name := range k.s.hub[kind] {
		if len(k.args) == 2 || glob(k.args[2], []byte(name)) {
			names = append(names, name)
		}
	}
	k.texts(names)
}

func (k *call) pubsubNumSub(kind int) {
	k.array(2 * (len(k.args) - 2))
	for i := range k.args[2:] {
		name := k.arg(i + 2)
		k.text(name)
		k.int(len(k.s.hub[kind][name]))
	}
}
