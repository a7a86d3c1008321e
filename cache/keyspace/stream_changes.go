package keyspace

import "errors"

// What is written down of streams.

func (n *notes) id(id StreamID) { n.number(int64(id.MS)); n.number(int64(id.Seq)) }

func (n *notes) streamPast(st Stream, last StreamID, added uint64, deleted StreamID) {
	n.head(changePast, st.db, st.key)
	n.id(last)
	n.number(int64(added))
	n.id(deleted)
}

// group writes where a group is; the number of entries that it has read comes one greater.
func (n *notes) group(st Stream, name []byte, last StreamID, read int64) {
	n.head(changeGroup, st.db, st.key)
	n.bytes(name)
	n.id(last)
	n.number(read + 1)
}

func (n *notes) consumer(st Stream, group, name []byte, seen int64) {
	n.head(changeConsumer, st.db, st.key)
	n.bytes(group)
	n.bytes(name)
	n.number(seen)
}

func (n *notes) pending(st Stream, group, consumer []byte, p Pending) {
	n.head(changePending, st.db, st.key)
	n.bytes(group)
	n.bytes(consumer)
	n.id(p.ID)
	n.number(p.Time)
	n.number(int64(p.Count))
}

// stream writes a stream that was just made with all that is in it.
func (n *notes) stream(st Stream) {
	st.Range(StreamID{}, MaxStreamID, false, func(e StreamEntry) bool {
		n.head(changeEntry, st.db, st.key)
		n.id(e.ID)
		n.number(int64(2 * e.Len()))
		e.Each(func(name, value []byte) { n.bytes(name); n.bytes(value) })
		return true
	})
	n.streamPast(st, st.t.last, st.t.added, st.t.deleted)
	st.EachGroup(func(g Group) {
		n.group(st, g.Name(), g.g.last, g.g.read)
		g.EachConsumer(func(c Consumer) {
			n.consumer(st, g.Name(), c.Name(), c.c.seen)
			c.EachPending(StreamID{}, func(p Pending) bool { n.pending(st, g.Name(), c.Name(), p); return true })
		})
	})
}

// copyTo copies all into an empty stream.
func (st Stream) copyTo(to Stream) {
	st.Range(StreamID{}, MaxStreamID, false, func(e StreamEntry) bool {
		var fields [][]byte
		e.Each(func(name, value []byte) { fields = append(fields, name, value) })
		to.append(e.ID, fields)
		return true
	})
	to.t.last, to.t.added, to.t.deleted = st.t.last, st.t.added, st.t.deleted
	st.EachGroup(func(g Group) {
		to.MakeGroup(g.Name(), g.g.last, g.g.read)
		same, _ := to.Group(g.Name())
		g.EachConsumer(func(c Consumer) {
			twin, _ := same.MakeConsumer(c.Name(), c.c.seen)
			c.EachPending(StreamID{}, func(p Pending) bool { same.Deliver(twin, p.ID, p.Time, p.Count); return true })
		})
	})
}

func (d *reader) id() StreamID { return StreamID{d.Number(), d.Number()} }

var errNoGroup = errors.New("there is no such group or consumer")

// stream applies a change of a stream.
func (r *Replay) stream(c change, db *DB, d *reader) error {
	e, ok, err := r.entry(db, d.key, StreamKind)
	st := Stream{}
	if ok {
		st = e.Stream()
	}
	switch c {
	case changeEntry:
		return r.streamEntry(d, st, ok, err)
	case changeUnentry:
		if id := d.id(); !d.Bad && ok && !st.Delete(id) {
			return r.unless(errMissing)
		}
	case changeTrim:
		if n := d.Number(); !d.Bad && ok {
			if n == 0 || n > st.t.n {
				return r.unless(errNoIndex)
			}
			st.Trim(Trimming{Most: int64(st.t.n - n)})
		}
	case changePast:
		last, added, deleted := d.id(), d.Number(), d.id()
		if !d.Bad && ok {
			if int64(added) < 0 || st.t.n > 0 && last.Compare(st.Edge(true)) < 0 {
				return errValue
			}
			st.SetLast(last, added, deleted)
		}
	default:
		return r.streamGroup(c, d, st, ok, err)
	}
	return err
}

func (r *Replay) streamEntry(d *reader, st Stream, ok bool, err error) error {
	id, n := d.id(), d.Number()
	d.Bad = d.Bad || n > uint64(len(d.B))
	switch {
	case d.Bad:
		return nil
	case n == 0 || n%2 != 0:
		return errValue
	}
	fields := make([][]byte, 0, n)
	for ; n > 0 && !d.Bad; n-- {
		fields = append(fields, d.Bytes())
	}
	switch {
	case d.Bad || !ok:
		return err
	case id.Compare(st.t.last) <= 0:
		return r.unless(errValue)
	}
	st.Append(id, fields)
	return nil
}

// streamGroup applies a change of a group.
func (r *Replay) streamGroup(c change, d *reader, st Stream, ok bool, err error) error {
	name := d.Bytes()
	var consumer []byte
	var p Pending
	var last StreamID
	var number uint64
	switch c {
	case changeGroup:
		last, number = d.id(), d.Number()
	case changeConsumer:
		consumer, number = d.Bytes(), d.Number()
	case changeUnconsumer:
		consumer = d.Bytes()
	case changePending:
		consumer = d.Bytes()
		p = Pending{ID: d.id(), Time: int64(d.Number()), Count: uint32(d.Number())}
	case changeAck:
		p.ID = d.id()
	}
	if d.Bad || !ok {
		return err
	}
	if len(name) > MaxKey || len(consumer) > MaxKey || int64(number) < 0 {
		return errValue
	}
	g, there := st.Group(name)
	switch {
	case c == changeGroup && there:
		g.SetLast(last, int64(number)-1)
	case c == changeGroup:
		st.MakeGroup(name, last, int64(number)-1)
	case !there:
		return r.unless(errNoGroup)
	case c == changeUngroup:
		st.DestroyGroup(name)
	case c == changeConsumer:
		g.MakeConsumer(consumer, int64(number))
	case c == changeUnconsumer:
		g.DeleteConsumer(consumer)
	case c == changeAck:
		if !g.Acknowledge(p.ID) {
			return r.unless(errMissing)
		}
	default:
		by, there := g.Consumer(consumer)
		if !there {
			return r.unless(errNoGroup)
		}
		g.Deliver(by, p.ID, p.Time, p.Count)
	}
	return nil
}
