package keyspace

import (
	"bytes"
	"math/bits"
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// ranking is a sorted set: its members by name, each with the node of a skip list that holds its score (W. Pugh, Skip
// Lists, 1990). Links of the list know how many nodes they pass, so that ranks are found as quickly as scores.
type ranking struct {
	members table
	head    arena.Ref // a node that is no member
	tail    arena.Ref // 0: empty
	level   uint32
}

// rankNode is the head of a node; its levels follow.
type rankNode struct {
	score  float64
	member arena.Ref
	back   arena.Ref
	height uint32
	_      uint32
}

type rankLevel struct {
	next arena.Ref
	span uint32
}

const (
	rankingSize  = int(unsafe.Sizeof(ranking{}))
	rankNodeHead = int(unsafe.Sizeof(rankNode{}))
	maxHeight    = 24
)

func (n *rankNode) blockLen() int { return rankNodeHead + 8*int(n.height) }

func (n *rankNode) levels() []rankLevel {
	return unsafe.Slice((*rankLevel)(unsafe.Add(unsafe.Pointer(n), rankNodeHead)), n.height)
}

func (s *Store) node(ref arena.Ref) *rankNode { return (*rankNode)(s.At(ref)) }

func (s *Store) newRankNode(height int) arena.Ref {
	ref := s.Alloc(rankNodeHead + 8*height)
	n := s.node(ref)
	*n = rankNode{height: uint32(height)}
	clear(n.levels())
	return ref
}

func newRanking(s *Store) arena.Ref {
	ref := s.Alloc(rankingSize)
	*(*ranking)(s.At(ref)) = ranking{head: s.newRankNode(maxHeight), level: 1}
	return ref
}

// before reports whether a node comes before a score and a member.
func (s *Store) before(ref arena.Ref, score float64, member []byte) bool {
	n := s.node(ref)
	return n.score < score || n.score == score && bytes.Compare(s.rec(n.member).key(), member) < 0
}

// rankingInsert adds a member's record to the list and returns its node.
func (s *Store) rankingInsert(z *ranking, score float64, member arena.Ref) arena.Ref {
	var path [maxHeight]arena.Ref
	var rank [maxHeight]uint32
	name := s.rec(member).key()
	at := z.head
	for i := int(z.level) - 1; i >= 0; i-- {
		if i < int(z.level)-1 {
			rank[i] = rank[i+1]
		}
		for l := s.node(at).levels()[i]; l.next != 0 && s.before(l.next, score, name); l = s.node(at).levels()[i] {
			rank[i] += l.span
			at = l.next
		}
		path[i] = at
	}
	height := min(1+bits.TrailingZeros64(s.rng.Uint64()|1<<62)/2, maxHeight)
	for i := int(z.level); i < height; i++ {
		path[i] = z.head
		s.node(z.head).levels()[i].span = z.members.n
	}
	z.level = max(z.level, uint32(height))
	ref := s.newRankNode(height)
	n := s.node(ref)
	n.score, n.member = score, member
	for i := range height {
		l := &s.node(path[i]).levels()[i]
		passed := rank[0] - rank[i]
		n.levels()[i] = rankLevel{l.next, l.span - passed}
		*l = rankLevel{ref, passed + 1}
	}
	for i := height; i < int(z.level); i++ {
		s.node(path[i]).levels()[i].span++
	}
	if path[0] != z.head {
		n.back = path[0]
	}
	if next := n.levels()[0].next; next != 0 {
		s.node(next).back = ref
	} else {
		z.tail = ref
	}
	return ref
}

// rankingUnlink takes a node out of the list and frees it; its member's record stays.
func (s *Store) rankingUnlink(z *ranking, n *rankNode) {
	name := s.rec(n.member).key()
	at := z.head
	var ref arena.Ref
	for i := int(z.level) - 1; i >= 0; i-- {
		for l := s.node(at).levels()[i]; l.next != 0 && s.before(l.next, n.score, name); l = s.node(at).levels()[i] {
			at = l.next
		}
		l := &s.node(at).levels()[i]
		if l.next != 0 && s.node(l.next) == n {
			ref = l.next
			*l = rankLevel{n.levels()[i].next, l.span + n.levels()[i].span - 1}
		} else {
			l.span--
		}
	}
	if next := n.levels()[0].next; next != 0 {
		s.node(next).back = n.back
	} else {
		z.tail = n.back
	}
	for z.level > 1 && s.node(z.head).levels()[z.level-1].next == 0 {
		z.level--
	}
	s.Free(ref, n.blockLen())
}

// rankingRemove takes a node out and frees it with its member.
func (s *Store) rankingRemove(z *ranking, n *rankNode) {
	member := n.member
	s.rankingUnlink(z, n)
	name := s.rec(member).key()
	s.remove(&z.members, name, s.hash(name))
	s.heap.free(member)
}

// Ranking is a sorted set.
type Ranking struct {
	s   *Store
	z   *ranking
	db  uint8
	key []byte
}

// Ranking returns the sorted set of a key; it has no members where there is no such key.
func (db *DB) Ranking(key []byte) (Ranking, error) {
	ref, err := db.objectOf(key, SortedSet, nil)
	if ref == 0 {
		return Ranking{}, err
	}
	return db.ranking(key, ref), nil
}

// MakeRanking is Ranking, and makes an empty one where there is none. The caller puts something into it, or deletes it.
func (db *DB) MakeRanking(key []byte) (Ranking, error) {
	ref, err := db.objectOf(key, SortedSet, newRanking)
	if err != nil {
		return Ranking{}, err
	}
	return db.ranking(key, ref), nil
}

func (db *DB) ranking(key []byte, ref arena.Ref) Ranking {
	return Ranking{db.s, (*ranking)(db.s.At(ref)), db.index, key}
}

// Ranking is the value of an entry that is a sorted set.
func (e Entry) Ranking() Ranking { return e.db.ranking(e.Key(), e.rec.object()) }

// Len is the number of members.
func (z Ranking) Len() int {
	if z.z == nil {
		return 0
	}
	return int(z.z.members.n)
}

// Score returns a member's score.
func (z Ranking) Score(member []byte) (float64, bool) {
	n := z.nodeOf(member)
	if n == nil {
		return 0, false
	}
	return n.score, true
}

func (z Ranking) nodeOf(member []byte) *rankNode {
	if z.Len() == 0 {
		return nil
	}
	p := z.s.find(&z.z.members, member, z.s.hash(member))
	if p == nil {
		return nil
	}
	return z.s.node(z.s.rec(*p).object())
}

// Set gives a member a score and reports whether it is new.
func (z Ranking) Set(member []byte, score float64) bool {
	if z.s.noting() {
		z.s.notes.score(z.db, z.key, member, score)
	}
	return z.set(member, score)
}

func (z Ranking) set(member []byte, score float64) bool {
	s := z.s
	hash := s.hash(member)
	if p := s.find(&z.z.members, member, hash); p != nil {
		r := s.rec(*p)
		n := s.node(r.object())
		if n.score == score {
			return false
		}
		s.rankingUnlink(z.z, n)
		z.z.members.n-- // what rankingInsert counts as there
		ref := s.rankingInsert(z.z, score, *p)
		z.z.members.n++
		putUint32(r.value(), uint32(ref))
		return false
	}
	var none [4]byte
	ref := s.element(member, none[:])
	putUint32(s.rec(ref).value(), uint32(s.rankingInsert(z.z, score, ref)))
	s.insert(&z.z.members, ref, hash)
	return true
}

// Delete removes a member and reports whether it was there.
func (z Ranking) Delete(member []byte) bool {
	n := z.nodeOf(member)
	if n == nil {
		return false
	}
	if z.s.noting() {
		z.s.notes.head(changeUnscore, z.db, z.key)
		z.s.notes.bytes(member)
	}
	z.s.rankingRemove(z.z, n)
	return true
}

// Rank is how many members come before one; false if it is no member.
func (z Ranking) Rank(member []byte) (int, bool) {
	n := z.nodeOf(member)
	if n == nil {
		return 0, false
	}
	return z.CountBefore(func(score float64, name []byte) bool {
		return score < n.score || score == n.score && bytes.Compare(name, member) < 0
	}), true
}

// CountBefore is the number of members for which before holds; where it does for one, it must for all that precede it.
func (z Ranking) CountBefore(before func(score float64, member []byte) bool) int {
	if z.Len() == 0 {
		return 0
	}
	s := z.s
	at, count := z.z.head, 0
	for i := int(z.z.level) - 1; i >= 0; i-- {
		for {
			l := s.node(at).levels()[i]
			if l.next == 0 {
				break
			}
			n := s.node(l.next)
			if !before(n.score, s.rec(n.member).key()) {
				break
			}
			count += int(l.span)
			at = l.next
		}
	}
	return count
}

// Range visits n members from the one of a rank on, in order or, if reverse, backwards, until visit returns false. visit
// must not change the store.
func (z Ranking) Range(rank, n int, reverse bool, visit func(member []byte, score float64) bool) {
	if n <= 0 || rank < 0 || rank >= z.Len() {
		return
	}
	s := z.s
	at, left := z.z.head, rank+1
	for i := int(z.z.level) - 1; i >= 0 && left > 0; i-- {
		for l := s.node(at).levels()[i]; l.next != 0 && int(l.span) <= left; l = s.node(at).levels()[i] {
			left -= int(l.span)
			at = l.next
		}
	}
	for ; at != 0 && n > 0; n-- {
		node := s.node(at)
		if !visit(s.rec(node.member).key(), node.score) {
			return
		}
		if reverse {
			at = node.back
		} else {
			at = node.levels()[0].next
		}
	}
}

// Random returns some member.
func (z Ranking) Random() (member []byte, score float64) {
	r := z.s.rec(z.s.random(&z.z.members, z.s.Random))
	return r.key(), z.s.node(r.object()).score
}

// Scan is like that of a database.
func (z Ranking) Scan(cursor uint64, visit func(member []byte, score float64)) uint64 {
	if z.Len() == 0 {
		return 0
	}
	return z.s.scan(&z.z.members, cursor, func(ref arena.Ref) {
		r := z.s.rec(ref)
		visit(r.key(), z.s.node(r.object()).score)
	})
}
