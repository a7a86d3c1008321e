package httpcache

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// disk is the second tier: each stored answer is a file of its own, which is written beside the requests, and read when
// memory has lost it. A file is a head, the body, and a checksum of both; what does not add up counts as not being
// there. Nothing is synced: a file that a crash has torn is found by its checksum.
type disk struct {
	dir   string
	limit int64
	wake  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	byRes   map[string][]*entry
	order   *list.List // of *entry, the latest used in front
	bytes   int64
	pending map[string]*object // to be written, by file name
	queue   []string
	closing bool
	opened  bool
	// What was removed before the folder was open: what is found there is held against it.
	early    []func(e *entry) bool
	earlyAll bool

	leaving chan struct{} // closed by the first close
	ready   chan struct{} // closed once the folder is open, or never will be
	soon    time.Time     // until when requests wait for that
	unlock  func()        // lets another cache have the folder; nil until it is open
}

// entry is one file.
type entry struct {
	resource, variant string
	parts             string
	names, values     []string
	tags              []string
	file              string // without the folder
	size              int64
	expired           bool
	at                *list.Element
}

const (
	diskMagic     = "BANYANC2"
	maxDiskHead   = 1 << 20
	maxPending    = 512
	expiredSuffix = ".stale"
	tempSuffix    = ".tmp"
)

// diskHead is what a file holds beside the body.
type diskHead struct {
	Resource string        `json:"resource"`
	Parts    string        `json:"parts"`
	Names    []string      `json:"names"`
	Values   []string      `json:"values"`
	Status   int           `json:"status"`
	Header   http.Header   `json:"header"`
	Body     int64         `json:"body"`
	Date     time.Time     `json:"date"`
	Received time.Time     `json:"received"`
	Age      time.Duration `json:"age"`
	Lifetime time.Duration `json:"lifetime"`
	Took     time.Duration `json:"took"`
	Flags    [3]bool       `json:"flags"`
	SWR      time.Duration `json:"swr"`
	SIE      time.Duration `json:"sie"`
}

// variant names what tells the object from the others of its resource.
func (o *object) variant() string { return variantName(o.parts, o.names, o.values) }

func variantName(parts string, names, values []string) string {
	var b []byte
	b = appendValue(b, parts)
	for i := range names {
		b = appendValue(appendValue(b, names[i]), values[i])
	}
	return string(b)
}

func diskFile(resource, variant string) string {
	sum := sha256.Sum256([]byte(resource + "\x00" + variant))
	return hex.EncodeToString(sum[:16])
}

// newDisk returns the tier of a folder, which holds nothing until it is opened.
func newDisk(dir string, limit int64) *disk {
	return &disk{dir: dir, limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{}), leaving: make(chan struct{}), ready: make(chan struct{}),
		byRes: map[string][]*entry{}, order: list.New(), pending: map[string]*object{}}
}

// errInUse means that another cache has the folder.
var errInUse = errors.New("another gateway that runs has it")

// open locks the folder and takes stock of what is there.
func (d *disk) open() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("httpcache: opening the disk tier: %w", err)
	}
	unlock, err := lockDir(d.dir)
	if err != nil {
		return fmt.Errorf("httpcache: opening the disk tier %s: %w", d.dir, err)
	}
	all, err := d.scan()
	if err != nil {
		unlock()
		return fmt.Errorf("httpcache: reading the disk tier: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlock = unlock
	for _, e := range all {
		if d.outdated(e) {
			_ = os.Remove(filepath.Join(d.dir, e.file)) // at worst a later scan finds it
			continue
		}
		d.insert(e)
	}
	d.trim()
	d.opened, d.early, d.earlyAll = true, nil, false
	close(d.ready)
	return nil
}

// openPatience is how long requests wait for a folder to be left and opened, all together: asking the origin for what is
// kept there would be slower, and all at once more than it can bear.
const openPatience = 2 * time.Second

// await waits for the folder to be open, if that is to be soon.
func (d *disk) await() {
	select {
	case <-d.ready:
		return
	default:
	}
	timer := time.NewTimer(time.Until(d.soon))
	defer timer.Stop()
	select {
	case <-d.ready:
	case <-timer.C:
	}
}

// lockPause is the pause between two looks whether a folder has been left.
const lockPause = 5 * time.Millisecond

// openLater opens the folder once it has been left, and then writes until close.
func (d *disk) openLater(log *slog.Logger) {
	tick := time.NewTicker(lockPause)
	defer tick.Stop()
	for {
		err := d.open()
		if err == nil {
			d.run()
			return
		}
		if !errors.Is(err, errInUse) {
			log.Error("the cache has no disk tier", "error", err)
			close(d.ready)
			<-d.leaving
			close(d.done)
			return
		}
		select {
		case <-d.leaving:
			close(d.done)
			return
		case <-tick.C:
		}
	}
}

// maxEarly is how many removals are remembered until the folder is open; after more, nothing that it holds is used.
const maxEarly = 1000

// before remembers what was removed before it was known what there is. The caller holds the mutex.
func (d *disk) before(which func(e *entry) bool) {
	switch {
	case d.opened || d.earlyAll:
	case len(d.early) < maxEarly:
		d.early = append(d.early, which)
	default:
		d.early, d.earlyAll = nil, true
	}
}

// outdated reports whether an entry was removed before it was found. The caller holds the mutex.
func (d *disk) outdated(e *entry) bool {
	return d.earlyAll || slices.ContainsFunc(d.early, func(which func(*entry) bool) bool { return which(e) })
}

// scan returns an entry for each file, the latest written last, and removes what is no good.
func (d *disk) scan() ([]*entry, error) {
	type found struct {
		entry *entry
		when  time.Time
	}
	var all []found
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil // gone meanwhile, or not ours
		}
		rel, err := filepath.Rel(d.dir, path)
		if err != nil || rel == lockFile {
			return err
		}
		if strings.HasSuffix(rel, tempSuffix) {
			return os.Remove(path)
		}
		head, ok := readHead(path, info.Size())
		if !ok {
			return os.Remove(path)
		}
		n := &entry{resource: head.Resource, parts: head.Parts, names: head.Names, values: head.Values, tags: tagsOf(head.Header),
			file: rel, size: info.Size(), expired: strings.HasSuffix(rel, expiredSuffix)}
		n.variant = variantName(n.parts, n.names, n.values)
		all = append(all, found{n, info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b found) int { return a.when.Compare(b.when) })
	entries := make([]*entry, len(all))
	for i, f := range all {
		entries[i] = f.entry
	}
	return entries, nil
}

// readHead reads a file's head only.
func readHead(path string, size int64) (diskHead, bool) {
	var head diskHead
	f, err := os.Open(path)
	if err != nil {
		return head, false
	}
	defer f.Close()
	var fixed [len(diskMagic) + 4]byte
	if _, err := io.ReadFull(f, fixed[:]); err != nil || string(fixed[:len(diskMagic)]) != diskMagic {
		return head, false
	}
	n := binary.BigEndian.Uint32(fixed[len(diskMagic):])
	if n > maxDiskHead {
		return head, false
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f, text); err != nil || json.Unmarshal(text, &head) != nil || len(head.Names) != len(head.Values) {
		return head, false
	}
	return head, head.Body >= 0 && size == int64(len(fixed))+int64(n)+head.Body+sha256.Size
}

// encode writes an object as a file's content.
func encode(o *object) ([]byte, error) {
	f := &o.fresh
	head, err := json.Marshal(diskHead{
		Resource: o.resource, Parts: o.parts, Names: o.names, Values: o.values, Status: o.status, Header: o.header, Body: int64(len(o.body)),
		Date: f.date, Received: f.received, Age: f.initialAge, Lifetime: f.lifetime, Took: f.took, SWR: f.swr, SIE: f.sie,
		Flags: [3]bool{f.heuristic, f.noCache, f.mustRevalidate},
	})
	if err != nil || len(head) > maxDiskHead {
		return nil, errors.New("the head is too large")
	}
	b := make([]byte, 0, len(diskMagic)+4+len(head)+len(o.body)+sha256.Size)
	b = append(b, diskMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	b = append(b, o.body...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// decode reads it back; ok is false where anything is not as it was written.
func decode(b []byte) (o *object, ok bool) {
	const fixed = len(diskMagic) + 4
	if len(b) < fixed+sha256.Size || string(b[:len(diskMagic)]) != diskMagic {
		return nil, false
	}
	content := b[:len(b)-sha256.Size]
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], b[len(content):]) {
		return nil, false
	}
	n := int64(binary.BigEndian.Uint32(b[len(diskMagic):]))
	var head diskHead
	if n > maxDiskHead || int64(fixed)+n > int64(len(content)) || json.Unmarshal(content[fixed:int64(fixed)+n], &head) != nil {
		return nil, false
	}
	body := content[int64(fixed)+n:]
	if int64(len(body)) != head.Body || len(head.Names) != len(head.Values) || head.Status < 200 || head.Status > 599 || head.Header == nil {
		return nil, false
	}
	o = &object{resource: head.Resource, parts: head.Parts, names: head.Names, values: head.Values, status: head.Status,
		header: clipped(head.Header), body: body, tag: etagOf(head.Header), tags: tagsOf(head.Header)}
	o.fresh = freshness{date: head.Date, received: head.Received, initialAge: head.Age, lifetime: head.Lifetime, took: head.Took,
		heuristic: head.Flags[0], noCache: head.Flags[1], mustRevalidate: head.Flags[2],
		swr: head.SWR, sie: head.SIE}
	o.weigh()
	return o, true
}

// insert indexes an entry in front. The caller holds the mutex.
func (d *disk) insert(e *entry) {
	d.byRes[e.resource] = append(d.byRes[e.resource], e)
	e.at = d.order.PushFront(e)
	d.bytes += e.size
}

// forget takes an entry out of the index, and its file away. The caller holds the mutex.
func (d *disk) forget(e *entry) {
	d.unindex(e)
	_ = os.Remove(filepath.Join(d.dir, e.file)) // at worst a later scan finds it, and the budget is exceeded until then
}

func (d *disk) unindex(e *entry) {
	rest := slices.DeleteFunc(d.byRes[e.resource], func(o *entry) bool { return o == e })
	if len(rest) == 0 {
		delete(d.byRes, e.resource)
	} else {
		d.byRes[e.resource] = rest
	}
	d.order.Remove(e.at)
	d.bytes -= e.size
}

// trim keeps the budget. The caller holds the mutex.
func (d *disk) trim() {
	for d.bytes > d.limit && d.order.Len() > 0 {
		d.forget(d.order.Back().Value.(*entry))
	}
}

// write has an object written. Where too many wait for that it is not, and an older one goes.
func (d *disk) write(o *object) {
	name := diskFile(o.resource, o.variant())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return
	}
	if _, waits := d.pending[name]; !waits {
		if len(d.pending) >= maxPending {
			for _, e := range slices.Clone(d.byRes[o.resource]) {
				if e.variant == o.variant() {
					d.forget(e)
				}
			}
			return
		}
		d.queue = append(d.queue, name)
	}
	d.pending[name] = o
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run writes what is pending until close.
func (d *disk) run() {
	defer close(d.done)
	for range d.wake {
		for {
			d.mu.Lock()
			if len(d.queue) == 0 {
				closing := d.closing
				d.mu.Unlock()
				if closing {
					return
				}
				break
			}
			name := d.queue[0]
			d.queue = d.queue[1:]
			o := d.pending[name]
			d.mu.Unlock()
			if o != nil {
				d.writeFile(name, o)
			}
		}
	}
}

// writeFile writes one object, under a name that says nothing until it is whole.
func (d *disk) writeFile(name string, o *object) {
	b, err := encode(o)
	file := filepath.Join(name[:2], name)
	path := filepath.Join(d.dir, file)
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path+tempSuffix, b, 0o600)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending[name] != o { // purged, or a newer one waits
		_ = os.Remove(path + tempSuffix)
		if d.pending[name] != nil {
			d.queue = append(d.queue, name)
		}
		return
	}
	delete(d.pending, name)
	for _, e := range slices.Clone(d.byRes[o.resource]) {
		if e.variant == o.variant() {
			d.forget(e)
		}
	}
	if err == nil {
		err = os.Rename(path+tempSuffix, path)
	}
	if err != nil {
		_ = os.Remove(path + tempSuffix) // a full disk makes a smaller cache, no failure
		return
	}
	d.insert(&entry{resource: o.resource, variant: o.variant(), parts: o.parts, names: o.names, values: o.values, tags: o.tags, file: file, size: int64(len(b))})
	d.trim()
}

// load brings what is stored for a request back by put, and reports whether anything was.
func (d *disk) load(resource, parts []byte, h http.Header, put func(*object)) bool {
	d.await()
	d.mu.Lock()
	var e *entry
	for _, c := range d.byRes[string(resource)] {
		if c.parts == string(parts) && matchesValues(c.names, c.values, h) {
			e = c
		}
	}
	for _, o := range d.pending {
		if e == nil && o != nil && o.resource == string(resource) && o.matches(parts, h) {
			put(o.replace(o.header, o.fresh))
			d.mu.Unlock()
			return true
		}
	}
	if e == nil {
		d.mu.Unlock()
		return false
	}
	path := filepath.Join(d.dir, e.file)
	d.mu.Unlock()
	b, err := os.ReadFile(path) // no larger than what was stored; checked below
	o, ok := (*object)(nil), false
	if err == nil && int64(len(b)) == e.size {
		o, ok = decode(b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.byRes[string(resource)], e) {
		return false // purged or replaced meanwhile
	}
	if !ok || o.resource != e.resource || o.variant() != e.variant {
		d.forget(e)
		return false
	}
	d.order.MoveToFront(e.at)
	o.expired = e.expired
	put(o)
	return true
}

func matchesValues(names, values []string, h http.Header) bool {
	for i, name := range names {
		if normalised(name, h[name]) != values[i] {
			return false
		}
	}
	return true
}

// remove takes away what is selected.
func (d *disk) remove(which func(e *entry) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before(which)
	for name, o := range d.pending {
		if o != nil && which(&entry{resource: o.resource, variant: o.variant(), tags: o.tags}) {
			delete(d.pending, name)
		}
	}
	for el := d.order.Front(); el != nil; {
		e := el.Value.(*entry)
		el = el.Next()
		if which(e) {
			d.forget(e)
		}
	}
}

// removeResource is remove for one resource, without looking at all.
func (d *disk) removeResource(resource, variant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before(func(e *entry) bool { return e.resource == resource && (variant == "" || e.variant == variant) })
	for name, o := range d.pending {
		if o != nil && o.resource == resource && (variant == "" || o.variant() == variant) {
			delete(d.pending, name)
		}
	}
	for _, e := range slices.Clone(d.byRes[resource]) {
		if variant == "" || e.variant == variant {
			d.forget(e)
		}
	}
}

// expire makes what is selected stale, so that a restart knows it too.
func (d *disk) expire(which func(e *entry) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before(which) // what is not known yet is gone for good
	for name, o := range d.pending {
		if o != nil && which(&entry{resource: o.resource, variant: o.variant(), tags: o.tags}) {
			delete(d.pending, name) // memory has it, and is told; on disk it is no more
		}
	}
	for el := d.order.Front(); el != nil; el = el.Next() {
		e := el.Value.(*entry)
		if !which(e) || e.expired {
			continue
		}
		if os.Rename(filepath.Join(d.dir, e.file), filepath.Join(d.dir, e.file+expiredSuffix)) == nil {
			e.file += expiredSuffix
		}
		e.expired = true
	}
}

// close writes what is pending, lets go of the folder, and returns when that is done. What it held can still be read.
func (d *disk) close() {
	d.mu.Lock()
	first := !d.closing
	d.closing = true
	d.mu.Unlock()
	if first {
		close(d.leaving)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	<-d.done
	if first && d.unlock != nil {
		d.unlock()
	}
}
