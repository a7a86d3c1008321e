package streamlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/journal"
)

const (
	// fullFrame has a frame take no further record.
	fullFrame = 1 << 20
	// patience with one call of the stream: after that it is not known any more what became of it.
	patience = 10 * time.Second
	// askPatience is how long one answer about the stream may take, and askAgain how long to wait before it is asked again.
	askPatience = time.Second
	askAgain    = 20 * time.Millisecond
	// readFrames is how many frames are asked for at once when all of them are read, and readBytes about how large they may be together.
	readFrames = 256
	readBytes  = 8 << 20
	// cacheBytes bounds the frames that are kept in memory, of what was written or read last.
	cacheBytes = 32 << 20
)

// ErrFailed says that it is not known what the stream has.
var ErrFailed = errors.New("the replicated journal does not answer as it should; the node that leads next goes on")

// Options of a Log.
type Options struct {
	// Stream that holds the frames, and Subject that it takes them from.
	Stream, Subject string
	// MaxFrame bounds the bytes of a frame: what the stream takes.
	MaxFrame int
	// MaxBacklog bounds the bytes that wait to be written; a record beyond is refused. Default 64 MiB.
	MaxBacklog int
}

// Log is safe for concurrent use.
type Log struct {
	opts   Options
	js     jetstream.JetStream
	stream jetstream.Stream

	mu       sync.Mutex
	gathered []journal.Record
	backlog  int
	last     uint64 // sequence of the newest frame
	segments []segment
	copies   int // that are being made: meanwhile no segment is dropped
	stats    journal.Stats
	err      error // for ever
	closed   bool
	cache    cache

	failed  chan struct{} // closed with err
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// segment is a number of frames that are dropped together.
type segment struct {
	id     uint64
	bytes  int64
	newest time.Time
}

// Open reads all records, oldest first, hands each to replay, and is then the one that writes: whoever wrote before can't any
// more. The data that replay gets is its own only until it returns.
func Open(ctx context.Context, js jetstream.JetStream, opts Options, replay func(journal.Position, []byte) error) (*Log, error) {
	if opts.MaxBacklog <= 0 {
		opts.MaxBacklog = 64 << 20
	}
	l := &Log{opts: opts, js: js, cache: newCache(cacheBytes), failed: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	looking, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	stream, err := js.Stream(looking, opts.Stream)
	if err != nil {
		return nil, fmt.Errorf("looking at the stream %s: %w", opts.Stream, err)
	}
	l.stream = stream
	for read := uint64(0); ; {
		state, err := l.state(ctx)
		if err != nil {
			return nil, fmt.Errorf("looking at the stream %s: %w", opts.Stream, err)
		}
		l.last = state.LastSeq
		if from := max(read+1, state.FirstSeq); from <= l.last && state.Msgs > 0 {
			if err := l.read(ctx, from, l.last, func(seq uint64, at time.Time, frame []byte) error {
				l.note(seq, len(frame), at)
				return eachRecord(frame, func(offset int64, data []byte) error { return replay(position(seq, offset), data) })
			}); err != nil {
				return nil, fmt.Errorf("reading the stream %s: %w", opts.Stream, err)
			}
		}
		read = l.last
		// The first frame has no records. That it stands behind the last that was read shows that nothing came in between.
		switch err := l.publish(ctx, nil, nil); {
		case err == nil:
			go l.run()
			return l, nil
		case !isWrongSequence(err):
			return nil, fmt.Errorf("beginning to write to the stream %s: %w", opts.Stream, err)
		}
	}
}

// isWrongSequence reports whether others have written meanwhile.
func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164)
}

// read hands out the frames of a range that count. It asks for many at once, of any node, rather than by a consumer: that would have
// to be made by the node that leads JetStream, at a node that may be the one that died, and nothing is served meanwhile.
func (l *Log) read(ctx context.Context, from, to uint64, each func(seq uint64, at time.Time, frame []byte) error) error {
	for seq := from; seq <= to; {
		came := l.messages(ctx, seq, int(min(to-seq+1, readFrames)))
		if len(came) == 0 || came[0].Sequence != seq {
			a := l.message(ctx, seq)
			if a.err != nil {
				return fmt.Errorf("frame %d: %w", seq, a.err)
			}
			if a.message == nil {
				seq = max(seq+1, a.first)
				continue
			}
			came = []*jetstream.RawStreamMsg{a.message}
		}
		for _, m := range came {
			if m.Sequence != seq || seq > to {
				break // one is missing, which is asked for by itself
			}
			if counts(m.Data, seq) {
				if err := each(seq, m.Time, m.Data); err != nil {
					return fmt.Errorf("frame %d: %w", seq, err)
				}
			}
			seq++
		}
	}
	return nil
}

// messages asks for a number of messages, and returns those that came, in their order. The node that answers may not have the newest, or
// die; who misses one asks for it by message.
func (l *Log) messages(ctx context.Context, from uint64, most int) (came []*jetstream.RawStreamMsg) {
	ask, err := json.Marshal(map[string]any{"seq": from, "batch": most, "max_bytes": readBytes})
	if err != nil {
		return nil
	}
	conn := l.js.Conn()
	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer answers.Unsubscribe() // fails only with the connection
	if err := conn.PublishRequest("$JS.API.DIRECT.GET."+l.opts.Stream, inbox, ask); err != nil {
		return nil
	}
	for len(came) < most {
		waiting, done := context.WithTimeout(ctx, askPatience)
		m, err := answers.NextMsgWithContext(waiting)
		done()
		if err != nil {
			return came
		}
		seq, err1 := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		at, err2 := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
		if err1 != nil || err2 != nil {
			return came // the end
		}
		came = append(came, &jetstream.RawStreamMsg{Sequence: seq, Time: at, Data: m.Data})
	}
	return came
}

// counts reports whether a message is a frame that was written where it stands.
func counts(frame []byte, seq uint64) bool {
	after, err := standsBehind(frame)
	return err == nil && after+1 == seq
}

// answer is a message of the stream; nil: it was dropped, and first is the oldest that is there.
type answer struct {
	message *jetstream.RawStreamMsg
	first   uint64
	err     error
}

// message asks for a message until it is there, or the stream has it no more. Any node answers, and one of them may not have the newest yet.
func (l *Log) message(ctx context.Context, seq uint64) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		asking, done := context.WithTimeout(ctx, askPatience)
		m, err := l.stream.GetMsg(asking, seq)
		done()
		switch {
		case err == nil:
			return answer{message: m}
		case errors.Is(err, jetstream.ErrMsgNotFound):
			if state, err := l.state(ctx); err == nil && seq < state.FirstSeq {
				return answer{first: state.FirstSeq}
			}
		}
		select {
		case <-ctx.Done():
			return answer{err: err}
		case <-l.failed:
			return answer{err: err}
		case <-time.After(askAgain):
		}
	}
}

// state asks how far the stream goes.
func (l *Log) state(ctx context.Context) (jetstream.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}

// note counts a frame. l.mu is held, or nobody else has l yet.
func (l *Log) note(seq uint64, bytes int, at time.Time) {
	id := seq / segmentFrames
	if n := len(l.segments); n == 0 || l.segments[n-1].id != id {
		l.segments = append(l.segments, segment{id: id})
	}
	s := &l.segments[len(l.segments)-1]
	s.bytes += int64(bytes)
	s.newest = at
}

// Append adds a record. It does not block; r.Done hears what became of it, unless it is refused at once by an error.
func (l *Log) Append(r journal.Record) error {
	l.mu.Lock()
	err := l.err
	switch {
	case err != nil:
	case l.closed:
		err = journal.ErrClosed
	case frameHead+10+len(r.Data) > l.opts.MaxFrame:
		err = fmt.Errorf("%w: %d bytes, the stream takes %d", journal.ErrTooLarge, len(r.Data), l.opts.MaxFrame)
	case r.Refusable && l.backlog+len(r.Data) > l.opts.MaxBacklog:
		err = journal.ErrBacklog
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}
	l.gathered = append(l.gathered, r)
	l.backlog += len(r.Data)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// run writes until Close, or until it failed.
func (l *Log) run() {
	defer close(l.stopped)
	for {
		select {
		case <-l.wake:
			l.commit()
		case <-l.failed:
			l.commit() // which refuses
			return
		case <-l.stop:
			l.commit()
			return
		}
	}
}

// commit writes what has gathered, frame by frame.
func (l *Log) commit() {
	l.mu.Lock()
	batch := l.gathered
	l.gathered, l.backlog = nil, 0
	l.mu.Unlock()
	for len(batch) > 0 {
		n := journal.Framed(batch, min(fullFrame, l.opts.MaxFrame)-frameHead)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		frame, offsets := encodeFrame(l.last, batch[:n])
		err := l.publish(ctx, frame, batch[:n])
		cancel()
		if err != nil {
			l.fail(err, batch)
			return
		}
		for i, r := range batch[:n] {
			if r.Done != nil {
				r.Done(position(l.last, offsets[i]), nil)
			}
		}
		batch = batch[n:]
	}
}

// publish stores one frame behind the last. Only one goroutine publishes at a time, and only it writes l.last.
func (l *Log) publish(ctx context.Context, frame []byte, batch []journal.Record) error {
	if err := l.failure(); err != nil {
		return err
	}
	if frame == nil {
		frame, _ = encodeFrame(l.last, nil)
	}
	ack, err := l.js.Publish(ctx, l.opts.Subject, frame, jetstream.WithExpectLastSequence(l.last), jetstream.WithExpectStream(l.opts.Stream), jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	if ack.Sequence != l.last+1 {
		return fmt.Errorf("the frame behind %d was stored as %d: others write as well", l.last, ack.Sequence)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = ack.Sequence
	l.note(l.last, len(frame), time.Now())
	l.stats.Frames++
	l.stats.Syncs++
	l.stats.Records += uint64(len(batch))
	if len(batch) > 0 {
		l.cache.put(l.last, frame)
	}
	return nil
}

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fail ends the log, and refuses what was not written.
func (l *Log) fail(err error, batch []journal.Record) {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	l.mu.Lock()
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
	batch = slices.Concat(batch, l.gathered)
	l.gathered, l.backlog = nil, 0
	l.mu.Unlock()
	journal.Refuse(batch, err)
}

// Failed is closed when nothing can be written any more.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Flush returns when all that was appended before is stored.
func (l *Log) Flush(ctx context.Context) error {
	return journal.WriteTo(ctx, l.Append, journal.Record{})
}

// Close writes what was appended and ends the goroutine.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.stopped
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.stopped
	return l.failure()
}

// Read fills p with the bytes at a position.
func (l *Log) Read(at journal.Position, p []byte) error {
	seq, offset := place(at)
	frame, err := l.frame(seq)
	if err != nil {
		return fmt.Errorf("reading frame %d: %w", seq, err)
	}
	if offset > int64(len(frame)) || copy(p, frame[offset:]) < len(p) {
		return fmt.Errorf("reading frame %d: %w", seq, errFrame)
	}
	return nil
}

// frame returns a frame, from memory or from the stream. Any node answers, and one of them may not have the newest yet.
func (l *Log) frame(seq uint64) ([]byte, error) {
	l.mu.Lock()
	frame, ok := l.cache.get(seq)
	l.mu.Unlock()
	if ok {
		return frame, nil
	}
	a := l.message(context.Background(), seq)
	switch {
	case a.err != nil:
		return nil, a.err
	case a.message == nil:
		return nil, jetstream.ErrMsgNotFound
	}
	if _, err := standsBehind(a.message.Data); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.cache.put(seq, a.message.Data)
	l.mu.Unlock()
	return a.message.Data, nil
}

// Oldest says which segment is the oldest that is not written to any more, when it was last written to, and how many
// bytes it has; ok is false if there is none, and while a copy is made.
func (l *Log) Oldest() (id uint64, newest time.Time, size int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) < 2 || l.copies > 0 {
		return 0, time.Time{}, 0, false
	}
	s := l.segments[0]
	return s.id, s.newest, s.bytes, true
}

// Drop removes the oldest segment, of which nothing is needed any more; what replaces it must have been Flushed.
func (l *Log) Drop(id uint64) error {
	l.mu.Lock()
	switch {
	case l.copies > 0:
		l.mu.Unlock()
		return nil // it is found again as the oldest
	case len(l.segments) < 2 || l.segments[0].id != id:
		l.mu.Unlock()
		return fmt.Errorf("segment %d is not the oldest of the journal", id)
	}
	l.segments = slices.Clone(l.segments[1:])
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence((id+1)*segmentFrames)); err != nil {
		return fmt.Errorf("removing a segment of the replicated journal: %w", err)
	}
	return nil
}

// Stats so far.
func (l *Log) Stats() journal.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.stats
	st.Segments = len(l.segments)
	for _, s := range l.segments {
		st.Bytes += s.bytes
	}
	return st
}

// Copy hands out all records that were appended before, oldest first. Meanwhile more can be appended, and no segment is
// dropped. The data that emit gets is its own only until it returns.
func (l *Log) Copy(ctx context.Context, emit func([]byte) error) error {
	l.mu.Lock()
	l.copies++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.copies--
	}()
	if err := l.Flush(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	to := l.last
	l.mu.Unlock()
	return l.read(ctx, 1, to, func(_ uint64, _ time.Time, frame []byte) error {
		return eachRecord(frame, func(_ int64, data []byte) error { return emit(data) })
	})
}
