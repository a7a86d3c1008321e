package segment

import (
	"context"
	"errors"
	"time"
)

const (
	gatherBytes  = 8 << 20         // appended with one write and one sync
	retainEvery  = time.Minute     // between two looks at what is too old
	retryMin     = time.Second     // after a failed sealing
	retryMax     = 1 * time.Minute // doubled up to this
	gatherAtMost = 1024
)

// Run writes what is appended, seals and removes, until ctx ends; then it finishes what was begun. It can be called once. It
// returns an error only if what was written last could not be synced.
func (s *Store) Run(ctx context.Context) error {
	syncs, retains := time.NewTicker(s.cfg.SyncEvery), time.NewTicker(retainEvery)
	defer syncs.Stop()
	defer retains.Stop()
	s.retain()
	for {
		s.maybeSeal()
		select {
		case p := <-s.in:
			s.commit(p)
		case r := <-s.sealed:
			s.finishSeal(r)
		case <-syncs.C:
			if err := s.syncDirty(); err != nil {
				s.cfg.Log.Error("records of the last second may be lost if the machine fails", "error", err)
			}
		case <-retains.C:
			s.retain()
		case <-ctx.Done():
			return s.end()
		}
	}
}

func (s *Store) end() error {
	for len(s.in) > 0 {
		s.commit(<-s.in)
	}
	if s.isSealing() {
		s.finishSeal(<-s.sealed)
	}
	err := s.syncDirty()
	s.closeWAL()
	close(s.done)
	return errors.Join(err, s.lock.Close())
}

// commit writes an append and what came meanwhile, syncs if any of it must be durable, shows it to searches and answers.
func (s *Store) commit(first *pending) {
	batch, bytes := append(s.batch[:0], first), first.bytes
	durable := first.durable
	for bytes < gatherBytes && len(batch) < gatherAtMost {
		select {
		case p := <-s.in:
			batch = append(batch, p)
			bytes += p.bytes
			durable = durable || p.durable
			continue
		default:
		}
		break
	}
	err := s.makeRoom()
	if err == nil {
		err = s.write(batch, durable)
	}
	if err == nil {
		s.publish(batch)
	}
	for i, p := range batch {
		p.err <- err
		batch[i] = nil
	}
	s.batch = batch
}

// makeRoom waits, if the head is full, until what is being sealed has been.
func (s *Store) makeRoom() error {
	for s.headBytes >= s.cfg.HeadBytes && !s.maybeSeal() {
		if !s.isSealing() {
			return ErrFull // it failed, and is tried again later
		}
		s.finishSeal(<-s.sealed)
	}
	return nil
}

func (s *Store) write(batch []*pending, durable bool) error {
	if s.wal == nil {
		w, err := createWAL(s.cfg.FS, s.cfg.Dir, s.next)
		if err != nil {
			return err
		}
		s.wal = w
	}
	next := s.next
	for _, p := range batch {
		sealFrame(p.frame, next)
		for i := range p.records {
			p.records[i].Seq = next
			next++
		}
	}
	// Numbers are not given twice, even if this fails: part of it may be on disk.
	s.mu.Lock()
	s.next = next
	s.mu.Unlock()
	err := s.wal.write(s.frames(batch))
	s.dirty = true
	if err == nil && durable {
		err = s.syncDirty()
	}
	if err != nil {
		s.closeWAL() // nothing may come behind what is not whole
	}
	return err
}

// frames returns the frames of a batch as one piece; they are not copied where it is one anyway.
func (s *Store) frames(batch []*pending) []byte {
	if len(batch) == 1 {
		return batch[0].frame
	}
	if cap(s.buffer) > 2*gatherBytes {
		s.buffer = nil
	}
	s.buffer = s.buffer[:0]
	for _, p := range batch {
		s.buffer = append(s.buffer, p.frame...)
		p.frame = nil
	}
	return s.buffer
}

func (s *Store) syncDirty() error {
	if !s.dirty || s.wal == nil {
		return nil
	}
	s.dirty = false
	s.mu.Lock()
	s.stats.Syncs++
	s.mu.Unlock()
	return s.wal.sync()
}

func (s *Store) closeWAL() {
	if s.wal != nil {
		_ = s.wal.file.Close() // what had to be synced has been
		s.wal, s.dirty = nil, false
	}
}

func (s *Store) publish(batch []*pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range batch {
		s.head = append(s.head, p.records...)
		s.headBytes += p.bytes
		s.stats.Appended += int64(len(p.records))
		s.last = p.records[len(p.records)-1].Seq
		for i := range p.records {
			// It may have been forgotten between its append and now.
			if st := p.records[i].Stream; i == 0 || st != p.records[i-1].Stream {
				s.streams[st.key] = st
			}
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// retain removes the segments that are too old or too much, and seals a head with records that are too old, so that they can go.
func (s *Store) retain() {
	if s.cfg.Retain > 0 && len(s.head) > 0 && s.sealing == nil && s.head[0].Time < s.cfg.Now().Add(-s.cfg.Retain).UnixNano() {
		s.beginSeal()
	}
	gone := s.expired()
	if len(gone) == 0 {
		return
	}
	m := s.manifest
	m.Segments = nil
	for _, info := range s.manifest.Segments {
		if !gone[info.File] {
			m.Segments = append(m.Segments, info)
		}
	}
	if err := writeManifest(s.cfg.FS, s.cfg.Dir, m); err != nil {
		s.cfg.Log.Error("records that are too old could not be removed", "error", err)
		return
	}
	s.manifest = m
	s.mu.Lock()
	kept := make([]*segFile, 0, len(s.segments))
	for _, seg := range s.segments {
		if !gone[seg.File] {
			kept = append(kept, seg)
			continue
		}
		s.stats.Expired += int64(seg.Records)
	}
	s.segments = kept
	s.forgetStreams()
	s.mu.Unlock()
	for file := range gone {
		if err := s.cfg.FS.Remove(s.cfg.FS.PathJoin(s.cfg.Dir, file)); err != nil {
			s.cfg.Log.Warn("a segment that nobody needs could not be removed; the next start will", "file", file, "error", err)
		}
	}
}

// expired names the segments that retention takes.
func (s *Store) expired() map[string]bool {
	gone := map[string]bool{}
	oldest := int64(0)
	if s.cfg.Retain > 0 {
		oldest = s.cfg.Now().Add(-s.cfg.Retain).UnixNano()
	}
	total := int64(0)
	for _, seg := range s.segments {
		if s.cfg.Retain > 0 && seg.MaxTime < oldest {
			gone[seg.File] = true
			continue
		}
		total += seg.Bytes
	}
	for s.cfg.MaxBytes > 0 && total > s.cfg.MaxBytes {
		var first *segFile
		for _, seg := range s.segments {
			if !gone[seg.File] && (first == nil || seg.MaxTime < first.MaxTime) {
				first = seg
			}
		}
		gone[first.File] = true
		total -= first.Bytes
	}
	return gone
}

// forgetStreams drops the streams that no record has any more; s.mu is held.
func (s *Store) forgetStreams() {
	s.streams = map[string]*Stream{}
	for _, seg := range s.segments {
		for _, stream := range seg.streams {
			s.streams[stream.key] = stream
		}
	}
	for _, records := range [][]Record{s.head, s.sealing} {
		for i := range records {
			if i == 0 || records[i].Stream != records[i-1].Stream {
				s.streams[records[i].Stream.key] = records[i].Stream
			}
		}
	}
}

// isSealing reports whether a goroutine seals, whose result will come.
func (s *Store) isSealing() bool { return s.sealing != nil && s.retryAt.IsZero() }
