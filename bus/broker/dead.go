package broker

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// moveDead has a message that left its queue enter the dead letter queue, in one record. b.mu is held.
func (b *Broker) moveDead(q *queue, ev workqueue.Event) {
	to := b.queues[q.cfg.DeadLetter]
	content, err := b.read(q, ev.Seq)
	if err != nil {
		b.log.Error("a dead message can't be read; it is found again when the program starts anew", "queue", q.name, "message", ev.Seq, "error", err)
		return
	}
	m := &workqueue.Message{Key: ev.Message.Key, Size: len(content), Put: ev.At, Origin: q.name, OriginSeq: ev.Seq, History: slices.Clone(ev.Message.History)}
	b.dropPlace(q, ev.Seq)
	if _, err := b.transfer(change{queue: q.name, event: ev}, to, m, content, true); err != nil {
		b.log.Error("a dead message can't be moved; it is found again when the program starts anew", "queue", q.name, "message", ev.Seq, "error", err)
	}
}

// transfer writes that a message left one queue and entered another (or the same, under another number). It returns the
// number there.
func (b *Broker) transfer(left change, to *queue, m *workqueue.Message, content []byte, forced bool) (uint64, error) {
	now := b.now()
	seq, _, err := to.core.Reserve(now, m, forced)
	if err != nil {
		return 0, err
	}
	changes := []change{left, {queue: to.name, event: workqueue.Event{Kind: workqueue.Put, Seq: seq, At: now, Message: m}, content: content}}
	err = b.journal.Append(journal.Record{Data: encode(changes), Durable: true, Done: func(at journal.Position, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.stored(to, seq, m, changes[1].at, at, err)
	}})
	if err != nil {
		to.core.Cancel(seq, m)
	}
	return seq, err
}

// read returns the content of a message. b.mu is held.
func (b *Broker) read(q *queue, seq uint64) ([]byte, error) {
	p, ok := q.places[seq]
	if !ok {
		return nil, workqueue.ErrUnknown
	}
	content := make([]byte, p.size)
	return content, b.journal.Read(p.at, content)
}

// DeadLetters says why messages of a queue died, by cause. The dead of a queue with a dead letter queue lie there; of a dead
// letter queue itself, all that it holds are meant.
func (b *Broker) DeadLetters(name string) (in string, groups []workqueue.Group, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, origin, err := b.grave(name)
	if err != nil {
		return "", nil, err
	}
	return at.name, at.core.Groups(origin), nil
}

// grave is where the dead of a queue lie, and by which origin they are told there.
func (b *Broker) grave(name string) (at *queue, origin string, err error) {
	q, err := b.find(name)
	if err != nil {
		return nil, "", err
	}
	if q.cfg.DeadLetter != "" {
		return b.queues[q.cfg.DeadLetter], name, nil
	}
	return q, "", nil
}

// Letter is a stored message with all that is known of it.
type Letter struct {
	Queue   string
	Seq     uint64
	Meta    workqueue.Message
	Headers []Header
	Body    []byte
}

// Dead returns dead letters of a cause (empty: any), oldest first, up to most.
func (b *Broker) Dead(name, signature string, most int) ([]Letter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, origin, err := b.grave(name)
	if err != nil {
		return nil, err
	}
	var out []Letter
	for _, seq := range at.core.DeadSeqs(origin, signature) {
		if len(out) == most {
			break
		}
		l, err := b.letter(at, seq)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Look returns a message without taking it.
func (b *Broker) Look(name string, seq uint64) (Letter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.find(name)
	if err != nil {
		return Letter{}, err
	}
	return b.letter(q, seq)
}

func (b *Broker) letter(q *queue, seq uint64) (Letter, error) {
	m, ok := q.core.Get(seq)
	if !ok {
		return Letter{}, workqueue.ErrUnknown
	}
	content, err := b.read(q, seq)
	if err != nil {
		return Letter{}, err
	}
	l := Letter{Queue: q.name, Seq: seq, Meta: m}
	l.Meta.History = slices.Clone(m.History)
	l.Headers, l.Body, err = readContent(content)
	return l, err
}

// Redrive is a number of dead letters that were put back, and what became of them since.
type Redrive struct {
	ID      string `json:"id"`
	Queue   string `json:"queue"`
	Moved   int    `json:"moved"`
	Left    int    `json:"left"` // dead letters that were meant as well
	Acked   int    `json:"acked"`
	Died    int    `json:"died"`
	Gone    int    `json:"gone"` // expired, or removed
	Waiting int    `json:"waiting"`
}

// rememberedRedrives bounds what is remembered of redrives.
const rememberedRedrives = 100

// Redrive puts dead letters of a queue back to where they died, oldest first, up to most (0: all), those of one cause or
// of any. What becomes of them RedriveStatus says, until the program ends.
func (b *Broker) Redrive(name, signature string, most int) (Redrive, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, origin, err := b.grave(name)
	if err != nil {
		return Redrive{}, err
	}
	if len(b.redrives) >= rememberedRedrives {
		b.forgetRedrive()
	}
	r := &Redrive{ID: strconv.FormatInt(b.cfg.Now().UnixNano(), 36), Queue: name}
	seqs := at.core.DeadSeqs(origin, signature)
	for i, seq := range seqs {
		if most > 0 && r.Moved == most {
			r.Left = len(seqs) - i
			break
		}
		if err = b.putBack(at, seq, r); err != nil {
			r.Left = len(seqs) - i
			break
		}
	}
	if r.Moved > 0 {
		b.redrives[r.ID] = r
		err = nil // what was moved is told; the next call says the rest
	}
	return *r, err
}

func (b *Broker) putBack(at *queue, seq uint64, r *Redrive) error {
	m, ok := at.core.Get(seq)
	if !ok {
		return workqueue.ErrUnknown
	}
	to := at
	if m.Origin != "" {
		to = b.queues[m.Origin]
	}
	if to == nil || !to.declared {
		return fmt.Errorf("%w: %q, where message %d died", ErrNoQueue, m.Origin, seq)
	}
	content, err := b.read(at, seq)
	if err != nil {
		return err
	}
	now := b.now()
	back := &workqueue.Message{Key: m.Key, Priority: m.Priority, Size: len(content), Put: now, History: slices.Clone(m.History)}
	removed, err := at.core.Remove(now, seq)
	if err != nil {
		return err
	}
	next, err := b.transfer(change{queue: at.name, event: removed}, to, back, content, to == at)
	if err != nil {
		at.core.Apply(workqueue.Event{Kind: workqueue.Kept, Seq: seq, At: now, Message: &m}) // it stays where it is
		return err
	}
	b.dropPlace(at, seq)
	to.watched[next] = r
	r.Moved++
	r.Waiting++
	return nil
}

func (b *Broker) forgetRedrive() {
	oldest := ""
	for id := range b.redrives {
		if oldest == "" || id < oldest {
			oldest = id
		}
	}
	delete(b.redrives, oldest)
}

// observe notes what becomes of redriven messages.
func (b *Broker) observe(q *queue, ev workqueue.Event) {
	if len(q.watched) == 0 {
		return
	}
	r := q.watched[ev.Seq]
	if r == nil {
		return
	}
	switch ev.Kind {
	case workqueue.Acked:
		r.Acked++
	case workqueue.Died, workqueue.Left:
		r.Died++
	case workqueue.Expired, workqueue.Removed:
		r.Gone++
	default:
		return
	}
	r.Waiting--
	delete(q.watched, ev.Seq)
}

// RedriveStatus says what became of a redrive; ok is false if it is not remembered.
func (b *Broker) RedriveStatus(id string) (r Redrive, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.redrives[id]
	if p == nil {
		return Redrive{}, false
	}
	return *p, true
}
