package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/banyanhq/banyan/store/filter"
	"github.com/banyanhq/banyan/store/raftlog"
)

// outcome is what became of one entry.
type outcome struct {
	id    proposalID
	value []byte
	err   error // errMoved and what a proposer is told
}

// errMoved says that a command was routed by a descriptor that is out of date. It was not applied.
var errMoved = errors.New("group does not own the key any more")

// apply carries out committed entries and writes how far it came in the same batch as what they changed. The batch need
// not be on disk before anybody hears of it: the entries are, on a majority. Entries for the Machine alone only change
// rows of their own group, so those of all groups go into the database as one batch, at the end of a round of work;
// what changes groups, or looks at the database, is carried out at once and by itself.
func (c *core) apply(g *group, m *raftpb.Message) {
	plain := plain(m.Entries)
	if !plain || slices.ContainsFunc(c.applied, func(a *application) bool { return a.g == g }) {
		c.commitApplied()
	}
	if g.raft == nil {
		return
	}
	if plain {
		c.applyTogether(g, m)
		return
	}
	for entries := m.Entries; len(entries) > 0; {
		n, err := c.applySome(g, entries)
		if err != nil {
			c.failGroup(g, err)
			return
		}
		if g.raft == nil {
			return // one of the entries ended it
		}
		entries = entries[n:]
	}
	c.deliver(g, m.Responses)
	c.confirmReads(g)
}

// applyTogether carries out entries for the Machine alone, in the batch of all groups.
func (c *core) applyTogether(g *group, m *raftpb.Message) {
	if c.rows == nil {
		c.rows = c.db.NewIndexedBatch()
	}
	before := len(c.rows.Repr())
	count := c.rows.Count()
	a := &application{c: c, g: g, batch: c.rows, index: g.applied, term: g.appliedTerm, next: g.state} // which these entries do not change
	_, err := a.entries(m.Entries)
	if err == nil {
		err = a.finish()
	}
	if err != nil {
		c.failGroup(g, err)
		if err := c.takeBack(before, count); err != nil {
			c.failDisk(err)
		}
		return
	}
	a.responses = m.Responses
	c.applied = append(c.applied, a)
}

// takeBack makes the batch of all groups what it was when it had so many bytes, and so many changes in them: what a group wrote before it
// was found to be damaged must not get into the database, and what others wrote must.
func (c *core) takeBack(size int, count uint32) error {
	all := c.rows
	c.rows = c.db.NewIndexedBatch()
	defer func() { _ = all.Close() }() // it is given up
	if count == 0 {
		return nil
	}
	kept := c.db.NewBatch()
	defer func() { _ = kept.Close() }()
	b := bytes.Clone(all.Repr()[:size])
	binary.LittleEndian.PutUint32(b[8:], count)
	return errors.Join(kept.SetRepr(b), c.rows.Apply(kept, nil))
}

// plain says whether entries hold nothing but commands for the Machine.
func plain(entries []*raftpb.Entry) bool {
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) > 0 && commandKind(e.Data[0]) != commandData {
			return false
		}
	}
	return true
}

// commitApplied writes what was carried out for groups in this round of work, and tells of it.
func (c *core) commitApplied() {
	if len(c.applied) == 0 {
		return
	}
	applied, all := c.applied, c.rows
	c.applied, c.rows = nil, nil
	if err := errors.Join(c.db.Apply(all, pebble.NoSync), all.Close()); err != nil {
		for _, a := range applied {
			c.failGroup(a.g, fmt.Errorf("apply up to entry %d: %w", a.index, err))
		}
		return
	}
	for _, a := range applied {
		a.committed()
		c.deliver(a.g, a.responses)
		c.confirmReads(a.g)
	}
}

// applySome carries out entries up to the first after which the database must be looked at, and returns how many that were.
func (c *core) applySome(g *group, entries []*raftpb.Entry) (n int, err error) {
	a := &application{c: c, g: g, batch: c.db.NewIndexedBatch(), index: g.applied, term: g.appliedTerm, next: g.state.clone()}
	defer func() { err = errors.Join(err, a.batch.Close()) }()
	if n, err = a.entries(entries); err != nil {
		return n, err
	}
	if err := errors.Join(a.finish(), c.db.Apply(a.batch, pebble.NoSync)); err != nil {
		return n, fmt.Errorf("apply up to entry %d: %w", a.index, err)
	}
	a.committed()
	return n, nil
}

// application is one batch of entries being applied.
type application struct {
	c        *core
	g        *group
	batch    *pebble.Batch
	index    uint64 // of the last entry so far
	term     uint64 // and its term
	next     state  // of the group after the entries so far
	changed  bool
	outcomes []outcome
	after    []func() // once the batch is committed

	responses []*raftpb.Message // that the Raft algorithm waits for then
	cut       bool              // it must be committed before further entries are applied
	within    bool              // another application commits it, together with its own
}

// entries carries out entries up to the first after which the batch must be committed, and returns how many that were.
func (a *application) entries(entries []*raftpb.Entry) (n int, err error) {
	for n < len(entries) && !a.cut {
		e := entries[n]
		n++
		if a.c.planted.has(bugApplyTwice) && e.GetIndex()%7 == 0 {
			_, _ = a.entry(e)
		}
		o, err := a.entry(e)
		if err != nil {
			return n, fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
		a.index, a.term = e.GetIndex(), e.GetTerm()
		if o.id.node != 0 {
			a.outcomes = append(a.outcomes, o)
		}
	}
	a.c.stats.Applied += n
	return n, nil
}

// finish adds to the batch how far the entries went, and the state of the group if they changed it.
func (a *application) finish() error {
	if !a.c.planted.has(bugForgetApplied) || a.changed {
		if err := writeApplied(a.batch, a.g.id, a.index, a.term); err != nil {
			return err
		}
	}
	if a.changed {
		return writeState(a.batch, &a.next)
	}
	return nil
}

// committed takes note that the batch is in the database.
func (a *application) committed() {
	a.g.applied, a.g.appliedTerm = a.index, a.term
	if a.changed {
		a.g.state = a.next
		a.c.sortSpans()
	}
	for _, o := range a.outcomes {
		a.c.proposals.outcome(a.c, a.g, o)
	}
	for _, after := range a.after {
		after()
	}
}

func (a *application) entry(e *raftpb.Entry) (outcome, error) {
	switch {
	case e.GetType() == raftpb.EntryConfChangeV2:
		return a.confChange(e)
	case e.GetType() != raftpb.EntryNormal:
		return outcome{}, fmt.Errorf("entry of type %v: %w", e.GetType(), errMalformed)
	case len(e.Data) == 0: // a new leader's first entry
		return outcome{}, nil
	}
	cmd, err := decodeCommand(e.Data)
	if err != nil {
		return outcome{}, err
	}
	return a.command(e.GetIndex(), &cmd)
}

func (a *application) command(index uint64, cmd *command) (o outcome, err error) {
	o.id = cmd.id
	if len(cmd.token) > 0 && !a.c.planted.has(bugForgetToken) {
		var known bool
		if o.value, known, err = a.remembered(cmd.token); known || err != nil {
			return o, err
		}
	}
	if cmd.generation != a.next.desc.Generation && !a.c.planted.has(bugIgnoreGeneration) || a.next.frozen && cmd.kind != commandThaw && !a.c.planted.has(bugForgetFreeze) {
		o.err = errMoved
		return o, nil
	}
	switch cmd.kind {
	case commandData:
		if !a.next.desc.Contains(cmd.key) && !a.c.planted.has(bugIgnoreGeneration) {
			o.err = errMoved
			return o, nil
		}
		if o.value, err = a.data(index, cmd.body); err != nil {
			return o, err
		}
		if len(cmd.token) > 0 {
			return o, a.remember(index, cmd.token, o.value)
		}
		return o, nil
	case commandSplit:
		o.err, err = a.split(cmd)
	case commandFreeze:
		o.err = a.freeze()
	case commandAbort:
		a.next.desc.Generation++
		a.changed = true
	case commandThaw:
		a.next.desc.Generation++
		a.next.frozen, a.changed = false, true
	case commandMerge:
		o.err, err = a.merge(index, cmd)
	case commandCheck:
		o.value = a.check(index)
	}
	return o, err
}

// data has the Machine carry a command out.
func (a *application) data(index uint64, command []byte) ([]byte, error) {
	if m, ok := a.c.machine.(Ranged); ok {
		return m.ApplyWithin(a.batch, a.g.id, index, a.next.desc.Start, a.next.desc.End, command)
	}
	return a.c.machine.Apply(a.batch, a.g.id, index, command)
}

// remembered returns the result of the command that had the token, if it is not too long ago.
func (a *application) remembered(token []byte) (result []byte, known bool, err error) {
	if a.g.tokens == nil || a.g.tokens.Full() {
		from, to := metaKey(a.g.id, tokenKind), metaKey(a.g.id, tokenKind+1)
		if a.g.tokens, err = filter.Read(a.batch, from, to, min(a.c.cfg.TokenWindow, minTokens)); err != nil {
			return nil, false, err
		}
	}
	if !a.g.tokens.Has(token) {
		return nil, false, nil
	}
	body, err := getSealed(a.batch, metaKey(a.g.id, tokenKind, token...))
	if err != nil || body == nil {
		return nil, false, err
	}
	return body[1:], true, nil
}

// newTokens has the tokens of a group be read anew, since it got others'.
func (c *core) newTokens(g *group) {
	if !c.planted.has(bugStaleTokens) {
		g.tokens = nil
	}
}

// minTokens is for how many tokens there is a filter at least.
const minTokens = 1024

// remember keeps a result under its token, and forgets those that are older than the window.
func (a *application) remember(index uint64, token, result []byte) error {
	if a.g.tokens != nil {
		a.g.tokens.Add(token)
	}
	key := metaKey(a.g.id, tokenKind, token...)
	// The 1 keeps the record from being empty.
	if err := a.batch.Set(key, raftlog.Seal(key, append([]byte{1}, result...)), nil); err != nil {
		return err
	}
	at := binary.BigEndian.AppendUint64(nil, index)
	if err := a.batch.Set(metaKey(a.g.id, tokenAtKind, append(at, token...)...), nil, nil); err != nil {
		return err
	}
	window := uint64(a.c.cfg.TokenWindow)
	if index%64 != 0 || index <= window {
		return nil
	}
	return a.forget(index - window)
}

// forget drops the tokens of commands below index.
func (a *application) forget(index uint64) error {
	lower := metaKey(a.g.id, tokenAtKind)
	upper := metaKey(a.g.id, tokenAtKind, binary.BigEndian.AppendUint64(nil, index)...)
	it, err := a.batch.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	var keys [][]byte
	for it.First(); it.Valid(); it.Next() {
		keys = append(keys, slices.Clone(it.Key()))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	for _, key := range keys {
		token := key[len(lower)+8:]
		if err := errors.Join(a.batch.Delete(key, nil), a.batch.Delete(metaKey(a.g.id, tokenKind, token...), nil)); err != nil {
			return err
		}
	}
	return nil
}

// confChange takes replicas in or out. The Raft algorithm has the last word on who votes; the descriptor follows it.
func (a *application) confChange(e *raftpb.Entry) (o outcome, err error) {
	var cc raftpb.ConfChangeV2
	if err := proto.Unmarshal(e.Data, &cc); err != nil {
		return o, fmt.Errorf("change of replicas: %w", err)
	}
	var added []Replica
	if len(cc.Context) > 0 { // without, it leaves a joint configuration
		ctx, err := decodeConfContext(cc.Context)
		if err != nil {
			return o, err
		}
		o.id, added = ctx.id, ctx.added
		if ctx.expected != a.next.desc.NextReplica || a.next.frozen {
			o.err = fmt.Errorf("%w: the replicas of group %d were changed in the meantime", ErrRefused, a.g.id)
			return o, nil
		}
	}
	a.next.conf = a.g.raft.ApplyConfChange(&cc)
	a.changed = true
	d := &a.next.desc
	d.Replicas = append(d.Replicas, added...)
	d.NextReplica += uint64(len(added))
	learners := slices.Concat(a.next.conf.GetLearners(), a.next.conf.GetLearnersNext())
	members := slices.Concat(learners, a.next.conf.GetVoters(), a.next.conf.GetVotersOutgoing())
	d.Replicas = slices.DeleteFunc(d.Replicas, func(r Replica) bool { return !slices.Contains(members, r.ID) })
	for i := range d.Replicas {
		d.Replicas[i].Learner = slices.Contains(learners, d.Replicas[i].ID)
	}
	a.c.stats.ConfChanges++
	g := a.g
	a.after = append(a.after, func() {
		g.lease.until, g.round = 0, a.c.restartRound(g) // answers of the old majority do not count in the new one
		if g.leaving = g.state.desc.replica(g.self) == nil; g.leaving && a.c.planted.has(bugLeaveAtOnce) {
			a.c.remove(g, g.self+1, nil)
		}
	})
	return o, nil
}

// remove ends a replica that is not part of its group any more, and keeps what became of that, if it is known.
func (c *core) remove(g *group, least uint64, forward []byte) {
	if c.groups[g.id] != g {
		return
	}
	start, end := g.state.desc.Start, g.state.desc.End
	if !g.hasData {
		start, end = nil, nil
	}
	c.drop(g)
	c.stats.Removed++
	if err := c.staged.Destroy(g.id, least, start, end, forward); err != nil {
		c.failDisk(err)
		return
	}
	c.staged.Sync()
}
