package httpcache

import (
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/policy"
)

const (
	shards = 64
	// maxVariants is how many answers of one resource are kept.
	maxVariants = 64
	// markTime is how long an answer that could not be stored lets requests for the same pass side by side; maxMarks how
	// many such are remembered.
	markTime = 30 * time.Second
	maxMarks = 1 << 16
)

// store keeps objects in memory, within a budget. Looking one up takes a read lock of a shard and no more.
type store struct {
	seed   maphash.Seed
	shards [shards]shard

	mu      sync.Mutex // taken before a shard's
	evictor *policy.Evictor
	tags    map[string]map[*object]struct{}

	objects, bytes, evictions atomic.Int64
	onEvict                   func(*object)
}

type shard struct {
	mu        sync.RWMutex
	resources map[string][]*object // the lists do not change
	marks     map[string]mark
}

// mark remembers a resource whose last answer could not be stored, or what its answers vary by.
type mark struct {
	until time.Time
}

func newStore(budget int64) *store {
	s := &store{seed: maphash.MakeSeed(), evictor: policy.NewEvictor(budget), tags: map[string]map[*object]struct{}{}}
	for i := range s.shards {
		s.shards[i].resources = map[string][]*object{}
		s.shards[i].marks = map[string]mark{}
	}
	return s
}

func (s *store) shard(resource []byte) *shard {
	return &s.shards[maphash.Bytes(s.seed, resource)%shards]
}

// variants returns what is stored of a resource; the caller must not change the list.
func (s *store) variants(resource []byte) []*object {
	sh := s.shard(resource)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.resources[string(resource)]
}

// marked reports whether requests for a resource should not wait for each other.
func (s *store) marked(resource []byte, now time.Time) bool {
	sh := s.shard(resource)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	m, ok := sh.marks[string(resource)]
	return ok && now.Before(m.until)
}

func (s *store) mark(resource string, now time.Time) {
	sh := s.shard([]byte(resource))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.marks[resource]; !ok && len(sh.marks) >= maxMarks/shards {
		for k := range sh.marks { // any: they are short-lived hints
			delete(sh.marks, k)
			break
		}
	}
	sh.marks[resource] = mark{until: now.Add(markTime)}
}

// pick returns the stored answer that a request selects, nil if there is none, and all that its resource has.
func (s *store) pick(resource, parts []byte, h http.Header) (best *object, all []*object) {
	all = s.variants(resource)
	for _, o := range all {
		if o.matches(parts, h) {
			best = newest(best, o)
		}
	}
	return best, all
}

// put stores an object in place of those of the same variant.
func (s *store) put(n *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shard([]byte(n.resource))
	sh.mu.Lock()
	old := sh.resources[n.resource]
	next := make([]*object, 0, len(old)+1)
	var gone []*object
	for _, o := range old {
		if o.sameVariant(n) {
			gone = append(gone, o)
		} else {
			next = append(next, o)
		}
	}
	if len(next) >= maxVariants {
		oldest := slices.MinFunc(next, func(a, b *object) int { return a.fresh.received.Compare(b.fresh.received) })
		gone = append(gone, oldest)
		next = slices.DeleteFunc(next, func(o *object) bool { return o == oldest })
	}
	sh.resources[n.resource] = append(next, n)
	delete(sh.marks, n.resource)
	sh.mu.Unlock()
	for _, o := range gone {
		s.forget(o)
	}
	s.count(n, 1)
	for _, t := range n.tags {
		if s.tags[t] == nil {
			s.tags[t] = map[*object]struct{}{}
		}
		s.tags[t][n] = struct{}{}
	}
	if len(gone) > 0 {
		s.evictor.Replace(&gone[0].Cached, &n.Cached)
	} else {
		s.evictor.Add(&n.Cached)
	}
	for _, o := range gone[min(1, len(gone)):] {
		s.evictor.Remove(&o.Cached)
	}
	for {
		victim := s.evictor.Evict()
		if victim == nil {
			return
		}
		o := victim.Owner.(*object)
		s.unlink(o)
		s.forget(o)
		s.evictions.Add(1)
		if o.route != nil {
			o.route.evictions.Add(1)
		}
		if s.onEvict != nil {
			s.onEvict(o)
		}
	}
}

func (s *store) count(o *object, n int64) {
	s.objects.Add(n)
	s.bytes.Add(n * o.Size)
	if o.route != nil {
		o.route.objects.Add(n)
		o.route.stored.Add(n * o.Size)
	}
}

// forget takes an object out of the counts and the tags. The caller holds the mutex.
func (s *store) forget(o *object) {
	s.count(o, -1)
	for _, t := range o.tags {
		delete(s.tags[t], o)
		if len(s.tags[t]) == 0 {
			delete(s.tags, t)
		}
	}
}

// unlink takes an object out of its resource. The caller holds the mutex.
func (s *store) unlink(o *object) (was bool) {
	sh := s.shard([]byte(o.resource))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.resources[o.resource]
	i := slices.Index(old, o)
	if i < 0 {
		return false
	}
	if len(old) == 1 {
		delete(sh.resources, o.resource)
	} else {
		sh.resources[o.resource] = slices.Concat(old[:i:i], old[i+1:])
	}
	return true
}

// drop removes an object, if it is still there.
func (s *store) drop(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(o)
}

func (s *store) dropLocked(o *object) bool {
	if !s.unlink(o) {
		return false
	}
	s.forget(o)
	s.evictor.Remove(&o.Cached)
	return true
}

// purge removes the objects that are selected, or marks them stale, and returns how many. candidates yields them.
func (s *store) purge(candidates []*object, soft bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range candidates {
		if !soft {
			if s.dropLocked(o) {
				n++
			}
			continue
		}
		if o.expired {
			continue
		}
		e := o.replace(o.header, o.fresh)
		e.expired = true
		if s.swap(o, e) {
			n++
		}
	}
	return n
}

// swap puts one object in another's place, if that is still there. The caller holds the mutex.
func (s *store) swap(o, e *object) bool {
	sh := s.shard([]byte(o.resource))
	sh.mu.Lock()
	old := sh.resources[o.resource]
	i := slices.Index(old, o)
	if i >= 0 {
		next := slices.Clone(old)
		next[i] = e
		sh.resources[o.resource] = next
	}
	sh.mu.Unlock()
	if i < 0 {
		return false
	}
	s.forget(o)
	s.count(e, 1)
	for _, t := range e.tags {
		if s.tags[t] == nil {
			s.tags[t] = map[*object]struct{}{}
		}
		s.tags[t][e] = struct{}{}
	}
	s.evictor.Replace(&o.Cached, &e.Cached)
	return true
}

// tagged returns the objects that have a tag.
func (s *store) tagged(tag string) []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*object, 0, len(s.tags[tag]))
	for o := range s.tags[tag] {
		out = append(out, o)
	}
	return out
}

// under returns the objects whose host and path are asked for: host empty: any. path is whole, or a beginning where
// prefix is set; with a query only that.
func (s *store) under(host, path string, prefix bool) []*object {
	var out []*object
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for resource, list := range sh.resources {
			if matchesPath(resource, host, path, prefix) {
				out = append(out, list...)
			}
		}
		sh.mu.RUnlock()
	}
	return out
}

// matchesPath reports whether a resource is one of those that a purge asks for.
func matchesPath(resource, host, path string, prefix bool) bool {
	i := strings.IndexByte(resource, '/')
	if i < 0 {
		return false
	}
	if host != "" && resource[:i] != host {
		return false
	}
	rest := resource[i:]
	if prefix {
		return strings.HasPrefix(rest, path)
	}
	if !strings.Contains(path, "?") {
		rest, _, _ = strings.Cut(rest, "?")
	}
	return rest == path
}
