package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/cache/disk"
	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/persist"
)

// Persist says what a server keeps on disk.
type Persist struct {
	// Dir is the folder that the files lie in. It is made, and locked. Default: nothing is kept.
	Dir string
	// Append has every change be appended to a file, which is synced: "always" before a command is answered, "everysec" once
	// a second, "no" when the operating system likes. "off": there is no such file. Default: everysec.
	Append string
	// Snapshot is how often a snapshot is written, where anything has changed. Default: never.
	Snapshot time.Duration
	// Rewrite is the size from which on the append file is written anew when it has doubled. Default: 64 MiB.
	Rewrite int64
	// Repair cuts off a file that is damaged in the middle, instead of refusing it. What there was is left beside it.
	Repair bool

	dir disk.FS // for tests
}

// The values of Persist.Append.
const (
	appendAlways = "always"
	appendSecond = "everysec"
	appendNo     = "no"
	appendOff    = "off"
)

func (p *Persist) on() bool { return p.Dir != "" || p.dir != nil }

func (p *Persist) validate() error {
	if !p.on() {
		if p.Append != "" && p.Append != appendOff || p.Snapshot != 0 {
			return errors.New("to keep an append file or snapshots, a folder is needed")
		}
		return nil
	}
	switch p.Append {
	case "":
		p.Append = appendSecond
	case appendAlways, appendSecond, appendNo, appendOff:
	default:
		return fmt.Errorf("append %q: want always, everysec, no or off", p.Append)
	}
	if p.Rewrite == 0 {
		p.Rewrite = 64 << 20
	}
	if p.Snapshot < 0 || p.Rewrite < 0 {
		return errors.New("snapshot and rewrite: want no negative numbers")
	}
	return nil
}

// The names of files.
const (
	appendName   = "append.banyan"
	snapshotName = "snapshot.banyan"
	fresh        = ".new"     // behind the name of a file that is being written
	damaged      = ".damaged" // behind that of what is left of one that was cut off
)

// keeper keeps what a store holds on disk. Its goroutines are run's.
//
// Locks are taken in this order: syncing, writing, then the server's mu.
type keeper struct {
	cfg   Persist
	dir   disk.FS
	mu    *sync.Mutex // the server's, which guards the store and all below that is not marked
	store *keyspace.Store
	log   *slog.Logger
	tell  func() // tells those who wait that durable has moved on, or that there is no hope

	// Of a node of a cluster, whose replicas get the store's notes as well:
	before        func()            // is called before they are taken, or copied
	anew          func()            // is called when a file begins that must say all
	shared        func() bool       // reports whether they are written down for others too
	restored      bool              // a file was read, and is as it was left
	followed      keyspace.Followed // what it says
	followedKnown bool
	cut           bool // the file was damaged

	syncing sync.Mutex // held while the append file is synced, or replaced
	writing sync.Mutex // held while it is written to; guards file and spare
	file    *persist.Log
	spare   []byte

	written atomic.Int64 // up to where what the store has noted was written,
	durable atomic.Int64 // and synced
	size    atomic.Int64 // of the append file

	policy   string
	broken   error  // why the append file is not good any more
	next     []byte // what goes into the file that is being written
	copied   int    // how much of the store's notes that is there already
	copying  bool   // a file is being written
	dumping  bool   // and the store is dumped into it
	jobs     jobs
	work     chan struct{} // tells the worker that there may be a job
	commit   chan struct{} // tells the committer that somebody waits
	pause    func(time.Duration)
	lastSync time.Duration // how long the last one took
}

// openKeeper opens the folder and loads what is there into the store, which is empty.
func openKeeper(cfg Persist, mu *sync.Mutex, store *keyspace.Store, log *slog.Logger) (*keeper, error) {
	k := &keeper{
		cfg: cfg, dir: cfg.dir, mu: mu, store: store, log: log, policy: cfg.Append, tell: func() {}, before: func() {}, anew: func() {},
		shared: func() bool { return false }, work: make(chan struct{}, 1),
		commit: make(chan struct{}, 1), pause: time.Sleep,
	}
	if k.dir == nil {
		folder, err := disk.OpenFolder(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("opening the folder that the cache is kept in: %w", err)
		}
		k.dir = folder
	}
	if err := k.load(); err != nil {
		return nil, errors.Join(err, k.unlock())
	}
	return k, nil
}

// appends reports whether there is an append file.
func (k *keeper) appends() bool { return k.cfg.Append != appendOff }

// takes reports whether the keeper takes what the store writes down; nil does not.
func (k *keeper) takes() bool { return k != nil && (k.appends() || k.copying) }

func (k *keeper) unlock() error {
	if f, ok := k.dir.(*disk.Folder); ok {
		return f.Close()
	}
	return nil
}

// mark is called when commands have been carried out, and says what must be before they are answered: until, the position
// up to which there must be a sync (0: none need be), and whether there is something to be written.
func (k *keeper) mark() (until int64, write bool) {
	at := k.store.Written()
	switch {
	case k.file == nil || k.broken != nil:
		return 0, false
	case k.policy != appendAlways:
		return 0, at > k.written.Load()
	case at > k.durable.Load():
		wake(k.commit)
		return at, false
	}
	return 0, false
}

// wake tells somebody that there is something to do, once.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take takes what the store has noted. Both writing and the server's lock are held.
func (k *keeper) take() (payload []byte, at int64) {
	k.before()
	if k.copying {
		k.copyNotes()
	}
	at = k.store.Written()
	payload = k.store.TakeNotes(k.spare)
	k.copied, k.spare = 0, nil
	return payload, at
}

// copyNotes copies what the store has noted to what goes into the file that is being written.
func (k *keeper) copyNotes() {
	b := k.store.Noted(k.copied)
	k.next = append(k.next, b...)
	k.copied += len(b)
}

// writeOut writes what the store has noted to the append file, so that it outlives the process.
func (k *keeper) writeOut() {
	k.writing.Lock()
	defer k.writing.Unlock()
	_, _ = k.append() // it is told of by refused
}

// append is writeOut for one who holds writing.
func (k *keeper) append() (end int64, err error) {
	k.mu.Lock()
	payload, at := k.take()
	file, broken := k.file, k.broken
	k.mu.Unlock()
	if broken != nil || file == nil {
		return 0, broken
	}
	if len(payload) > 0 {
		err = file.Append(payload)
		k.size.Store(file.End())
	}
	if cap(payload) <= keepNotes {
		k.spare = payload
	}
	if err != nil {
		k.fail(fmt.Errorf("writing to %s: %w", k.dir.Path(appendName), err))
		return 0, err
	}
	k.written.Store(at)
	return file.End(), nil
}

// keepNotes is the largest buffer of notes that is used again.
const keepNotes = 1 << 20

// sync writes what the store has noted, and syncs it. All that wait for it share it.
func (k *keeper) sync() {
	k.syncing.Lock()
	defer k.syncing.Unlock()
	k.writing.Lock()
	end, err := k.append()
	file, at := k.file, k.written.Load()
	k.writing.Unlock()
	if err != nil || file == nil || at == k.durable.Load() {
		return
	}
	began := time.Now()
	if err := file.Sync(end); err != nil {
		k.fail(fmt.Errorf("syncing %s: %w", k.dir.Path(appendName), err))
		return
	}
	k.durable.Store(at)
	k.mu.Lock()
	k.lastSync = time.Since(began)
	k.mu.Unlock()
	k.tell()
}

// fail notes that the append file is not good any more: after a failed sync nobody knows what of it is on the disk. Commands
// that write are refused until it has been written anew, from memory.
func (k *keeper) fail(err error) {
	k.mu.Lock()
	if k.broken == nil {
		k.log.Error("the append file is no longer kept up: commands that write are refused until it could be written anew", "error", err)
	}
	k.broken = err
	k.jobs.wantRewrite = true
	k.mu.Unlock()
	wake(k.work)
	k.tell()
}

// refused says why nothing may be written now that the append file is broken.
func (k *keeper) refused() string {
	return "MISCONF Errors writing to the AOF file: " + k.broken.Error()
}

// run syncs, rewrites and takes snapshots until ctx ends; then it syncs what there is and closes the files.
func (k *keeper) run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { k.runJobs(ctx) })
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for ctx.Err() == nil {
		select {
		case <-k.commit:
			k.sync()
		case <-second.C:
			k.mu.Lock()
			policy := k.policy
			k.mu.Unlock()
			if policy != appendNo { // with always, what no client waits for: a replica's changes
				k.sync()
			}
			k.schedule(time.Now())
		case <-ctx.Done():
		}
	}
	group.Wait()
	return nil
}

// close syncs and closes the file, when nothing changes any more. Where only snapshots are kept, one is written.
func (k *keeper) close() (err error) {
	switch {
	case !k.appends():
		if k.cfg.Snapshot > 0 && k.store.Changes != k.jobs.savedChanges {
			err = k.save(context.Background())
		}
	case k.broken != nil:
		err = fmt.Errorf("the append file was not kept up: %w", errors.Join(k.broken, k.file.Abandon()))
	default:
		k.writing.Lock()
		_, err = k.append()
		k.writing.Unlock()
		if also := k.file.Close(); also != nil {
			err = errors.Join(err, fmt.Errorf("closing the append file: %w", also))
		}
	}
	return errors.Join(err, k.unlock())
}
