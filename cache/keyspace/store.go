package keyspace

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"

	"github.com/banyanhq/banyan/cache/arena"
	"github.com/banyanhq/banyan/cache/slot"
	"github.com/banyanhq/banyan/policy"
)

// Config of a Store.
type Config struct {
	// Databases that there are. Default: 16.
	Databases int
	// Reserve is how much the store can grow to whatever its limit. Default: what an arena can hold.
	Reserve int64
	// Gone is told of keys that went because they expired or were evicted, before they do. Default: nobody.
	Gone func(db int, key []byte, why Reason)
	// CountSlots has keys be counted by hash slot.
	CountSlots bool
}

// Reason for which a key went without being deleted.
type Reason uint8

// The reasons.
const (
	Expired Reason = iota
	Evicted
)

// Eviction says which keys may be evicted.
type Eviction uint8

// The choices.
const (
	EvictNone Eviction = iota
	EvictAll
	EvictVolatile // those that have an expiry
)

// Counters of a Store.
type Counters struct{ Hits, Misses, Expired, Evicted int64 }

// Store is a set of databases in one arena.
type Store struct {
	heap
	Counters
	cfg      Config
	dbs      []DB
	now      int64
	ttl      int64 // that keys get which are stored without an expiry; 0: none
	limit    int64
	eviction Eviction
	policy   *policy.TinyLFU
	holders  [][]holder // by number in the policy: which key that is
	held     int        // numbers that there is room for
	adopting int        // database whose keys are being made known to the policy; len(dbs): none
	adopted  uint64     // cursor within it
	garbage  []garbage
	rng      *rand.Rand
	swept    int // database that expiry looks at
	cursor   uint64
	batch    []arena.Ref

	// Changes is how often anything was changed since the store was made.
	Changes    int64
	writesDown bool
	notes      notes
	taken      int64 // bytes of notes
	dumping    int   // dumps that are being written
	swaps      int64 // how often databases were exchanged
	tags       tags
	traffic    traffic
	slots      []int32 // keys by hash slot; nil: they are not counted
	passive    bool
	packing    []byte   // scratch memory for an entry of a stream
	fields     [][]byte // likewise
}

type holder struct {
	ref arena.Ref
	db  uint8
}

// DB is one database.
type DB struct {
	s        *Store
	index    uint8
	keys     table
	volatile int // keys that have an expiry
}

// New returns an empty store. It is freed by Close.
func New(cfg Config) (*Store, error) {
	if cfg.Databases == 0 {
		cfg.Databases = 16
	}
	if cfg.Databases < 1 || cfg.Databases > 256 {
		return nil, fmt.Errorf("%d databases: want 1 to 256", cfg.Databases)
	}
	if cfg.Reserve == 0 {
		cfg.Reserve = arena.MaxSize
	}
	if cfg.Gone == nil {
		cfg.Gone = func(int, []byte, Reason) {}
	}
	a, err := arena.New(cfg.Reserve)
	if err != nil {
		return nil, err
	}
	s := &Store{heap: heap{Arena: a, seed: maphash.MakeSeed()}, cfg: cfg, dbs: make([]DB, cfg.Databases)}
	s.rng = rand.New(rand.NewPCG(s.hash([]byte("one")), s.hash([]byte("two"))))
	for i := range s.dbs {
		s.dbs[i] = DB{s: s, index: uint8(i)}
	}
	s.adopting = len(s.dbs)
	if cfg.CountSlots {
		s.slots = make([]int32, slot.Count)
	}
	s.newTraffic()
	return s, nil
}

// Databases is how many there are.
func (s *Store) Databases() int { return len(s.dbs) }

// DB returns a database.
func (s *Store) DB(i int) *DB { return &s.dbs[i] }

// SetNow sets the time by which keys expire, in milliseconds since 1970.
func (s *Store) SetNow(ms int64) { s.now = ms }

// SetTTL sets after how many milliseconds keys expire that are stored without an expiry. 0: never.
func (s *Store) SetTTL(ms int64) { s.ttl = ms }

// Now is what SetNow was last given.
func (s *Store) Now() int64 { return s.now }

// SetLimit sets how much memory the store may take (0: any), and which keys are evicted to keep to that.
func (s *Store) SetLimit(limit int64, e Eviction) {
	if limit == 0 {
		e = EvictNone
	}
	s.limit = limit
	if e == s.eviction {
		return
	}
	if s.policy != nil {
		s.forgetSlots()
	}
	s.eviction = e
	s.policy, s.holders, s.held, s.adopting = nil, nil, 0, len(s.dbs)
	if e != EvictNone {
		s.policy, s.adopting, s.adopted = policy.NewTinyLFU(), 0, 0
	}
	s.newTraffic()
}

// forgetSlots has every key forget its number.
func (s *Store) forgetSlots() {
	for i := range s.dbs {
		s.each(&s.dbs[i].keys, func(ref arena.Ref) bool {
			if r := s.rec(ref); r.flags()&hasSlot != 0 {
				*r.slot() = policy.NoEntry
			}
			return true
		})
	}
}

// Limit is how much memory the store may take; 0: any.
func (s *Store) Limit() int64 { return s.limit }

// Used is the memory that the store takes: all blocks, and what is known of each page and key beside.
func (s *Store) Used() int64 {
	used := s.Arena.Used() + s.Arena.Overhead() + s.tags.bytes
	if s.policy != nil {
		used += s.policy.Bytes() + int64(s.held)*8
	}
	if s.traffic.curve != nil {
		used += s.traffic.curve.Bytes()
	}
	return used
}

// Window is the share of keys that the eviction policy keeps because they are new; 0 where nothing is evicted.
func (s *Store) Window() float64 {
	if s.policy == nil {
		return 0
	}
	return s.policy.Window()
}

// Over reports whether the store would take more than its limit with n bytes more.
func (s *Store) Over(n int) bool {
	used := s.Used() + int64(n)
	return s.limit > 0 && used > s.limit || int64(n)*2+64<<10 > s.Room()
}

// maxEvictions bounds how many keys are evicted at a time.
const maxEvictions = 256

// Evict evicts keys until the store keeps to its limit with n bytes more. It reports whether it does; false also where
// it has done enough for once, and can go on.
func (s *Store) Evict(n int) bool {
	for range maxEvictions {
		if !s.Over(n) {
			return true
		}
		if len(s.garbage) > 0 {
			s.Tidy(64)
			continue
		}
		if s.policy == nil {
			return false
		}
		if s.adopting < len(s.dbs) {
			s.adopt()
		}
		v := s.policy.Victim()
		if v == policy.NoEntry {
			if s.adopting < len(s.dbs) {
				continue
			}
			return false
		}
		h := s.holder(v)
		key := s.rec(h.ref).key()
		s.Evicted++
		s.cfg.Gone(int(h.db), key, Evicted)
		db := &s.dbs[h.db]
		db.noteDelete(key)
		hash := s.hash(key)
		db.drop(db.find(key, hash), hash)
	}
	return !s.Over(n)
}

// CanEvict reports whether there is a key that could be evicted.
func (s *Store) CanEvict() bool {
	return len(s.garbage) > 0 || s.policy != nil && (s.policy.Len() > 0 || s.adopting < len(s.dbs))
}

// adopt makes keys known to the policy that were there before it.
func (s *Store) adopt() {
	db := &s.dbs[s.adopting]
	s.batch = s.batch[:0]
	for range 16 {
		s.adopted = s.scan(&db.keys, s.adopted, func(ref arena.Ref) { s.batch = append(s.batch, ref) })
		if s.adopted == 0 {
			s.adopting++
			break
		}
	}
	for _, ref := range s.batch {
		r := s.rec(ref)
		if r.flags()&hasSlot != 0 && *r.slot() != policy.NoEntry || s.eviction == EvictVolatile && r.flags()&hasExpiry == 0 {
			continue
		}
		hash := s.hash(r.key())
		p := s.find(&db.keys, r.key(), hash)
		if r.flags()&hasSlot == 0 {
			ref = db.relayout(p, r.flags()|hasSlot, len(r.value()))
			r = s.rec(ref)
		}
		s.hold(db, r, ref, hash)
	}
}

// hold makes a key known to the policy.
func (s *Store) hold(db *DB, r *record, ref arena.Ref, hash uint64) {
	slot := s.policy.Add(hash)
	*r.slot() = slot
	for int(slot) >= s.held {
		s.holders = append(s.holders, make([]holder, holdersLen))
		s.held += holdersLen
	}
	*s.holder(slot) = holder{ref, db.index}
}

const holdersLen = 1 << 12

func (s *Store) holder(slot uint32) *holder { return &s.holders[slot/holdersLen][slot%holdersLen] }

// Flush removes all keys of all databases. The memory is given back by the function that it returns, which may take a
// while and may be called by anybody, once.
func (s *Store) Flush() (release func() error, err error) {
	fresh, err := arena.New(s.cfg.Reserve)
	if err != nil {
		return nil, err
	}
	old := s.Arena
	s.Arena = fresh
	for i := range s.dbs {
		s.dbs[i] = DB{s: s, index: uint8(i)}
	}
	s.garbage = nil
	if s.policy != nil {
		s.policy, s.holders, s.held = policy.NewTinyLFU(), nil, 0
	}
	s.adopting, s.adopted, s.cursor = len(s.dbs), 0, 0
	s.tags = tags{}
	clear(s.slots)
	s.newTraffic()
	if s.noting() {
		s.notes.head(changeFlush, 0, nil)
	}
	return old.Close, nil
}

// Close frees the store.
func (s *Store) Close() error { return s.Arena.Close() }

// Random returns a random number below n.
func (s *Store) Random(n uint64) uint64 { return s.rng.Uint64N(n) }
