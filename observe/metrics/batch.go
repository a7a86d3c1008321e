package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// idle is after how many minutes a series that a sender sends no more is forgotten (not deleted: it no longer counts).
const idle = 60

// maxProblems of one batch are told in words.
const maxProblems = 5

// Batch appends samples that came from one sender, or that were computed. It is good for one goroutine, and must be ended
// by Commit or Rollback: until then other batches of the same origin wait.
type Batch struct {
	o      *origin
	app    storage.AppenderV2
	buf    []byte
	stored int
	failed int
	// problems are the first things that were wrong with samples.
	problems []error
}

// Begin starts a batch of an origin. Strangers' names are shortened; there should be few different ones.
func (s *Store) Begin(ctx context.Context, name string) *Batch {
	o := s.sender(name)
	o.mu.Lock()
	if now := uint64(time.Now().Unix() / 60); now != o.round {
		sweep := now/10 != o.round/10
		if o.round = now; sweep {
			o.sweep(now)
		}
	}
	return &Batch{o: o, app: s.db.AppenderV2(ctx)}
}

// sweep forgets series that did not come for an hour. A clock that was set back forgets none.
func (o *origin) sweep(now uint64) {
	for _, e := range o.entries {
		if e.seen+idle < now {
			o.drop(e)
		}
	}
}

// Sample is one value of a series: a number, or a native histogram.
type Sample struct {
	// T in milliseconds since 1970.
	T int64
	V float64
	H *histogram.Histogram
	F *histogram.FloatHistogram
	// Exemplars of it, oldest first.
	Exemplars []exemplar.Exemplar
}

// Append adds a sample. What is wrong with it is kept for Commit; the batch goes on.
func (b *Batch) Append(lset labels.Labels, s Sample) {
	b.buf = lset.Bytes(b.buf[:0])
	if e := b.series(b.buf, func() (labels.Labels, error) { return lset, nil }); e != nil {
		b.sample(e, s)
	} else {
		b.failed++
	}
}

// series returns the entry of a series by its text; lset is asked only for one that is new. Nil: it is not taken.
func (b *Batch) series(text []byte, lset func() (labels.Labels, error)) *entry {
	k := b.o.seeds.key(text)
	if e := b.o.entries[k]; e != nil {
		e.seen = b.o.round
		return e
	}
	l, err := lset()
	if err == nil {
		var e *entry
		if e, err = b.o.admit(k, l); err == nil {
			e.seen = b.o.round
			return e
		}
	}
	b.problem(err)
	return nil
}

func (b *Batch) sample(e *entry, s Sample) {
	ref, err := b.app.Append(e.ref, e.lset, 0, s.T, s.V, s.H, s.F, storage.AOptions{Exemplars: s.Exemplars})
	switch {
	case err == nil:
		b.o.store.counts.exemplars.Add(int64(len(s.Exemplars)))
	case errors.Is(err, &storage.AppendPartialError{}):
		b.o.store.counts.exemplarErrors.Add(1)
	default:
		b.failed++
		b.problem(fmt.Errorf("%s at %d: %w", clippedText(e.lset.String()), s.T, err))
		if err := b.o.store.counts.errored(err); err != nil && !errors.Is(err, storage.ErrNativeHistogramsDisabled) {
			b.o.store.counts.invalid.Add(1)
		}
		return
	}
	e.ref = ref
	b.stored++
}

// clippedText shortens what a stranger wrote.
func clippedText(s string) string {
	if len(s) > 200 {
		return s[:197] + "..."
	}
	return s
}

// problem keeps what was wrong, if there is room.
func (b *Batch) problem(err error) {
	if err != nil && len(b.problems) < maxProblems {
		b.problems = append(b.problems, err)
	}
}

// Result of a batch.
type Result struct {
	// Stored and Failed samples.
	Stored, Failed int
	// Problems are the first things that were wrong with samples that failed; nil if none did.
	Problems error
}

// Commit stores what was appended. The error is one of the storage: nothing was stored.
func (b *Batch) Commit() (Result, error) {
	defer b.o.mu.Unlock()
	r := Result{b.stored, b.failed, errors.Join(b.problems...)}
	if err := b.app.Commit(); err != nil {
		return Result{Failed: b.stored + b.failed}, fmt.Errorf("storing samples: %w", err)
	}
	b.o.store.counts.samples.Add(int64(b.stored))
	return r, nil
}

// Rollback ends the batch and stores nothing of it.
func (b *Batch) Rollback() {
	b.app.Rollback()
	b.o.mu.Unlock()
}
