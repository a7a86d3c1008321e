package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// How often a node reads all its data to see whether they are what was written, and how many bytes in a second it reads for that by itself,
// and where someone waits for it.
const (
	scrubEvery = 24 * time.Hour
	scrubRate  = 8 << 20
	checkRate  = 64 << 20
)

// scrub reads all tables on the disk now and then, past all caches, and holds each block against its checksum, until ctx ends. So
// damage is found while others have what it took, and not when nobody has any more.
func (n *Node) scrub(ctx context.Context) error {
	every := n.cfg.Scrub
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		began := time.Now()
		bytes, err := n.readTables(ctx, scrubRate)
		if err != nil && ctx.Err() == nil {
			n.damaged(err)
			return nil
		}
		n.cfg.Log.Info("tables: read what is on the disk, and found no damage", "bytes", bytes, "time", time.Since(began))
	}
}

// reading is of a node's tables, for a check.
type reading struct {
	mu      sync.Mutex
	check   uint64 // the newest that asked
	running bool
	bytes   int64
	err     error
	begin   chan struct{} // holds one
}

// read begins to read the tables for a check, the first time that it is called for that, and says how far it is.
func (n *Node) read(check uint64) *reply {
	r := &n.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.check != check && !r.running {
		r.check, r.running = check, true
		r.begin <- struct{}{}
	}
	switch {
	case r.running:
		return &reply{Adding: true}
	case r.err != nil:
		return &reply{Unreadable: fmt.Sprintf("%.300s", r.err)}
	}
	return &reply{Read: r.bytes}
}

// runReads reads the tables for checks until ctx ends.
func (n *Node) runReads(ctx context.Context) error {
	r := &n.reading
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.begin:
		}
		bytes, err := n.readTables(ctx, checkRate)
		if err != nil && ctx.Err() == nil {
			n.damaged(err)
		}
		r.mu.Lock()
		r.running, r.bytes, r.err = false, bytes, err
		r.mu.Unlock()
	}
}

// readTables holds all blocks of all tables against their checksums, and returns how many bytes that were.
func (n *Node) readTables(ctx context.Context, rate int64) (bytes int64, err error) {
	levels, err := n.db.SSTables()
	if err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	for _, level := range levels {
		for _, t := range level {
			name := n.cfg.FS.PathJoin(n.cfg.Dir, fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum)))
			if seen[name] {
				continue // several tables lie in one file
			}
			seen[name] = true
			read, err := n.readTable(ctx, name, rate)
			bytes += read
			if errors.Is(err, fs.ErrNotExist) {
				continue // it was compacted away meanwhile
			}
			if err != nil {
				return bytes, fmt.Errorf("reading %s: %w", name, err)
			}
		}
	}
	return bytes, nil
}

func (n *Node) readTable(ctx context.Context, name string, rate int64) (bytes int64, err error) {
	f, err := n.cfg.FS.Open(name)
	if err != nil {
		return 0, err
	}
	p := &paced{File: f, ctx: ctx, rate: rate}
	readable, err := sstable.NewSimpleReadable(p)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(ctx, readable, n.options.MakeReaderOptions())
	if err != nil {
		return p.read, errors.Join(err, readable.Close())
	}
	return p.read, errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// paced is a file of which no more than rate bytes a second are read.
type paced struct {
	vfs.File
	ctx  context.Context
	rate int64
	read int64
	some int64
}

func (p *paced) ReadAt(b []byte, at int64) (int, error) {
	if p.some += int64(len(b)); p.some > 1<<20 {
		timer := time.NewTimer(time.Duration(p.some) * time.Second / time.Duration(p.rate))
		defer timer.Stop()
		p.some = 0
		select {
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		case <-timer.C:
		}
	}
	n, err := p.File.ReadAt(b, at)
	p.read += int64(n)
	return n, err
}

// damaged takes note that data on this node's disk are not what was written.
func (n *Node) damaged(err error) {
	if n.damage.CompareAndSwap(nil, &err) {
		n.cfg.Log.Error("tables: the data on this node's disk are damaged", "node", n.cfg.Node, "err", err)
	}
}

func (n *Node) corruption(info pebble.DataCorruptionInfo) {
	n.damaged(fmt.Errorf("%s: %w", info.Path, info.Details))
}
