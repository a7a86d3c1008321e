package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// change is an event of one queue as the journal keeps it. A record of the journal is one or more of them, which hold
// together or not at all. Of a message that was put or kept, its content stands in the record as well.
type change struct {
	queue    string
	event    workqueue.Event
	content  []byte   // of a message, see content.go
	fresh    *Message // from which the content is made; nil: there is one, or none
	at, size int      // where the content begins in its record, and its length; encode notes them
}

// recordVersion begins each record, so that a later form can be told from this one.
const recordVersion = 1

// changeBytes is about what the numbers of a change take.
const changeBytes = 80

var errShort = errors.New("it ends too early")

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// encode writes a record, and notes where the contents begin.
func encode(changes []change) []byte { return encodeInto(nil, changes) }

// encodeInto writes a record into room that nobody needs any more, or into new one where that is too little.
func encodeInto(room []byte, changes []change) []byte {
	size := 1
	for i := range changes {
		c := &changes[i]
		c.size = len(c.content)
		if c.fresh != nil {
			c.size = contentBytes(c.fresh)
		}
		size += changeBytes + len(c.queue) + len(c.event.Reason) + c.size
		if m := c.event.Message; m != nil {
			size += len(m.ID) + len(m.Key) + len(m.Origin)
		}
	}
	dst := append(slices.Grow(room[:0], size), recordVersion)
	for i := range changes {
		c := &changes[i]
		dst = appendString(dst, c.queue)
		ev := c.event
		dst = append(dst, byte(ev.Kind))
		dst = binary.AppendUvarint(dst, ev.Seq)
		dst = binary.AppendVarint(dst, int64(ev.At))
		dst = binary.AppendVarint(dst, int64(ev.Due))
		dst = binary.AppendUvarint(dst, uint64(ev.Attempt))
		dst = appendString(dst, ev.Reason)
		if !holdsMessage(ev.Kind) {
			continue
		}
		dst = appendMessage(dst, ev.Message)
		dst = binary.AppendUvarint(dst, uint64(c.size))
		c.at = len(dst)
		if c.fresh != nil {
			dst = appendContent(dst, c.fresh.Headers, c.fresh.Body)
		} else {
			dst = append(dst, c.content...)
		}
	}
	return dst
}

func holdsMessage(k workqueue.Kind) bool { return k == workqueue.Put || k == workqueue.Kept }

func appendMessage(dst []byte, m *workqueue.Message) []byte {
	dst = appendString(dst, m.ID)
	dst = appendString(dst, m.Key)
	dst = binary.AppendVarint(dst, int64(m.Priority))
	for _, d := range []time.Duration{m.Put, m.Due, m.Expires} {
		dst = binary.AppendVarint(dst, int64(d))
	}
	dst = appendString(dst, m.Origin)
	dst = binary.AppendUvarint(dst, m.OriginSeq)
	dst = binary.AppendUvarint(dst, uint64(m.Attempts))
	dead := byte(0)
	if m.Dead {
		dead = 1
	}
	dst = append(dst, dead)
	dst = binary.AppendUvarint(dst, uint64(len(m.History)))
	for _, a := range m.History {
		dst = binary.AppendVarint(dst, int64(a.At))
		dst = binary.AppendVarint(dst, int64(a.Ended))
		dst = appendString(dst, a.Reason)
	}
	return dst
}

// decode reads a record. What it returns points into p.
func decode(p []byte) ([]change, error) {
	if len(p) == 0 || p[0] != recordVersion {
		return nil, errors.New("a record of another version of the program")
	}
	r := reader{p: p, at: 1}
	var changes []change
	for r.at < len(p) && r.err == nil {
		c := change{queue: r.string()}
		ev := &c.event
		ev.Kind = workqueue.Kind(r.byte())
		ev.Seq = r.uint()
		ev.At, ev.Due = r.duration(), r.duration()
		ev.Attempt = int(r.uint())
		ev.Reason = r.string()
		if holdsMessage(ev.Kind) {
			ev.Message = r.message()
			n := r.length()
			c.at = r.at
			c.content, c.size = r.bytes(n), n
			ev.Message.Size = n
		}
		changes = append(changes, c)
	}
	if r.err != nil {
		return nil, fmt.Errorf("reading a record: %w", r.err)
	}
	return changes, nil
}

// reader reads what encode wrote, and remembers the first error.
type reader struct {
	p   []byte
	at  int
	err error
}

func (r *reader) fail() { r.err, r.at = errShort, len(r.p) }

func (r *reader) byte() byte {
	if r.at >= len(r.p) {
		r.fail()
		return 0
	}
	r.at++
	return r.p[r.at-1]
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.p[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

func (r *reader) duration() time.Duration { return time.Duration(r.int()) }

func (r *reader) int() int64 {
	v, n := binary.Varint(r.p[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// length reads the length of something that follows.
func (r *reader) length() int {
	n := r.uint()
	if n > uint64(len(r.p)-r.at) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	r.at += n
	return r.p[r.at-n : r.at]
}

func (r *reader) string() string { return string(r.bytes(r.length())) }

func (r *reader) message() *workqueue.Message {
	m := &workqueue.Message{ID: r.string(), Key: r.string(), Priority: int(r.int())}
	m.Put, m.Due, m.Expires = r.duration(), r.duration(), r.duration()
	m.Origin, m.OriginSeq = r.string(), r.uint()
	m.Attempts = int(r.uint())
	m.Dead = r.byte() == 1
	for n := r.length(); n > 0 && r.err == nil; n-- {
		m.History = append(m.History, workqueue.Attempt{At: r.duration(), Ended: r.duration(), Reason: r.string()})
	}
	return m
}
