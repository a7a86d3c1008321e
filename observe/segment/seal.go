package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

const (
	segmentPrefix = "seg-"
	day           = int64(24 * time.Hour)
	maxDays       = 16 // that one head is divided into; what is older than these shares a file
)

func isSegment(name string) bool { return strings.HasPrefix(name, segmentPrefix) }

// segmentName says when its records are from, for people: seg-2026-11-29-000000000012.
func segmentName(at int64, number uint64) string {
	return fmt.Sprintf("%s%s-%012d", segmentPrefix, time.Unix(0, at).UTC().Format("2006-01-02"), number)
}

type sealResult struct {
	segments []*segFile
	last     uint64 // number of the last record
	records  int
	took     uint64 // numbers of segments
	err      error
}

// maybeSeal begins to seal the head if it is full and nothing else is being sealed, or tries again what failed. It reports whether the
// head was emptied.
func (s *Store) maybeSeal() bool {
	if s.sealing != nil {
		if !s.retryAt.IsZero() && !s.cfg.Now().Before(s.retryAt) {
			s.retryAt = time.Time{}
			go s.seal(s.sealing, s.manifest.Next)
		}
		return false
	}
	if s.headBytes < s.cfg.HeadBytes {
		return false
	}
	return s.beginSeal()
}

func (s *Store) beginSeal() bool {
	if err := s.syncDirty(); err != nil {
		s.cfg.Log.Error("records of the last second may be lost if the machine fails", "error", err)
	}
	s.closeWAL() // the next record begins a file, so that those before it can go
	s.mu.Lock()
	s.sealing, s.head, s.headBytes = s.head, nil, 0
	s.mu.Unlock()
	go s.seal(s.sealing, s.manifest.Next)
	return true
}

// seal writes records as segments and sends what came of it, once.
func (s *Store) seal(records []Record, number uint64) {
	r := sealResult{last: records[len(records)-1].Seq, records: len(records)}
	encoder, err := newBlockEncoder()
	if err != nil {
		r.err = err
		s.sealed <- r
		return
	}
	for _, part := range divide(records) {
		seg, err := s.writeSegment(encoder, part, number+r.took)
		if err != nil {
			r.err = err
			break
		}
		r.took++
		r.segments = append(r.segments, seg)
	}
	s.sealed <- r
}

// divide sorts records into days, and each day by stream, time and number.
func divide(records []Record) [][]Record {
	days := map[int64][]Record{}
	for _, r := range records {
		d := r.Time / day
		if r.Time%day < 0 {
			d--
		}
		days[d] = append(days[d], r)
	}
	order := make([]int64, 0, len(days))
	for d := range days {
		order = append(order, d)
	}
	slices.Sort(order)
	var parts [][]Record
	if extra := len(order) - maxDays; extra > 0 {
		var old []Record
		for _, d := range order[:extra] {
			old = append(old, days[d]...)
		}
		parts, order = append(parts, old), order[extra:]
	}
	for _, d := range order {
		parts = append(parts, days[d])
	}
	for _, part := range parts {
		slices.SortFunc(part, func(a, b Record) int {
			if !a.Stream.Equal(b.Stream) {
				return strings.Compare(a.Stream.key, b.Stream.key)
			}
			return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Seq, b.Seq))
		})
	}
	return parts
}

func (s *Store) writeSegment(encoder *blockEncoder, records []Record, number uint64) (*segFile, error) {
	text := 0
	for i := range records {
		text += records[i].text()
	}
	w := newSegmentWriter(encoder, text/3) // most of it compresses better
	info := segInfo{Records: len(records), MinTime: records[0].Time, MaxTime: records[0].Time}
	for begin := 0; begin < len(records); {
		end, bytes := begin, 0
		for end < len(records) && end-begin < blockRows && bytes < blockBytes {
			bytes += records[end].text()
			info.MinTime, info.MaxTime = min(info.MinTime, records[end].Time), max(info.MaxTime, records[end].Time)
			end++
		}
		w.add(records[begin:end])
		begin = end
	}
	data := w.finish()
	info.File, info.Bytes = segmentName(info.MaxTime, number), int64(len(data))
	if err := writeWhole(s.cfg.FS, s.cfg.FS.PathJoin(s.cfg.Dir, info.File), data); err != nil {
		return nil, fmt.Errorf("writing a segment: %w", err)
	}
	// It is read as a search will read it before the log may forget the records.
	seg, err := openSegment(s.cfg.FS, s.cfg.Dir, info, s.intern)
	if err != nil {
		return nil, fmt.Errorf("reading the segment %s that was just written: %w", info.File, err)
	}
	return seg, nil
}

// finishSeal has the segments count, and removes the log's files that they replace.
func (s *Store) finishSeal(r sealResult) {
	if r.err == nil {
		m := s.manifest
		m.Sealed, m.Next = r.last, m.Next+r.took
		m.Segments = slices.Clone(m.Segments)
		for _, seg := range r.segments {
			m.Segments = append(m.Segments, seg.segInfo)
		}
		if r.err = writeManifest(s.cfg.FS, s.cfg.Dir, m); r.err == nil {
			s.manifest = m
		}
	}
	if r.err != nil {
		s.sealFails++
		wait := min(retryMin<<min(s.sealFails-1, 10), retryMax)
		s.retryAt = s.cfg.Now().Add(wait)
		s.cfg.Log.Error("records could not be sealed; they stay in memory and in the log", "records", r.records, "retry_in", wait, "error", r.err)
		return
	}
	s.sealFails = 0
	s.mu.Lock()
	s.sealing = nil
	s.segments = append(slices.Clone(s.segments), r.segments...)
	s.mu.Unlock()
	s.removeLog(r.last)
	s.retain()
}

// removeLog deletes the files of the log whose records are all sealed: those that were begun up to the last of them.
func (s *Store) removeLog(last uint64) {
	firsts, err := walFiles(s.cfg.FS, s.cfg.Dir)
	if err != nil {
		s.cfg.Log.Warn("old files of the log could not be listed", "error", err)
		return
	}
	for _, first := range firsts {
		if first > last {
			break
		}
		err := s.cfg.FS.Remove(s.cfg.FS.PathJoin(s.cfg.Dir, walName(first)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.cfg.Log.Warn("an old file of the log could not be removed", "file", walName(first), "error", err)
		}
	}
}
