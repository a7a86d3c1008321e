package logs

import (
	"fmt"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe/segment"
)

// Labels of the lines of replicas.
const (
	LabelService = "service"
	LabelReplica = "replica"
	LabelStream  = "stream"
)

// Source takes the lines of one replica. Its methods may be called from several goroutines and never wait.
type Source struct {
	logs             *Logs
	service, replica string

	mu      sync.Mutex
	streams map[string]*partial
	tokens  float64
	filled  time.Time // when tokens were last counted
	dropped int
	told    time.Time // when it was last told how many were dropped
}

// partial is a line that goes on.
type partial struct {
	stream *segment.Stream
	text   []byte
	size   int
}

const tellEvery = 10 * time.Second

// Source returns the source of a replica's lines.
func (l *Logs) Source(service, replica string) *Source {
	return &Source{logs: l, service: service, replica: replica, streams: map[string]*partial{}, tokens: float64(10 * l.cfg.Rate)}
}

// Line takes a line of a stream (out, err or sys), or a piece of one if it goes on.
func (s *Source) Line(at time.Time, stream, text string, goesOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.streams[stream]
	if p == nil {
		p = &partial{stream: segment.NewStream(map[string]string{LabelService: s.service, LabelReplica: s.replica, LabelStream: stream})}
		s.streams[stream] = p
	}
	if goesOn || p.size > 0 {
		p.size += len(text)
		// One byte more than is kept, so that it is known to be too long.
		p.text = append(p.text, text[:min(len(text), s.logs.cfg.MaxLine+1-len(p.text))]...)
		if goesOn {
			return
		}
		text = string(p.text)
		s.take(at, p.stream, text, p.size-len(text))
		p.text, p.size = nil, 0
		return
	}
	s.take(at, p.stream, text, 0)
}

// Close takes what is left of lines that never ended.
func (s *Source) Close(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.streams {
		if p.size > 0 {
			s.take(at, p.stream, string(p.text), p.size-len(p.text))
			p.text, p.size = nil, 0
		}
	}
	s.tell(at)
}

func (s *Source) take(at time.Time, stream *segment.Stream, text string, cut int) {
	if !s.allowed(at) {
		s.logs.counters.overRate.Add(1)
		s.dropped++
		if at.Sub(s.told) >= tellEvery || at.Before(s.told) {
			s.tell(at)
		}
		return
	}
	if s.dropped > 0 && at.Sub(s.told) >= tellEvery {
		s.tell(at)
	}
	text, more := s.logs.bound(text)
	s.logs.enqueue(queued{at, stream, text, cut + more})
}

// allowed takes from what the replica may write: ten seconds' worth at once, after that the rate. A clock that goes back gives nothing.
func (s *Source) allowed(at time.Time) bool {
	rate := float64(s.logs.cfg.Rate)
	if rate < 0 {
		return true
	}
	if d := at.Sub(s.filled); d > 0 && !s.filled.IsZero() {
		s.tokens = min(10*rate, s.tokens+rate*d.Seconds())
	}
	s.filled = at
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// tell writes how many lines were dropped; that line is never dropped for the rate.
func (s *Source) tell(at time.Time) {
	if s.dropped == 0 {
		return
	}
	stream := segment.NewStream(map[string]string{LabelService: s.service, LabelReplica: s.replica, LabelStream: "sys"})
	s.logs.enqueue(queued{at, stream, fmt.Sprintf("%d lines were dropped: more than %d in a second", s.dropped, s.logs.cfg.Rate), 0})
	s.dropped, s.told = 0, at
}

// enqueue leaves a line to the goroutine that stores; if too many wait, it is dropped and counted.
func (l *Logs) enqueue(q queued) {
	l.mu.Lock()
	if l.queued+len(q.text) > queueBytes {
		l.mu.Unlock()
		l.counters.overQueue.Add(1)
		return
	}
	l.queue = append(l.queue, q)
	l.queued += len(q.text) + 100
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
