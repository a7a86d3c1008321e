package topology

import (
	"fmt"
	"slices"
	"strings"
)

// blocks checks caches, tables, queues and topics.
func (c *checker) blocks() {
	for _, name := range sortedKeys(c.sys.Caches) {
		v := c.sys.Caches[name]
		s := c.spots[v]
		c.engine(s, v.Engine, v.URL)
		c.cacheKept(name, v, s)
		if kind, of := ServiceOf(v.Of); v.Of != "" && (kind == "caches" || !c.exists(kind, of)) {
			c.at(s.child("of"), Problem{Found: quoteFound(v.Of), Hint: c.problems.didYouMean(v.Of, c.usable),
				Expected: "a service, or tables.NAME or functions.NAME"})
		}
	}
	for _, name := range sortedKeys(c.sys.Tables) {
		v := c.sys.Tables[name]
		s := c.spots[v]
		c.engine(s, v.Engine, v.URL)
		for i, key := range v.Key {
			if key == "" || slices.Contains(v.Key[:i], key) {
				c.at(s.child("key").item(i), Problem{Found: quoteFound(key), Expected: "two different names of attributes"})
			}
		}
		if s.child("key").node != nil && s.child("key").node.kind == listKind && len(s.child("key").node.items) == 0 {
			c.at(s.child("key"), Problem{Found: "an empty list", Expected: "the partition key, or [partition key, sort key]"})
		}
	}
	for _, name := range sortedKeys(c.sys.Queues) {
		v := c.sys.Queues[name]
		s := c.spots[v]
		c.engine(s, v.Engine, v.URL)
		c.deadLetter(name, v, s.child("dead_letter"))
		c.consumers(v.Consumers, s.child("consumers"))
		c.pushes(v.Push, v.Consumers, s.child("push"))
		c.embeddedAlone("queue", v.Engine, "has schedules", s, "schedules")
		c.schedules(v, s.child("schedules"))
		c.embeddedAlone("queue", v.Engine, "bounds deliveries", s, "limit", "limits")
		c.embeddedAlone("queue", v.Engine, "pushes: a service that handles its messages takes them with a NATS client, at the URL that it is given", s, "push")
		c.embeddedAlone("queue", v.Engine, "has this: what can be lost is up to the stream of the NATS servers", s, "durability")
		c.inbox(v.Inbox, v.Push, s.child("inbox"))
	}
	for _, name := range sortedKeys(c.sys.Topics) {
		v := c.sys.Topics[name]
		c.engine(c.spots[v], v.Engine, v.URL)
		c.consumers(v.Consumers, c.spots[v].child("consumers"))
		c.pushes(v.Push, v.Consumers, c.spots[v].child("push"))
		c.embeddedAlone("topic", v.Engine, "has this", c.spots[v], "schema", "compatibility", "from")
		c.topicElsewhere(v, c.spots[v])
		c.filters(v, c.spots[v].child("filters"))
		c.topicSource(v, c.spots[v])
		c.inbox(v.Inbox, v.Push, c.spots[v].child("inbox"))
		if c.sys.Queues[name] != nil {
			c.at(c.spots[c.sys].child("topics").name(name), Problem{Found: quoteFound(name), Message: "a queue has the same name",
				Expected: "another name: NATS clients know both as streams, by their name alone"})
		}
	}
}

// pushes checks that messages are pushed to those who handle them.
func (c *checker) pushes(push map[string]string, consumers map[string]int, s spot) {
	for _, name := range sortedKeys(push) {
		if consumers[name] == 0 {
			c.unknown(s.name(name), "consumer", name, func() []string { return sortedKeys(consumers) })
		}
		if path := push[name]; !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") {
			c.at(s.child(name), Problem{Found: quoteFound(path), Expected: "a path of the service, such as /messages"})
		}
	}
}

// consumers checks that those exist who handle messages.
func (c *checker) consumers(of map[string]int, s spot) {
	for _, name := range sortedKeys(of) {
		if c.sys.Services[name] == nil {
			c.unknown(s.name(name), "service", name, c.sys.SortedServices)
		}
	}
}

// engine checks that an external engine has a URL, and that only such a one has.
func (c *checker) engine(s spot, engine, url string) {
	switch {
	case s.node == nil || s.node.kind != mapKind:
	case engine != "embedded" && engine != "" && s.child("url").node == nil:
		c.at(s.child("engine"), Problem{Found: quoteFound(engine), Message: "the engine has no url", Expected: "url: the engine's address"})
	case engine == "embedded" && url != "" && (s.child("engine").node == nil || s.child("engine").node.text == "embedded"):
		c.at(s.child("url"), Problem{Found: quoteFound(url), Message: "the embedded engine has no url",
			Hint: "name the engine that answers there"})
	}
}

// deadLetter checks that dead messages come to rest.
func (c *checker) deadLetter(name string, q *Queue, s spot) {
	if q.DeadLetter == "" {
		return
	}
	if c.sys.Queues[q.DeadLetter] == nil {
		p, _ := checkKey("name", q.DeadLetter)
		c.at(s, p)
		return
	}
	walk := []string{name}
	for next := q.DeadLetter; next != "" && c.sys.Queues[next] != nil; next = c.sys.Queues[next].DeadLetter {
		walk = append(walk, next)
		if next == name {
			c.at(s, Problem{Found: quoteFound(q.DeadLetter), Message: "dead messages go round in a circle: " + chain(walk)})
			return
		}
		if len(walk) > 100 || slices.Contains(walk[:len(walk)-1], next) {
			return // a circle that this queue only leads to is said where it closes
		}
	}
}

func (c *checker) function(name string, v *Function) {
	s := c.spots[v]
	build, run := s.child("build").node != nil, s.child("run").node != nil
	switch {
	case s.node == nil || s.node.kind != mapKind:
		return
	case build && run:
		c.at(s.child("run"), Problem{Message: "both build and run are given", Expected: "one of them"})
	case !build && !run:
		c.at(c.spots[c.sys].child("functions").name(name), Problem{Message: "neither build nor run is given",
			Expected: "build: FOLDER of a Go package, or run: COMMAND"})
	}
	on := s.child("on")
	var given []string
	for _, key := range []string{"topic", "queue", "http", "every"} {
		if on.child(key).node != nil {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		c.at(on, Problem{Found: chainWords(given), Expected: "exactly one of topic, queue, http and every"})
	case len(given) == 0 && (on.node == nil || on.node.kind == mapKind) && !c.used["functions."+name]:
		c.at(on, Problem{Message: "nothing starts the function",
			Expected: "on: with one of topic, queue, http and every, or a service that uses functions." + name})
	}
	if t := v.On.Topic; t != "" && c.sys.Topics[t] == nil {
		c.unknown(on.child("topic"), "topic", t, func() []string { return sortedKeys(c.sys.Topics) })
	}
	if q := v.On.Queue; q != "" && c.sys.Queues[q] == nil {
		c.unknown(on.child("queue"), "queue", q, func() []string { return sortedKeys(c.sys.Queues) })
	}
	if p := v.On.HTTP; p != "" {
		c.functionPath(name, p, on.child("http"))
	}
	if on.child("every").node != nil && v.On.Every == 0 {
		if every := on.child("every"); every.node.text == "0" || every.node.text == "0s" {
			c.at(every, Problem{Found: every.node.describe(), Expected: "a duration of more than 0"})
		}
	}
	c.calls(s.child("work"), v.Work, v.Uses)
}

// functionPath checks that nothing else answers at a function's path.
func (c *checker) functionPath(name, path string, s spot) {
	if other, taken := c.paths[path]; taken {
		c.at(s, Problem{Found: quoteFound(path), Message: other + " answers at the same path"})
		return
	}
	c.paths[path] = fmt.Sprintf("the function %q", name)
}

// survey notes what functions are checked against: which of them are used, and the paths that are taken.
func (c *checker) survey() {
	c.used, c.paths = map[string]bool{}, map[string]string{}
	for _, s := range c.sys.Services {
		for _, use := range s.Uses {
			c.used[use] = true
		}
	}
	for _, f := range c.sys.Functions {
		for _, use := range f.Uses {
			c.used[use] = true
		}
	}
	for _, r := range c.sys.Routes {
		if r.Method == "" && (r.Host == "" || r.Host == "*") {
			c.paths[r.Path] = fmt.Sprintf("the route %q", r.Name)
		}
	}
}

// chainWords writes a, b and c.
func chainWords(words []string) string {
	out := ""
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			out += " and "
		default:
			out += ", "
		}
		out += w
	}
	return out
}
