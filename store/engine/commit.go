package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	dto "github.com/prometheus/client_model/go"

	"github.com/banyanhq/banyan/store/shard"
)

// A group of commands takes at most so many, and about so many bytes.
const (
	groupCommands = 512
	groupBytes    = 4 << 20
)

// proposal is a command that waits for its result.
type proposal struct {
	command []byte
	result  []byte
	err     error
	done    chan struct{}
}

// sealed is a group of commands that is applied and waits for its fsync.
type sealed struct {
	number    uint64
	batch     *pebble.Batch
	proposals []*proposal
}

// Propose has a command be applied, and returns the result once all is on disk. The key would say which node applies it. When ctx
// ends before that, the command may be carried out all the same.
func (e *Engine) Propose(ctx context.Context, _ []byte, command []byte) ([]byte, error) {
	p := &proposal{command: command, done: make(chan struct{})}
	select {
	case <-e.done:
		return nil, e.stopped()
	default:
	}
	select {
	case e.queue <- p:
	default:
		e.counters.refused.Add(1)
		return nil, ErrBusy
	}
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.done:
		select {
		case <-p.done:
			return p.result, p.err
		default:
			return nil, e.stopped()
		}
	}
}

// apply takes commands in groups until ctx ends, and then those that wait already.
func (e *Engine) apply(ctx context.Context) error {
	defer close(e.sealed)
	for {
		select {
		case p := <-e.queue:
			if err := e.applyGroup(p); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case p := <-e.queue:
			if err := e.applyGroup(p); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// applyGroup applies the command and those that wait behind it, and has them written to the log.
func (e *Engine) applyGroup(first *proposal) error {
	s := &sealed{number: e.current + 1, batch: e.db.NewIndexedBatch()}
	e.current = s.number
	mark := e.cpu.Begin()
	err := e.fill(s, first)
	if cpu, ok := mark.End(); ok && err == nil {
		e.counters.sampled.Add(int64(len(s.proposals)))
		e.counters.cpu.Add(int64(cpu))
	}
	if err != nil {
		return err
	}
	e.applied.Store(s.number)
	e.counters.commands.Add(int64(len(s.proposals)))
	e.counters.groups.Add(1)
	e.sealed <- s
	return nil
}

// fill applies the commands of a group and gives it to the log.
func (e *Engine) fill(s *sealed, first *proposal) error {
	size := 0
	for p := first; p != nil; {
		e.index++
		var err error
		if p.result, err = e.machine.Apply(s.batch, group, e.index, p.command); err != nil {
			s.batch.Close()
			return err
		}
		s.proposals = append(s.proposals, p)
		size += len(p.command)
		p = nil
		if len(s.proposals) < groupCommands && size < groupBytes {
			select {
			case p = <-e.queue:
			default:
			}
		}
	}
	if err := shard.SetApplied(s.batch, group, e.index); err != nil {
		s.batch.Close()
		return fmt.Errorf("writing a group of commands: %w", err)
	}
	// The group is seen from here on, and is in the log before any later one. A reader that finds an item of it waits for sync.
	if err := e.db.ApplyNoSyncWait(s.batch, pebble.Sync); err != nil {
		s.batch.Close()
		return fmt.Errorf("writing a group of commands: %w", err)
	}
	if err := e.failure.Load(); err != nil { // pebble said that it can't go on, and nevertheless returned no error
		return *err
	}
	return nil
}

// sync waits for the log of one group after the other, and then answers its commands.
func (e *Engine) sync() (err error) {
	for s := range e.sealed {
		if err == nil {
			if err = s.batch.SyncWait(); err != nil {
				err = fmt.Errorf("writing to the log: %w", err)
			} else if failure := e.failure.Load(); failure != nil {
				err = *failure
			}
		}
		if err == nil {
			e.synced.Store(s.number)
			e.onDisk.raise()
		}
		for _, p := range s.proposals {
			if err != nil {
				p.result, p.err = nil, err
			}
			close(p.done)
		}
		s.batch.Close()
	}
	return err
}

// signal wakes all who wait, each time that it is raised.
type signal struct {
	mu      sync.Mutex
	ch      chan struct{}
	waiting atomic.Bool
}

func (s *signal) init() { s.ch = make(chan struct{}) }

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.Store(true)
	return s.ch
}

func (s *signal) raise() {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.Store(false)
	close(s.ch)
	s.ch = make(chan struct{})
}

// counters of what the engine did.
type counters struct {
	commands, groups, refused atomic.Int64
	sampled, cpu              atomic.Int64 // commands of groups that were looked at, and their CPU time in nanoseconds
}

// Stats of an engine since it was opened.
type Stats struct {
	// Commands that were applied, and the groups in which they were: each group is at most one fsync.
	Commands, Groups int64
	// Refused commands, because too many waited.
	Refused int64
	// Expired items that were deleted.
	Expired int64
	// Sampled commands were looked at for the CPU time of applying them, which was ApplyCPU.
	Sampled  int64
	ApplyCPU time.Duration
	// Forces of the log to the disk, how long they took together, and the bytes that were written to the log.
	Forces    int64
	ForceTime time.Duration
	LogBytes  uint64
	// DiskBytes that the data takes, and MemoryBytes of caches and of what is not yet in files.
	DiskBytes, MemoryBytes uint64
}

// Stats counts what was done.
func (e *Engine) Stats() Stats {
	m := e.db.Metrics()
	c := &e.counters
	st := Stats{
		Sampled: c.sampled.Load(), ApplyCPU: time.Duration(c.cpu.Load()), Commands: c.commands.Load(), Groups: c.groups.Load(), Refused: c.refused.Load(), Expired: e.keeper.Expired(),
		DiskBytes: m.DiskSpaceUsage(), MemoryBytes: uint64(m.BlockCache.Size) + m.MemTable.Size,
	}
	st.AddLog(m)
	return st
}

// AddLog adds what a database says of its log.
func (st *Stats) AddLog(m *pebble.Metrics) {
	st.LogBytes = m.WAL.BytesWritten
	var force dto.Metric
	if h := m.LogWriter.FsyncLatency; h != nil && h.Write(&force) == nil && force.Histogram != nil {
		st.Forces = int64(force.Histogram.GetSampleCount())
		st.ForceTime = time.Duration(force.Histogram.GetSampleSum())
	}
}
