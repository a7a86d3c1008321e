package replica

import (
	"bytes"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/raftlog"
)

type messageKind byte

const (
	kindRaft    messageKind = iota + 1 // a message of the Raft algorithm
	kindForward                        // a proposal, to the leader
	kindRefuse                         // the answer if the proposal was not taken
	kindQuiesce                        // a leader tells that its group goes to sleep
	kindGone                           // the replica that is addressed was removed from its group, or its group merged away; from no replica: others to ask
	kindChunk                          // a part of a snapshot
	kindAck                            // the answer to a chunk
	kindProbe                          // a replica that was removed, or has no leader, says how far it is and asks whether it may go
)

// message goes from a replica of a group to another one. Which fields count depends on the kind.
type message struct {
	kind     messageKind
	group    uint64
	from, to uint64 // replicas

	raft *raftpb.Message

	id      proposalID // forward, refuse
	attempt uint64
	reason  refusal
	data    []byte // forward: an encoded command

	term, index uint64 // quiesce, probe

	forward forward // gone

	chunk *chunk // chunk
	ack   chunkAck
}

// forward is what became of a group that a replica is no part of any more. A node keeps what it knows when its replica goes, for those that
// ask that one later.
type forward struct {
	voters []voter // none: it was merged away
	left   uint64  // then the group that took it over, 0 if unknown,
	index  uint64  // at that one's entry, or before
}

// voter is a replica that votes in a group, or in one of the two halves of a joint configuration.
type voter struct {
	Replica
	incoming, outgoing bool
}

// refusal says why a leader did not take a proposal.
type refusal byte

const (
	notLeader refusal = iota + 1
	overloaded
)

// chunk is a part of a snapshot. Its first has no pairs.
type chunk struct {
	stream  uint64
	seq     uint64
	last    bool
	term    uint64 // of the leader that sends it
	index   uint64 // last entry that the snapshot contains
	logTerm uint64 // and its term
	state   []byte // seq 0: the encoded state of the group
	pairs   []raftlog.KV
}

type chunkAck struct {
	stream uint64
	next   uint64 // the chunk that is expected next
	end    chunkEnd
}

type chunkEnd byte

const (
	streamGoesOn chunkEnd = iota
	streamDone
	streamRefused
)

const (
	frameVersion = 1
	// maxFrameMessages bounds what a frame can make its receiver allocate beyond its own size.
	maxFrameMessages = 1 << 16
)

// encodeFrame puts messages for one node into one frame.
func encodeFrame(messages []message) []byte {
	size := 16
	for i := range messages {
		size += messages[i].size()
	}
	b := append(make([]byte, 0, size), frameVersion)
	b = appendNumbers(b, uint64(len(messages)))
	for i := range messages {
		b = messages[i].append(b)
	}
	return b
}

// size is about how many bytes a message takes.
func (m *message) size() int {
	n := 64 + len(m.data)
	if m.raft != nil {
		n += entriesSize(m.raft.Entries)
	}
	if m.chunk != nil {
		n += m.chunk.size()
	}
	return n
}

func (c *chunk) size() int {
	n := 64 + len(c.state)
	for _, p := range c.pairs {
		n += len(p.Key) + len(p.Value) + 10 // with their lengths
	}
	return n
}

func (m *message) append(b []byte) []byte {
	b = appendNumbers(append(b, byte(m.kind)), m.group, m.from, m.to)
	switch m.kind {
	case kindRaft:
		return appendRaft(b, m.raft)
	case kindForward:
		return appendBytes(appendNumbers(b, m.id.node, m.id.life, m.id.seq, m.attempt), m.data)
	case kindRefuse:
		return append(appendNumbers(b, m.id.node, m.id.life, m.id.seq, m.attempt), byte(m.reason))
	case kindQuiesce, kindProbe:
		return appendNumbers(b, m.term, m.index)
	case kindGone:
		return m.forward.append(b)
	case kindChunk:
		return m.chunk.append(b)
	case kindAck:
		return append(appendNumbers(b, m.ack.stream, m.ack.next), byte(m.ack.end))
	}
	return b
}

func (f *forward) append(b []byte) []byte {
	b = appendNumbers(b, uint64(len(f.voters)))
	for _, v := range f.voters {
		b = appendBool(appendBool(appendNumbers(b, v.ID, v.Node), v.incoming), v.outgoing)
	}
	if len(f.voters) == 0 {
		b = appendNumbers(b, f.left, f.index)
	}
	return b
}

func (c *chunk) append(b []byte) []byte {
	b = appendBool(appendNumbers(b, c.stream, c.seq), c.last)
	b = appendBytes(appendNumbers(b, c.term, c.index, c.logTerm), c.state)
	b = appendNumbers(b, uint64(len(c.pairs)))
	for _, p := range c.pairs {
		b = appendBytes(appendBytes(b, p.Key), p.Value)
	}
	return b
}

// decodeFrame takes a frame apart. The messages alias it.
func decodeFrame(frame []byte) ([]message, error) {
	r := reader{rest: frame}
	if v := r.byte(); v != frameVersion {
		return nil, fmt.Errorf("frame of version %d: %w", v, errMalformed)
	}
	n := r.count(4)
	if n > maxFrameMessages {
		return nil, fmt.Errorf("frame of %d messages: %w", n, errMalformed)
	}
	messages := make([]message, 0, min(n, 1024))
	for range n {
		m := message{kind: messageKind(r.byte()), group: r.number(), from: r.number(), to: r.number()}
		m.read(&r)
		if r.err != nil {
			return nil, fmt.Errorf("frame: message %d of %d: %w", len(messages), n, r.err)
		}
		messages = append(messages, m)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("frame: end: %w", err)
	}
	return messages, nil
}

func (m *message) read(r *reader) {
	switch m.kind {
	case kindRaft:
		m.raft = r.raft(m.from, m.to)
	case kindForward:
		m.id, m.attempt, m.data = r.proposal(), r.number(), r.bytes()
	case kindRefuse:
		m.id, m.attempt, m.reason = r.proposal(), r.number(), refusal(r.byte())
	case kindQuiesce, kindProbe:
		m.term, m.index = r.number(), r.number()
	case kindGone:
		m.forward = r.forward()
	case kindChunk:
		m.chunk = r.chunk()
	case kindAck:
		m.ack = chunkAck{r.number(), r.number(), chunkEnd(r.byte())}
	default:
		r.fail()
	}
}

func (r *reader) forward() (f forward) {
	for range r.count(4) {
		f.voters = append(f.voters, voter{Replica{ID: r.number(), Node: r.number()}, r.byte() != 0, r.byte() != 0})
	}
	if len(f.voters) == 0 {
		f.left, f.index = r.number(), r.number()
	}
	return f
}

func (r *reader) chunk() *chunk {
	c := &chunk{stream: r.number(), seq: r.number(), last: r.byte() != 0, term: r.number(), index: r.number(),
		logTerm: r.number(), state: r.bytes()}
	for range r.count(2) {
		c.pairs = append(c.pairs, raftlog.KV{Key: r.bytes(), Value: r.bytes()})
	}
	return c
}

// Which optional parts of a Raft message follow.
const (
	hasLogTerm = 1 << iota
	hasIndex
	hasCommit
	hasEntries
	hasRejectHint
	hasContext
	isReject
	hasVote
)

// remote are the types of messages that replicas send each other. Snapshots go in chunks instead.
func remote(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return true
	}
	return false
}

func appendRaft(b []byte, m *raftpb.Message) []byte {
	var flags byte
	set := func(flag byte, is bool) {
		if is {
			flags |= flag
		}
	}
	set(hasLogTerm, m.GetLogTerm() != 0)
	set(hasIndex, m.GetIndex() != 0)
	set(hasCommit, m.GetCommit() != 0)
	set(hasEntries, len(m.Entries) > 0)
	set(hasRejectHint, m.GetRejectHint() != 0)
	set(hasContext, len(m.Context) > 0)
	set(isReject, m.GetReject())
	set(hasVote, m.GetVote() != 0)
	b = appendNumbers(append(b, byte(m.GetType()), flags), m.GetTerm())
	for _, f := range []struct {
		flag  byte
		value uint64
	}{{hasLogTerm, m.GetLogTerm()}, {hasIndex, m.GetIndex()}, {hasCommit, m.GetCommit()}, {hasRejectHint, m.GetRejectHint()}, {hasVote, m.GetVote()}} {
		if flags&f.flag != 0 {
			b = appendNumbers(b, f.value)
		}
	}
	if flags&hasContext != 0 {
		b = appendBytes(b, m.Context)
	}
	if flags&hasEntries != 0 {
		b = appendNumbers(b, uint64(len(m.Entries)))
		for _, e := range m.Entries {
			b = appendBytes(appendNumbers(append(b, byte(e.GetType())), e.GetTerm(), e.GetIndex()), e.Data)
		}
	}
	return b
}

func (r *reader) raft(from, to uint64) *raftpb.Message {
	t := raftpb.MessageType(r.byte())
	if !remote(t) {
		r.fail()
	}
	flags := r.byte()
	in := &arrived{kind: t, term: r.number(), from: from, to: to}
	m := &in.Message
	m.Type, m.Term, m.From, m.To = &in.kind, &in.term, &in.from, &in.to
	for i, f := range [...]struct {
		flag  byte
		field **uint64
	}{{hasLogTerm, &m.LogTerm}, {hasIndex, &m.Index}, {hasCommit, &m.Commit}, {hasRejectHint, &m.RejectHint}, {hasVote, &m.Vote}} {
		if flags&f.flag != 0 {
			in.numbers[i] = r.number()
			*f.field = &in.numbers[i]
		}
	}
	if flags&isReject != 0 {
		m.Reject = new(true)
	}
	if flags&hasContext != 0 {
		m.Context = bytes.Clone(r.bytes())
	}
	if flags&hasEntries != 0 {
		m.Entries = r.entries()
	}
	return m
}

// arrived is a message with what it points to.
type arrived struct {
	raftpb.Message
	kind     raftpb.MessageType
	term     uint64
	from, to uint64
	numbers  [5]uint64
}

// arrivedEntry is an entry with what it points to.
type arrivedEntry struct {
	raftpb.Entry
	kind        raftpb.EntryType
	term, index uint64
}

// entries copies what it returns, which stays in the log's memory while the frame need not.
func (r *reader) entries() []*raftpb.Entry {
	n := min(r.peekCount(), 1024)
	all := make([]*raftpb.Entry, 0, n)
	room := make([]arrivedEntry, n) // those of one message go from memory at about the same time
	size := 0
	for range r.count(4) {
		if len(room) == 0 {
			room = make([]arrivedEntry, 1)
		}
		e := &room[0]
		room = room[1:]
		e.kind, e.term, e.index = raftpb.EntryType(r.byte()), r.number(), r.number()
		if e.kind > raftpb.EntryConfChangeV2 {
			r.fail()
		}
		e.Type, e.Term, e.Index = &e.kind, &e.term, &e.index
		e.Data = r.bytes()
		size += len(e.Data)
		all = append(all, &e.Entry)
	}
	data := make([]byte, 0, size)
	for _, e := range all {
		if n := len(data); e.Data != nil {
			data = append(data, e.Data...)
			e.Data = data[n:len(data):len(data)]
		}
	}
	return all
}

// peekCount is what count will return for items of at least one byte, without reading it.
func (r *reader) peekCount() int {
	c := *r
	return c.count(1)
}
