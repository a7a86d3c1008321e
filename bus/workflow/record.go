package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/saga"
)

// record of the journal: what happened to a run, or all that is known of it.
type record struct {
	Run    string         `json:"run"`
	Events []saga.Event   `json:"events,omitempty"`
	Whole  *saga.Instance `json:"whole,omitempty"`
}

// encode never fails: what a run is made of came out of JSON, or is checked to be such.
func encode(r record) []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return data
}

// replay applies a record. Events of a run that is not known are those of one that was forgotten, or whose whole state
// follows: the segment with its start was dropped.
func (e *Engine) replay(at journal.Position, data []byte) error {
	if len(data) == 0 {
		return nil // of a Flush
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return fmt.Errorf("decoding a record of the sagas: %w", err)
	}
	if rec.Whole != nil {
		return e.replayWhole(at, rec, int64(len(data)))
	}
	for _, ev := range rec.Events {
		r := e.runs[rec.Run]
		switch {
		case ev.Kind == saga.Started:
			in, err := saga.New(ev)
			if err != nil {
				return err
			}
			r = e.add(in)
			r.base = at.Segment
			close(r.stored)
		case r == nil:
			continue
		case ev.Kind == saga.Forgotten:
			e.forget(r)
			continue
		default:
			if err := r.Apply(ev); err != nil {
				return err
			}
		}
		if r.Status.Ended() || r.Status == saga.Stuck {
			closeOnce(r.ended)
		}
	}
	if r := e.runs[rec.Run]; r != nil {
		r.bytes += int64(len(data))
		e.bytes += int64(len(data))
	}
	return nil
}

func (e *Engine) replayWhole(at journal.Position, rec record, size int64) error {
	if err := rec.Whole.Def.Check(); err != nil {
		return err
	}
	if old := e.runs[rec.Run]; old != nil {
		e.forget(old)
	}
	r := e.add(rec.Whole)
	r.base, r.bytes = at.Segment, size
	e.bytes += size
	close(r.stored)
	if r.Status.Ended() || r.Status == saga.Stuck {
		closeOnce(r.ended)
	}
	return nil
}

// add takes a run into memory. Runs of one definition share it.
func (e *Engine) add(in *saga.Instance) *run {
	if d := e.defs[in.Def.Name]; d != nil && reflect.DeepEqual(d, in.Def) {
		in.Def = d
	}
	r := &run{Instance: in, stored: make(chan struct{}), ended: make(chan struct{})}
	e.runs[in.ID] = r
	return r
}

// compact drops the oldest segments while the journal is much larger than what is needed of it.
func (e *Engine) compact(ctx context.Context) error {
	for ctx.Err() == nil {
		id, _, _, ok := e.journal.Oldest()
		e.mu.Lock()
		needed := e.bytes
		e.mu.Unlock()
		st := e.journal.Stats()
		if size := st.Bytes; !ok || size < 4*e.cfg.SegmentBytes || size < 2*needed || st.Full || st.Failed != nil {
			return nil
		}
		if !e.keepWhole(id) {
			return nil
		}
		if err := e.journal.Flush(ctx); err != nil {
			return err
		}
		if err := e.journal.Drop(id); err != nil {
			return err
		}
	}
	return nil
}

// keepWhole writes the whole state of the runs anew that need a segment or an older one. Records of one run are appended
// under e.mu, so the state that is written comes after all events that it has in it. It reports false if the segment is needed
// still, for the log does not take the state of a run in one piece.
func (e *Engine) keepWhole(segment uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		select {
		case <-r.stored:
		default:
			continue // its start is in a newer segment
		}
		if r.base > segment {
			continue
		}
		data := encode(record{Run: r.ID, Whole: r.Instance})
		err := e.journal.Append(journal.Record{Data: data, Done: func(at journal.Position, err error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if err != nil {
				e.fail(err)
				return
			}
			r.base = at.Segment
		}})
		switch {
		case errors.Is(err, journal.ErrTooLarge):
			return false
		case err != nil:
			e.fail(err)
			return false
		}
		e.bytes += int64(len(data)) - r.bytes
		r.bytes = int64(len(data))
	}
	return true
}
