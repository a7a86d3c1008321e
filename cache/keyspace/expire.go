package keyspace

import "github.com/banyanhq/banyan/cache/arena"

// Sweep looks at up to n buckets of the databases for keys that have expired and removes them. It reports the keys that
// it saw with an expiry, and how many of them had expired.
func (s *Store) Sweep(n int) (seen, expired int) {
	if s.passive {
		return 0, 0
	}
	for empty := 0; n > 0 && empty < len(s.dbs); {
		db := &s.dbs[s.swept]
		if db.volatile == 0 {
			s.nextSweep()
			empty++
			continue
		}
		empty = 0
		s.batch = s.batch[:0]
		s.cursor = s.scan(&db.keys, s.cursor, func(ref arena.Ref) {
			if r := s.rec(ref); r.flags()&hasExpiry != 0 {
				seen++
				if *r.expiry() <= s.now {
					s.batch = append(s.batch, ref)
				}
			}
		})
		n--
		for _, ref := range s.batch {
			r := s.rec(ref)
			hash := s.hash(r.key())
			db.expire(db.find(r.key(), hash), r, hash)
			expired++
		}
		if s.cursor == 0 {
			s.nextSweep()
		}
	}
	return seen, expired
}

func (s *Store) nextSweep() { s.swept, s.cursor = (s.swept+1)%len(s.dbs), 0 }

// garbage is a value that was deleted and is too large to be freed at once.
type garbage struct {
	kind Kind
	ref  arena.Ref
}

// freeAtOnce is the number of elements up to which a value is freed at once.
const freeAtOnce = 64

// freeObject frees a value, later if it is large.
func (s *Store) freeObject(kind Kind, ref arena.Ref) {
	g := garbage{kind, ref}
	if kind == List || kind == StreamKind || s.fieldsAt(kind, ref).n <= freeAtOnce {
		if s.freeSome(g, freeAtOnce) {
			return
		}
	}
	s.garbage = append(s.garbage, g)
}

// fieldsAt is the table of a value that has one.
func (s *Store) fieldsAt(kind Kind, ref arena.Ref) *table {
	if kind == SortedSet {
		return &(*ranking)(s.At(ref)).members
	}
	return (*table)(s.At(ref))
}

// freeSome frees up to about n elements of a value and reports whether nothing of it is left.
func (s *Store) freeSome(g garbage, n int) bool {
	switch g.kind {
	case List:
		l := (*list)(s.At(g.ref))
		for ; l.n > 0 && n > 0; n-- {
			s.listRemove(l, l.head, 0)
		}
		if l.n > 0 {
			return false
		}
		s.Free(g.ref, listSize)
	case StreamKind:
		return s.freeStream(g.ref, n)
	case SortedSet:
		z := (*ranking)(s.At(g.ref))
		for ; z.members.n > 0 && n > 0; n-- {
			s.rankingRemove(z, s.node(s.node(z.head).levels()[0].next))
		}
		if z.members.n > 0 {
			return false
		}
		z.members.leaving()
		s.freeTable(&z.members, 1<<30)
		s.Free(z.head, s.node(z.head).blockLen())
		s.Free(g.ref, rankingSize)
	default:
		t := (*table)(s.At(g.ref))
		t.leaving()
		if !s.freeTable(t, (n+growAbove-1)/growAbove) {
			return false
		}
		s.Free(g.ref, tableSize)
	}
	return true
}

// Tidy frees up to about n elements of values that were deleted, and has tables that grow or shrink take a step. It
// reports whether there is more to be done.
func (s *Store) Tidy(n int) bool {
	more := false
	if k := len(s.garbage); k > 0 {
		if s.freeSome(s.garbage[k-1], n) {
			s.garbage = s.garbage[:k-1]
		}
		more = len(s.garbage) > 0
	}
	for i := range s.dbs {
		if t := &s.dbs[i].keys; t.moving {
			s.step(t, n/8+1)
			more = more || t.moving
		}
	}
	return more
}
