package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/banyanhq/banyan/cache/slot"
)

// Member is a node.
type Member struct {
	ID   uint64
	Life uint64 // of its process: another one for each start
	Addr string // for clients
	Of   uint64 // whose replica it is; 0: it is a primary
	// Failed says that nothing was heard of it for FailAfter. It is there for those who ask who can be reached: who may answer for
	// a slot is a matter of leases, whatever it says.
	Failed bool `json:",omitempty"`
	// Behind says that its process came after one that was not heard of: what it has kept as a replica may be old.
	Behind bool `json:",omitempty"`
}

// Map is what the nodes agree on. It is not changed any more once it is published.
type Map struct {
	Version uint64 // counts changes
	Epoch   uint64 // counts promotions
	Formed  bool
	Members map[uint64]Member
	Owners  [slot.Count]uint16 // primaries; 0: nobody
	Moving  map[uint16]uint64  // slots that are on their way, and to which primary
}

// Range of slots, both ends included.
type Range struct{ First, Last uint16 }

// Command changes the map. Each Op uses some of the fields.
type Command struct {
	ID       uint64  `json:"id"` // of whoever waits for the outcome
	Op       Op      `json:"op"`
	Node     uint64  `json:"node,omitempty"`
	Life     uint64  `json:"life,omitempty"`
	Addr     string  `json:"addr,omitempty"`
	Force    bool    `json:"force,omitempty"`
	Kept     bool    `json:"kept,omitempty"`
	Followed uint64  `json:"followed,omitempty"`
	Replicas int     `json:"replicas,omitempty"`
	Nodes    int     `json:"nodes,omitempty"`
	From     uint64  `json:"from,omitempty"`
	To       uint64  `json:"to,omitempty"`
	Slots    []Range `json:"slots,omitempty"`
}

// Op is what a Command does.
type Op string

// The operations.
const (
	Join    Op = "join"    // Node is there, as Life, at Addr, and has its data (Kept), which followed as the life Followed; Force: although they are lost
	Form    Op = "form"    // Nodes are there: they share the slots, with Replicas each
	Move    Op = "move"    // Slots begin to go From, To
	Moved   Op = "moved"   // Slots have gone
	Promote Op = "promote" // To, a replica of From that is Life, takes its place
	Fail    Op = "fail"    // Node, which is Life, is not heard of any more
	Heard   Op = "heard"   // Node, which is Life, is heard of again
)

// ErrRefused says that a command does not fit the map, which is as it was.
var ErrRefused = errors.New("refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

func newMap() *Map { return &Map{Members: map[uint64]Member{}, Moving: map[uint16]uint64{}} }

func (m *Map) clone() *Map {
	c := *m
	c.Members, c.Moving = maps.Clone(m.Members), maps.Clone(m.Moving)
	if c.Members == nil {
		c.Members = map[uint64]Member{}
	}
	if c.Moving == nil {
		c.Moving = map[uint16]uint64{}
	}
	return &c
}

// Apply returns the map with a command carried out. The map itself stays as it is. Errors are ErrRefused.
func (m *Map) Apply(c Command) (*Map, error) {
	next := m.clone()
	next.Version++
	var err error
	switch c.Op {
	case Join:
		err = next.join(c)
	case Form:
		err = next.form(c)
	case Move:
		err = next.move(c)
	case Moved:
		err = next.moved(c)
	case Promote:
		err = next.promote(c)
	case Fail, Heard:
		err = next.reach(c)
	default:
		err = refused("no such operation %q", c.Op)
	}
	if err != nil {
		return m, err
	}
	return next, nil
}

func (m *Map) join(c Command) error {
	was, known := m.Members[c.Node]
	if c.Node == 0 || c.Node > 1<<15 || c.Life == 0 {
		return refused("node %d", c.Node)
	}
	if known && was.Life != c.Life && !c.Force && !c.Kept && was.Of == 0 && m.Owned(c.Node) > 0 && len(m.Replicas(c.Node)) > 0 {
		return refused("node %d has lost its data, and its replicas may have them", c.Node)
	}
	behind := was.Behind
	if was.Life != c.Life {
		behind = was.Failed || was.Behind && c.Followed != was.Life
	}
	m.Members[c.Node] = Member{ID: c.Node, Life: c.Life, Addr: c.Addr, Of: was.Of, Behind: behind}
	return nil
}

func (m *Map) form(c Command) error {
	switch {
	case m.Formed:
		return refused("the slots have been shared already")
	case len(m.Members) != c.Nodes || c.Nodes == 0 || c.Replicas < 0 || c.Replicas >= c.Nodes:
		return refused("%d nodes of %d, with %d replicas each", len(m.Members), c.Nodes, c.Replicas)
	}
	ids := slices.Sorted(maps.Keys(m.Members))
	primaries := ids[:len(ids)/(1+c.Replicas)]
	for i, id := range ids[len(primaries):] {
		member := m.Members[id]
		member.Of = primaries[i%len(primaries)]
		m.Members[id] = member
	}
	for i := range m.Owners {
		m.Owners[i] = uint16(primaries[i*len(primaries)/slot.Count])
	}
	m.Formed = true
	return nil
}

// each calls do for every slot of ranges, until it returns an error.
func each(ranges []Range, do func(uint16) error) error {
	for _, r := range ranges {
		if r.First > r.Last || r.Last >= slot.Count {
			return refused("slots %d to %d", r.First, r.Last)
		}
		for s := int(r.First); s <= int(r.Last); s++ {
			if err := do(uint16(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Map) move(c Command) error {
	if to, ok := m.Members[c.To]; !ok || to.Of != 0 || c.To == c.From {
		return refused("node %d can't take slots", c.To)
	}
	return each(c.Slots, func(s uint16) error {
		if uint64(m.Owners[s]) != c.From || m.Moving[s] != 0 {
			return refused("slot %d is not node %d's, or is moving", s, c.From)
		}
		m.Moving[s] = c.To
		return nil
	})
}

func (m *Map) moved(c Command) error {
	return each(c.Slots, func(s uint16) error {
		if uint64(m.Owners[s]) != c.From || m.Moving[s] != c.To || c.To == 0 {
			return refused("slot %d does not move from node %d to node %d", s, c.From, c.To)
		}
		m.Owners[s] = uint16(c.To)
		delete(m.Moving, s)
		return nil
	})
}

func (m *Map) promote(c Command) error {
	from, to := m.Members[c.From], m.Members[c.To]
	if from.Life != c.Life || to.Of != c.From || c.From == 0 {
		return refused("node %d is not a replica of node %d", c.To, c.From)
	}
	for id, member := range m.Members {
		if member.Of == c.From || id == c.From {
			member.Of = c.To
		}
		if id == c.To {
			member.Of = 0
		}
		m.Members[id] = member
	}
	for s := range m.Owners {
		if uint64(m.Owners[s]) == c.From {
			m.Owners[s] = uint16(c.To)
		}
	}
	for s, to := range m.Moving {
		if to == c.From {
			m.Moving[s] = c.To
		}
	}
	m.Epoch++
	return nil
}

// reach notes whether a node is heard of. One that was started anew is, for it has joined.
func (m *Map) reach(c Command) error {
	member, failed := m.Members[c.Node], c.Op == Fail
	if c.Node == 0 || member.ID != c.Node || member.Life != c.Life || member.Failed == failed {
		return refused("node %d is another process, or that is known", c.Node)
	}
	member.Failed = failed
	m.Members[c.Node] = member
	return nil
}

// Owned is how many slots a node owns.
func (m *Map) Owned(node uint64) (n int) {
	for _, owner := range m.Owners {
		if uint64(owner) == node {
			n++
		}
	}
	return n
}

// Replicas of a primary, in order.
func (m *Map) Replicas(of uint64) (ids []uint64) {
	for id, member := range m.Members {
		if member.Of == of && of != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Primaries in order.
func (m *Map) Primaries() (ids []uint64) {
	for id, member := range m.Members {
		if member.Of == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Ranges are the slots that are a node's.
func (m *Map) Ranges(node uint64) []Range {
	return ranges(func(s uint16) bool { return uint64(m.Owners[s]) == node })
}

// ranges of the slots that are in.
func ranges(in func(uint16) bool) (all []Range) {
	for s := range slot.Count {
		switch n := len(all); {
		case !in(uint16(s)):
		case n > 0 && int(all[n-1].Last) == s-1:
			all[n-1].Last++
		default:
			all = append(all, Range{uint16(s), uint16(s)})
		}
	}
	return all
}

// snapshot is the map as it is kept.
func (m *Map) snapshot() []byte {
	b, _ := json.Marshal(m) // it has nothing that could fail
	return b
}

func readMap(b []byte) (*Map, error) {
	m := newMap()
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("reading the map of slots: %w", err)
	}
	return m.clone(), nil
}
