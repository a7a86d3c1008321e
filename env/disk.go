package env

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrDiskFull is what a write to a full simulated disk returns.
var ErrDiskFull = errors.New("no space left on device")

// DiskFaults say how bad a disk is.
type DiskFaults struct {
	Sync     time.Duration // the least time that a sync takes
	Jitter   time.Duration // up to this much more
	Slow     float64       // probability that a sync takes SlowTime instead
	SlowTime time.Duration
}

// Disk is the disk of one node of a World. Its files live in memory; a crash leaves of them what was synced.
type Disk struct {
	Faults DiskFaults
	Full   bool // writes fail

	Syncs, SlowSyncs int // for reports

	world *World
	fs    *vfs.MemFS
}

// NewDisk returns an empty disk.
func NewDisk(w *World, faults DiskFaults) *Disk {
	return &Disk{Faults: faults, world: w, fs: vfs.NewCrashableMem()}
}

// FS is the file system on the disk, until the next crash.
func (d *Disk) FS() vfs.FS { return d.fs }

// SyncTime draws how long a sync takes.
func (d *Disk) SyncTime() time.Duration {
	slow, jitter := d.world.Chance(d.Faults.Slow), d.world.Between(0, d.Faults.Jitter)
	d.Syncs++
	if slow {
		d.SlowSyncs++
		return d.Faults.SlowTime
	}
	return d.Faults.Sync + jitter
}

// Crash makes the disk what it is after its machine lost power: all that was not synced is gone. Whoever has files of
// it open goes on with the file system as it was, which nobody will see again.
func (d *Disk) Crash() {
	d.fs = d.fs.CrashClone(vfs.CrashCloneCfg{})
}

// FlipBit turns over one bit of one file whose name ends in the suffix, each equally likely, and says which file it
// was. It returns "" if there is no such file with anything in it.
func (d *Disk) FlipBit(dir, suffix string) (string, error) {
	names, err := d.fs.List(dir)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", dir, err)
	}
	sort.Strings(names)
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	name := d.fs.PathJoin(dir, found[d.world.Rand().IntN(len(found))])
	f, err := d.fs.Open(name)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) == 0 {
		return "", nil
	}
	bit := d.world.Rand().IntN(8 * len(data))
	data[bit/8] ^= 1 << (bit % 8)
	out, err := d.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	_, err = out.Write(data)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	parent, err := d.fs.OpenDir(dir)
	if err != nil {
		return "", fmt.Errorf("sync %s: %w", dir, err)
	}
	return name, errors.Join(parent.Sync(), parent.Close())
}
