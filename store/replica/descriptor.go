package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/banyanhq/banyan/store/raftlog"
)

// Replica is one copy of a group. Its id is never used again in its group: a node that lost its disk comes back as
// another replica.
type Replica struct {
	ID      uint64
	Node    uint64
	Learner bool // it gets everything and votes on nothing
}

// Descriptor says which rows a group owns and where its replicas are. It is replicated with the group.
type Descriptor struct {
	Group       uint64
	Start, End  []byte    // it owns the keys from Start up to but not including End
	Generation  uint64    // counts the changes of its span
	NextReplica uint64    // the id that the next replica gets
	Replicas    []Replica // in ascending order of their ids
}

// Contains says whether the group owns a key.
func (d *Descriptor) Contains(key []byte) bool {
	return bytes.Compare(key, d.Start) >= 0 && bytes.Compare(key, d.End) < 0
}

func (d *Descriptor) overlaps(start, end []byte) bool {
	return bytes.Compare(d.Start, end) < 0 && bytes.Compare(start, d.End) < 0
}

func (d *Descriptor) replica(id uint64) *Replica {
	for i := range d.Replicas {
		if d.Replicas[i].ID == id {
			return &d.Replicas[i]
		}
	}
	return nil
}

func (d *Descriptor) on(node uint64) *Replica {
	for i := range d.Replicas {
		if d.Replicas[i].Node == node {
			return &d.Replicas[i]
		}
	}
	return nil
}

func (d Descriptor) clone() Descriptor {
	d.Start, d.End, d.Replicas = bytes.Clone(d.Start), bytes.Clone(d.End), slices.Clone(d.Replicas)
	return d
}

func (d *Descriptor) validate() error {
	switch {
	case d.Group == 0:
		return errors.New("group id 0")
	case !raftlog.IsData(d.Start) || bytes.Compare(d.Start, d.End) >= 0:
		return fmt.Errorf("group %d: span [%x, %x) holds no rows", d.Group, d.Start, d.End)
	case len(d.Replicas) == 0:
		return fmt.Errorf("group %d has no replicas", d.Group)
	}
	var last uint64
	nodes := map[uint64]bool{}
	for _, r := range d.Replicas {
		if r.ID <= last || r.ID >= d.NextReplica || r.Node == 0 || nodes[r.Node] {
			return fmt.Errorf("group %d: replica %d on node %d does not fit the others", d.Group, r.ID, r.Node)
		}
		last, nodes[r.Node] = r.ID, true
	}
	return nil
}

// A group's log begins after this entry, so that a replica without data can never be mistaken for one that is merely
// behind: it needs a snapshot.
const (
	firstIndex = 10
	firstTerm  = 5
)

// state is what all replicas of a group agree on beside the rows.
type state struct {
	desc   Descriptor
	conf   *raftpb.ConfState
	frozen bool // it takes no commands and waits to be merged into its left neighbour
}

func newState(d Descriptor) state {
	s := state{desc: d, conf: &raftpb.ConfState{}}
	for _, r := range d.Replicas {
		if r.Learner {
			s.conf.Learners = append(s.conf.Learners, r.ID)
		} else {
			s.conf.Voters = append(s.conf.Voters, r.ID)
		}
	}
	return s
}

func (s *state) clone() state {
	c := state{desc: s.desc.clone(), frozen: s.frozen}
	c.conf = &raftpb.ConfState{Voters: slices.Clone(s.conf.GetVoters()), Learners: slices.Clone(s.conf.GetLearners()),
		VotersOutgoing: slices.Clone(s.conf.GetVotersOutgoing()), LearnersNext: slices.Clone(s.conf.GetLearnersNext())}
	if s.conf.GetAutoLeave() {
		c.conf.AutoLeave = new(true)
	}
	return c
}

// joint says whether the group is between two sets of voters.
func (s *state) joint() bool { return len(s.conf.GetVotersOutgoing()) > 0 }

// What lies under a group's metadata prefix.
const (
	stateKind   = 's' // -> state
	appliedKind = 'a' // -> index and term of the last entry that was applied
	tokenKind   = 'd' // token -> the result of the command that had it
	tokenAtKind = 'q' // index (8 bytes), token -> nothing: which tokens to forget
)

// metaKeySize is that of one without a rest.
const metaKeySize = 1 + 8 + 1

func metaKey(group uint64, kind byte, rest ...byte) []byte {
	key := raftlog.AppendMeta(make([]byte, 0, metaKeySize+len(rest)), group)
	return append(append(key, kind), rest...)
}

func encodeState(s *state) []byte {
	d := &s.desc
	b := appendNumbers(nil, 1, d.Group)
	b = appendBytes(appendBytes(b, d.Start), d.End)
	b = appendBool(appendNumbers(b, d.Generation, d.NextReplica), s.frozen)
	b = appendNumbers(b, uint64(len(d.Replicas)))
	for _, r := range d.Replicas {
		b = appendBool(appendNumbers(b, r.ID, r.Node), r.Learner)
	}
	return appendConf(b, s.conf)
}

func decodeState(b []byte) (state, error) {
	r := reader{rest: b}
	if version := r.number(); version != 1 {
		return state{}, fmt.Errorf("state of a group: version %d", version)
	}
	s := state{desc: Descriptor{Group: r.number(), Start: bytes.Clone(r.bytes()), End: bytes.Clone(r.bytes()),
		Generation: r.number(), NextReplica: r.number()}}
	s.frozen = r.byte() != 0
	for range r.count(3) {
		s.desc.Replicas = append(s.desc.Replicas, Replica{r.number(), r.number(), r.byte() != 0})
	}
	s.conf = r.conf()
	if err := r.end(); err != nil {
		return state{}, fmt.Errorf("state of a group: %w", err)
	}
	return s, s.desc.validate()
}

func appendConf(b []byte, c *raftpb.ConfState) []byte {
	for _, list := range [][]uint64{c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext()} {
		b = appendList(b, list)
	}
	return appendBool(b, c.GetAutoLeave())
}

func (r *reader) conf() *raftpb.ConfState {
	c := &raftpb.ConfState{Voters: r.numbers(), Learners: r.numbers(), VotersOutgoing: r.numbers(), LearnersNext: r.numbers()}
	if r.byte() != 0 {
		c.AutoLeave = new(true)
	}
	return c
}

// writeState puts the state of a group into the batch.
func writeState(b *pebble.Batch, s *state) error {
	key := metaKey(s.desc.Group, stateKind)
	return b.Set(key, raftlog.Seal(key, encodeState(s)), nil)
}

func writeApplied(b *pebble.Batch, group, index, term uint64) error {
	var key [metaKeySize]byte
	var body [2 * binary.MaxVarintLen64]byte
	return raftlog.SetSealed(b, append(raftlog.AppendMeta(key[:0], group), appliedKind), appendNumbers(body[:0], index, term))
}

// readState reads what writeState and writeApplied wrote. found is false if the node has no data of the group.
func readState(from pebble.Reader, group uint64) (s state, index, term uint64, found bool, err error) {
	key := metaKey(group, stateKind)
	body, err := getSealed(from, key)
	if err != nil || body == nil {
		return state{}, 0, 0, false, err
	}
	if s, err = decodeState(body); err != nil {
		return state{}, 0, 0, false, err
	}
	if s.desc.Group != group {
		return state{}, 0, 0, false, fmt.Errorf("state of group %d lies under group %d", s.desc.Group, group)
	}
	body, err = getSealed(from, metaKey(group, appliedKind))
	if err != nil {
		return state{}, 0, 0, false, err
	}
	r := reader{rest: body}
	index, term = r.number(), r.number()
	if err := r.end(); err != nil {
		return state{}, 0, 0, false, fmt.Errorf("applied index of group %d: %w", group, err)
	}
	return s, index, term, true, nil
}

// getSealed returns a copy, nil if there is no such key.
func getSealed(from pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, err := raftlog.Unseal(key, value)
	return bytes.Clone(body), errors.Join(err, closer.Close())
}

// ownerKey says which node a database belongs to. Group 0 does not exist.
func ownerKey() []byte { return metaKey(0, 'n') }

// checkOwner keeps a node from running on the database of another one, and from taking part as if nothing had happened
// after its own was lost.
func checkOwner(db *pebble.DB, node uint64) error {
	body, err := getSealed(db, ownerKey())
	r := reader{rest: body}
	owner := r.number()
	switch {
	case err != nil:
		return fmt.Errorf("owner of the database: %w", err)
	case body == nil:
		return errors.New("the database belongs to no node: Bootstrap makes it that of a new one")
	case r.end() != nil || owner != node:
		return fmt.Errorf("the database belongs to node %d, not to node %d", owner, node)
	}
	return nil
}

// Owner returns the node that a database belongs to; found is false if it belongs to none yet.
func Owner(db *pebble.DB) (node uint64, found bool, err error) {
	body, err := getSealed(db, ownerKey())
	if err != nil || body == nil {
		return 0, false, err
	}
	r := reader{rest: body}
	node = r.number()
	return node, true, r.end()
}

// Stored returns the descriptor of a group that a database has a replica of; found is false if it has none.
func Stored(db *pebble.DB, group uint64) (d Descriptor, found bool, err error) {
	s, _, _, found, err := readState(db, group)
	return s.desc, found, err
}

// Bootstrap makes an empty database that of a node, and makes its replicas of groups that are new everywhere: every node
// that has one must be given the same descriptors. Groups that are here already are left alone.
//
// A node that lost its database must come back with another id: with the old one it would take the place of replicas
// that remember what they promised, without remembering it. Calling Bootstrap for an old id breaks that.
func Bootstrap(db *pebble.DB, node uint64, groups []Descriptor) error {
	b := db.NewBatch()
	defer b.Close()
	owner, err := getSealed(db, ownerKey())
	if err == nil && owner != nil {
		err = checkOwner(db, node)
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if err := b.Set(ownerKey(), raftlog.Seal(ownerKey(), appendNumbers(nil, node)), nil); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	for _, d := range groups {
		if err := d.validate(); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		_, _, _, found, err := readState(db, d.Group)
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		self := d.on(node)
		if found || self == nil {
			continue
		}
		s := newState(d.clone())
		st := raftlog.State{Replica: self.ID, Term: firstTerm, Commit: firstIndex}
		if err := errors.Join(writeState(b, &s), writeApplied(b, d.Group, firstIndex, firstTerm),
			raftlog.WriteBeginning(b, d.Group, st, firstIndex, firstTerm)); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	if err := db.Apply(b, pebble.Sync); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}
