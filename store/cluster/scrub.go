package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// How often a node reads all its data to see whether they are what was written, and how many bytes in a second it reads for that.
const (
	scrubEvery = 24 * time.Hour
	scrubRate  = 8 << 20
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
		bytes, err := n.readTables(ctx)
		if err != nil && ctx.Err() == nil {
			n.damaged(err)
			return nil
		}
		n.cfg.Log.Info("tables: read what is on the disk, and found no damage", "bytes", bytes, "time", time.Since(began))
	}
}

// readTables holds all blocks of all tables against their checksums, and returns how many bytes that were.
func (n *Node) readTables(ctx context.Context) (bytes int64, err error) {
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
			read, err := n.readTable(ctx, name)
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

func (n *Node) readTable(ctx context.Context, name string) (bytes int64, err error) {
	f, err := n.cfg.FS.Open(name)
	if err != nil {
		return 0, err
	}
	p := &paced{File: f, ctx: ctx}
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

// paced is a file of which no more than scrubRate bytes a second are read.
type paced struct {
	vfs.File
	ctx  context.Context
	read int64
	some int
}

func (p *paced) ReadAt(b []byte, at int64) (int, error) {
	if p.some += len(b); p.some > 1<<20 {
		timer := time.NewTimer(time.Duration(p.some) * time.Second / scrubRate)
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
