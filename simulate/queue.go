package simulate

import (
	"fmt"
	"time"
)

// groupModel is one group of consumers: all that handle the messages of a queue, or those of one name that handle the
// events of a topic.
type groupModel struct {
	block      int32
	consumer   string
	service    int32 // none: a function
	function   int32 // block
	root       int32 // node that only calls the consumer
	each       int   // messages that one replica handles at once
	most       int   // that the group does; 0: no bound
	ackWait    int32 // index into timeouts
	maxDeliver int32
	dead       int32 // block that dead messages are moved to; none: they are dropped
}

// group is a groupModel at work.
type group struct {
	*groupModel
	ring     []int32 // messages that wait; a power of two
	first, n int
	handling int
	busy     map[int32]int32 // messages that each replica handles
	feeding  bool
}

// message is a message of a queue, or an event of a topic on its way to one group.
type message struct {
	published  int64
	group      int32
	root       int32 // visit that handles it; none: it waits
	deliveries int32
	stamp      uint32
	client     uint64
	about      uint64
}

// groups compiles who handles the messages of a queue, or the events of a topic.
func (c *compiler) groups(i int32, name string) error {
	b := &c.m.blocks[i]
	kind, isTopic := b.kind, b.kind == blockTopic
	g := groupModel{block: i, dead: none, maxDeliver: 5}
	consumers, ackWait := map[string]int(nil), 30*time.Second
	if isTopic {
		t := c.sys.Topics[name]
		consumers, g.most = t.Consumers, max(t.Partitions, 1)
		if len(consumers) > 0 || c.triggered(b.kind, name) != nil {
			c.assume("%s: events are spread evenly over partitions; a failed one is tried again, five times in all", b.name)
		}
	} else {
		q := c.sys.Queues[name]
		consumers = q.Consumers
		if q.AckWait > 0 {
			ackWait = q.AckWait.Std()
		}
		if q.MaxDeliver > 0 {
			g.maxDeliver = int32(q.MaxDeliver)
		}
	}
	var err error
	if g.ackWait, err = c.timeout(ackWait); err != nil {
		return err
	}
	for _, consumer := range sortedKeys(consumers) {
		if c.sys.Services[consumer] == nil {
			return fmt.Errorf("its consumer %q does not exist", consumer)
		}
		g.consumer, g.service, g.function, g.each = consumer, c.index[consumer], none, max(consumers[consumer], 1)
		entry, err := c.expandWork(consumer)
		if err != nil {
			return err
		}
		c.m.edges = append(c.m.edges, edgeModel{from: none, to: g.service, lane: none, timeout: none, tryTimeout: none, aim: none, block: none, link: none})
		if err := c.addGroup(i, g, nodeCall{node: entry, edge: int32(len(c.m.edges) - 1), mean: 1}); err != nil {
			return err
		}
	}
	for _, f := range c.triggered(kind, name) {
		call, err := c.blockCall(none, "functions."+f, 1)
		if err != nil {
			return err
		}
		function := c.byBlock["functions."+f]
		places := c.m.blocks[function].places * c.m.blocks[function].most
		g.consumer, g.service, g.function, g.each = "functions."+f, none, function, places
		if err := c.addGroup(i, g, call); err != nil {
			return err
		}
	}
	if len(c.m.blocks[i].groups) == 0 {
		c.assume("%s: nobody is said to handle its messages (consumers, or a function's 'on'): they are stored, and that is all", c.m.blocks[i].name)
	}
	if !isTopic && c.sys.Queues[name].DeadLetter != "" && c.sys.Queues[c.sys.Queues[name].DeadLetter] != nil {
		dead, err := c.block("queues." + c.sys.Queues[name].DeadLetter)
		if err != nil {
			return err
		}
		for _, k := range c.m.blocks[i].groups {
			c.m.groups[k].dead = dead
		}
	}
	return nil
}

func (c *compiler) addGroup(block int32, g groupModel, call nodeCall) error {
	var err error
	if g.root, err = c.addNode(node{service: none, block: none, calls: []nodeCall{call}}); err != nil {
		return err
	}
	c.m.groups = append(c.m.groups, g)
	i := int32(len(c.m.groups) - 1)
	b := &c.m.blocks[block]
	// All who handle a queue's messages take them from one line; topics give each group every event.
	b.groups = append(b.groups, i)
	if g.service != none {
		c.m.services[g.service].groups = append(c.m.services[g.service].groups, i)
	}
	return nil
}

// triggered are the functions that a queue or topic starts.
func (c *compiler) triggered(kind blockKind, name string) (out []string) {
	for _, f := range sortedKeys(c.sys.Functions) {
		on := c.sys.Functions[f].On
		if kind == blockQueue && on.Queue == name || kind == blockTopic && on.Topic == name {
			out = append(out, f)
		}
	}
	return out
}

// publish stores what a visit has sent: a topic's event goes to every group, a queue's message to the group with the
// fewest that wait.
func (s *sim) publish(i int32, at *visit) {
	b := s.accountBlock(i)
	b.count.Published++
	if len(b.groups) == 0 {
		return
	}
	if b.kind == blockTopic {
		for _, g := range b.groups {
			s.enqueue(g, s.newMessage(g, at.client, at.about))
		}
		return
	}
	best := b.groups[0]
	for _, g := range b.groups[1:] {
		if s.groups[g].n < s.groups[best].n {
			best = g
		}
	}
	s.enqueue(best, s.newMessage(best, at.client, at.about))
}

func (s *sim) newMessage(g int32, client, about uint64) int32 {
	i := s.messages.take()
	m := s.messages.at(i)
	*m = message{published: s.now, group: g, root: none, stamp: m.stamp, client: client, about: about}
	return i
}

// enqueue puts a message at the end of its group's line.
func (s *sim) enqueue(g, i int32) {
	if s.tooMany() {
		return
	}
	q := &s.groups[g]
	s.accountBlock(q.block).count.backlogNow++
	if q.n == len(q.ring) {
		grown := make([]int32, max(64, 2*len(q.ring)))
		for k := range q.n {
			grown[k] = q.ring[(q.first+k)&(len(q.ring)-1)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)&(len(q.ring)-1)] = i
	q.n++
	s.feed(g)
}

// feed gives waiting messages to consumers that have room.
func (s *sim) feed(g int32) {
	q := &s.groups[g]
	if q.feeding {
		return // by a call of feed further up, which goes on
	}
	q.feeding = true
	for q.n > 0 && !s.ended && s.err == nil {
		replica := s.consumer(q)
		if replica == none && q.service != none || q.most > 0 && q.handling >= q.most || q.service == none && q.handling >= q.each {
			break
		}
		i := q.ring[q.first]
		q.first = (q.first + 1) & (len(q.ring) - 1)
		q.n--
		s.deliver(g, i, replica)
	}
	q.feeding = false
}

// consumer is the replica of the group's service that handles the fewest messages, none if all are full.
func (s *sim) consumer(q *group) int32 {
	if q.service == none {
		return none
	}
	best, fewest := none, int32(q.each)
	for _, r := range s.services[q.service].replicas {
		if s.reachable(r) && q.busy[r] < fewest {
			best, fewest = r, q.busy[r]
		}
	}
	return best
}

// deliver has a message handled.
func (s *sim) deliver(g, i, replica int32) {
	if s.tooMany() {
		return
	}
	q := &s.groups[g]
	b := s.accountBlock(q.block)
	b.count.backlogNow--
	b.count.Delivered++
	m := s.messages.at(i)
	if m.deliveries++; m.deliveries > 1 {
		b.count.Redelivered++
	}
	q.handling++
	if replica != none {
		q.busy[replica]++
	}
	v := s.visits.take()
	m.root = v
	*s.visits.at(v) = visit{
		started: s.now, node: q.root, service: none, replica: replica, call: none, child: none, request: none, message: i, group: g,
		phase: phaseCalling, stamp: s.visits.at(v).stamp, client: m.client, about: m.about,
	}
	s.setDeadline(s.ackOut+g, i, m.stamp)
	s.proceed(v)
}

// handled is the end of a handling, for better or worse. The message may have been given to another meanwhile.
func (s *sim) handled(v int32, outcome Outcome) {
	at := s.visits.at(v)
	g, i, replica := at.group, at.message, at.replica
	s.freeVisit(v)
	q := &s.groups[g]
	q.handling--
	if replica != none {
		q.busy[replica]--
	}
	if i != none {
		m := s.messages.at(i)
		m.root = none
		m.stamp++ // its deadline is void
		if outcome == OK {
			b := &s.blocks[q.block]
			b.count.Done++
			b.count.sojourn += s.now - m.published
			s.messages.giveBack(i)
		} else {
			s.again(g, i)
		}
	}
	s.feed(g)
}

// ackOver gives a message to another consumer that was not acknowledged in time. The first one goes on with it.
func (s *sim) ackOver(i int32) {
	m := s.messages.at(i)
	if m.root != none {
		s.visits.at(m.root).message = none
	}
	m.root = none
	m.stamp++
	s.again(m.group, i)
}

// again puts a message back, or among the dead.
func (s *sim) again(g, i int32) {
	q, m := &s.groups[g], s.messages.at(i)
	if m.deliveries < q.maxDeliver {
		s.enqueue(g, i)
		return
	}
	s.blocks[q.block].count.Dead++
	client, about := m.client, m.about
	s.messages.giveBack(i)
	if q.dead != none {
		at := visit{client: client, about: about}
		s.publish(q.dead, &at)
	}
}

// timeout is the index of a time-out.
func (c *compiler) timeout(d time.Duration) (int32, error) {
	setDefault(&d, 30*time.Second)
	if d < 0 || d > 1000*time.Hour {
		return none, fmt.Errorf("a time-out of %v", d)
	}
	t, ok := c.byTimeout[d]
	if !ok {
		t = int32(len(c.m.timeouts))
		c.byTimeout[d] = t
		c.m.timeouts = append(c.m.timeouts, d)
	}
	return t, nil
}
