package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// proposalID names a proposal for good: no node uses a life twice.
type proposalID struct {
	node uint64 // that made it
	life uint64 // drawn when the node started
	seq  uint64
}

type commandKind byte

const (
	commandData   commandKind = iota + 1 // for the Machine
	commandSplit                         // the group gives the keys from key on to a new group
	commandFreeze                        // the group takes no commands any more, to be merged
	commandMerge                         // the group takes over the keys of its right neighbour
	commandAbort                         // the group will carry out none of the merges that were proposed so far
	commandThaw                          // a frozen group takes commands again
	commandCheck                         // the replicas add up what they have
)

// command is what an entry of the log holds.
type command struct {
	kind       commandKind
	id         proposalID
	generation uint64 // of the group when it was routed
	token      []byte // the client's; empty if it has none
	key        []byte
	group      uint64 // split: the new group; merge: the right neighbour
	index      uint64 // merge: the last entry of the right neighbour
	body       []byte // data; merge: the state of the group that it was made for
}

const maxToken = 256

func (c *command) encode() []byte {
	b := make([]byte, 0, 64+len(c.token)+len(c.key)+len(c.body))
	b = append(b, byte(c.kind))
	b = appendNumbers(b, c.id.node, c.id.life, c.id.seq, c.generation)
	b = appendBytes(appendBytes(b, c.token), c.key)
	b = appendNumbers(b, c.group, c.index)
	return append(b, c.body...)
}

func decodeCommand(b []byte) (command, error) {
	r := reader{rest: b}
	c := command{kind: commandKind(r.byte()), id: r.proposal(), generation: r.number(), token: r.bytes(), key: r.bytes(),
		group: r.number(), index: r.number()}
	if r.err != nil || c.kind < commandData || c.kind > commandCheck || len(c.token) > maxToken {
		return command{}, fmt.Errorf("command of %d bytes: %w", len(b), errMalformed)
	}
	c.body = r.rest
	return c, nil
}

func (r *reader) proposal() proposalID { return proposalID{r.number(), r.number(), r.number()} }

// confContext travels with a change of the replicas.
type confContext struct {
	id       proposalID
	expected uint64    // NextReplica of the descriptor that the change was made for
	added    []Replica // their ids begin with expected
}

func (c *confContext) encode() []byte {
	b := appendNumbers(nil, c.id.node, c.id.life, c.id.seq, c.expected, uint64(len(c.added)))
	for _, r := range c.added {
		b = appendNumbers(b, r.ID, r.Node)
	}
	return b
}

func decodeConfContext(b []byte) (confContext, error) {
	r := reader{rest: b}
	c := confContext{id: r.proposal(), expected: r.number()}
	for range r.count(2) {
		c.added = append(c.added, Replica{ID: r.number(), Node: r.number()})
	}
	if err := r.end(); err != nil {
		return confContext{}, fmt.Errorf("change of replicas: %w", err)
	}
	return c, nil
}

// ChangeKind says what a Change does.
type ChangeKind int

// A node gets a replica as a learner first, which is promoted once it has caught up, so that a new replica never makes
// a majority harder to reach.
const (
	AddLearner ChangeKind = iota + 1
	Promote
	Remove
)

// Change is one step in changing where a group's replicas are.
type Change struct {
	Kind ChangeKind
	Node uint64
}

// confChange translates changes for the group as it is now.
func (s *state) confChange(changes []Change, id proposalID) (*raftpb.ConfChangeV2, error) {
	cc := &raftpb.ConfChangeV2{}
	ctx := confContext{id: id, expected: s.desc.NextReplica}
	voters, seen := len(s.conf.GetVoters()), map[uint64]bool{}
	for _, ch := range changes {
		on := s.desc.on(ch.Node)
		single := &raftpb.ConfChangeSingle{}
		switch {
		case ch.Node == 0 || seen[ch.Node]:
			return nil, fmt.Errorf("%w: node %d is named twice or is none", ErrRefused, ch.Node)
		case ch.Kind == AddLearner && on == nil:
			r := Replica{ID: s.desc.NextReplica + uint64(len(ctx.added)), Node: ch.Node}
			ctx.added = append(ctx.added, r)
			single.Type, single.NodeId = raftpb.ConfChangeAddLearnerNode.Enum(), new(r.ID)
		case ch.Kind == Promote && on != nil && on.Learner:
			single.Type, single.NodeId = raftpb.ConfChangeAddNode.Enum(), new(on.ID)
			voters++
		case ch.Kind == Remove && on != nil:
			single.Type, single.NodeId = raftpb.ConfChangeRemoveNode.Enum(), new(on.ID)
			if !on.Learner {
				voters--
			}
		default:
			return nil, fmt.Errorf("%w: change %d of node %d does not fit the replicas %v", ErrRefused, ch.Kind, ch.Node, s.desc.Replicas)
		}
		seen[ch.Node] = true
		cc.Changes = append(cc.Changes, single)
	}
	if len(cc.Changes) == 0 || voters == 0 {
		return nil, fmt.Errorf("%w: it would leave %d voters", ErrRefused, voters)
	}
	cc.Context = ctx.encode()
	return cc, nil
}
