package simulate

import (
	"fmt"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
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
	rate       workqueue.Limit
}

// group is a groupModel at work.
type group struct {
	*groupModel
	ring     []int32 // events of a topic that wait; a power of two
	first, n int
	handling int
	busy     map[int32]int32   // messages that each replica handles
	limit    *workqueue.Bucket // nil: none
	armed    bool              // it is fed when the limit has room again
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
	g := groupModel{block: i, maxDeliver: 5}
	consumers, ackWait := map[string]int(nil), 30*time.Second
	var limits map[string]*topology.DeliveryLimit
	if isTopic {
		t := c.sys.Topics[name]
		limits = t.Limits
		consumers, g.most = t.Consumers, max(t.Partitions, 1)
		if len(consumers) > 0 || c.triggered(b.kind, name) != nil {
			c.assume("%s: events are spread evenly over partitions; a failed one is tried again, five times in all", b.name)
		}
	} else {
		q := c.sys.Queues[name]
		consumers, limits = q.Consumers, q.Limits
		if q.Ordered {
			c.assume("%s: the messages of a user have one key", b.name)
		}
		if q.MaxBytes > 0 {
			c.assume("%s: how large messages are is not known, and max_bytes not simulated", b.name)
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
		g.rate = workqueue.LimitOf(limits[consumer])
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
		g.rate = workqueue.LimitOf(limits[f])
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
		c.m.blocks[i].dead = dead
	}
	if !isTopic {
		return c.schedules(i, c.sys.Queues[name])
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

// publish stores what a visit has sent, and reports whether there was room. A topic's event goes to every group, a queue's message
// to whoever has room first.
func (s *sim) publish(i int32, at *visit) bool {
	if s.blocks[i].kind == blockQueue {
		return s.put(i, at.client, at.about, false)
	}
	b := s.accountBlock(i)
	b.count.Published++
	for _, g := range b.groups {
		s.enqueue(g, s.newMessage(g, at.client, at.about))
	}
	return true
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
	if s.blocks[q.block].kind == blockQueue {
		s.feedLine(q.block)
		return
	}
	if q.feeding {
		return // by a call of feed further up, which goes on
	}
	q.feeding = true
	for q.n > 0 && !s.ended && s.err == nil {
		replica, ok := s.room(q)
		if !ok {
			break
		}
		if q.limit.Have(s.instant(), 1) == 0 {
			s.awaitLimit(g)
			break
		}
		q.limit.Take(s.instant(), 1)
		i := q.ring[q.first]
		q.first = (q.first + 1) & (len(q.ring) - 1)
		q.n--
		s.deliver(g, i, replica)
	}
	q.feeding = false
}

// awaitLimit has a group fed when its limit has room again.
func (s *sim) awaitLimit(g int32) {
	if q := &s.groups[g]; !q.armed {
		q.armed = true
		s.schedule(max(int64(q.limit.Next()), s.now+1), evLimit, g, 0)
	}
}

func (s *sim) limitDue(g int32) {
	s.groups[g].armed = false
	s.feed(g)
}

// room is a replica of a group that can handle one more, none of a function's; ok is false if there is no room.
func (s *sim) room(q *group) (replica int32, ok bool) {
	replica = s.consumer(q)
	full := replica == none && q.service != none || q.most > 0 && q.handling >= q.most || q.service == none && q.handling >= q.each
	return replica, !full
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

// deliver has an event handled.
func (s *sim) deliver(g, i, replica int32) {
	if s.tooMany() {
		return
	}
	s.accountBlock(s.groups[g].block).count.backlogNow--
	v := s.handle(g, i, replica)
	s.setDeadline(s.ackOut+g, i, s.messages.at(i).stamp)
	s.proceed(v)
}

// handle begins the handling of a message.
func (s *sim) handle(g, i, replica int32) int32 {
	q := &s.groups[g]
	b := &s.blocks[q.block]
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
	return v
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
	if s.blocks[q.block].kind == blockQueue {
		s.settle(q.block, v, outcome)
	} else if i != none {
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
	s.messages.giveBack(i)
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
