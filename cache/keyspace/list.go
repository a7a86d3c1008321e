package keyspace

import (
	"unsafe"

	"github.com/banyanhq/banyan/cache/arena"
)

// list is a chain of nodes that hold references of its items.
type list struct {
	head, tail arena.Ref
	n          uint32
}

// listNode is the head of a node; the references follow. Those in use are side by side, with room before or after.
type listNode struct {
	prev, next      arena.Ref
	start, n, space uint16
	_               uint16
}

const (
	listSize     = int(unsafe.Sizeof(list{}))
	listNodeHead = int(unsafe.Sizeof(listNode{}))
	firstItems   = 4
	nodeItems    = 124 // of a full node: 512 bytes
)

func nodeLen(space int) int { return listNodeHead + 4*space }

func (n *listNode) items() []arena.Ref {
	return unsafe.Slice((*arena.Ref)(unsafe.Add(unsafe.Pointer(n), listNodeHead)), n.space)
}

func (n *listNode) used() []arena.Ref { return n.items()[n.start : n.start+n.n] }

func (s *Store) listNode(ref arena.Ref) *listNode { return (*listNode)(s.At(ref)) }

func (s *Store) newListNode(space int) arena.Ref {
	ref := s.Alloc(nodeLen(space))
	*s.listNode(ref) = listNode{space: uint16(space)}
	return ref
}

func newList(s *Store) arena.Ref {
	ref := s.Alloc(listSize)
	*(*list)(s.At(ref)) = list{}
	return ref
}

// item returns a new item.
func (s *Store) item(value []byte) arena.Ref {
	ref := s.Alloc(8 + len(value))
	r := s.rec(ref)
	r.word = wordOf(0, len(value), element, 0)
	copy(r.value(), value)
	return ref
}

// listInsert puts an item before the i-th of a node; a node that is full is split. node 0: the list is empty.
func (s *Store) listInsert(l *list, ref arena.Ref, i int, item arena.Ref) {
	l.n++
	if ref == 0 {
		ref = s.newListNode(firstItems)
		l.head, l.tail = ref, ref
	}
	n := s.listNode(ref)
	if n.n == n.space {
		ref, i = s.listRoom(l, ref, i)
		n = s.listNode(ref)
	}
	items := n.items()
	start, count := int(n.start), int(n.n)
	switch {
	case start > 0 && (i < count/2 || start+count == int(n.space)):
		copy(items[start-1:], items[start:start+i])
		n.start--
	default:
		copy(items[start+i+1:start+count+1], items[start+i:start+count])
	}
	n.n++
	items[int(n.start)+i] = item
}

// listRoom makes room for an item before the i-th of a full node, and returns where it goes.
func (s *Store) listRoom(l *list, ref arena.Ref, i int) (arena.Ref, int) {
	n := s.listNode(ref)
	if n.space < nodeItems {
		larger := s.newListNode(min(2*int(n.space)+firstItems, nodeItems))
		to := s.listNode(larger)
		if i == 0 { // more will come in front
			to.start = to.space - n.n
		}
		to.n, to.prev, to.next = n.n, n.prev, n.next
		copy(to.used(), n.used())
		s.listRelink(l, larger)
		s.Free(ref, nodeLen(int(n.space)))
		return larger, i
	}
	fresh := s.newListNode(nodeItems)
	to := s.listNode(fresh)
	switch i {
	case 0: // before the node
		to.prev, to.next, to.start = n.prev, ref, nodeItems
		s.listRelink(l, fresh)
		return fresh, 0
	case int(n.n):
		to.prev, to.next = ref, n.next
		s.listRelink(l, fresh)
		return fresh, 0
	}
	half := int(n.n) / 2
	to.n = n.n - uint16(half)
	copy(to.used(), n.used()[half:])
	n.n = uint16(half)
	to.prev, to.next = ref, n.next
	s.listRelink(l, fresh)
	if i > half {
		return fresh, i - half
	}
	return ref, i
}

// listRelink has a node's neighbours know it.
func (s *Store) listRelink(l *list, ref arena.Ref) {
	n := s.listNode(ref)
	if n.prev == 0 {
		l.head = ref
	} else {
		s.listNode(n.prev).next = ref
	}
	if n.next == 0 {
		l.tail = ref
	} else {
		s.listNode(n.next).prev = ref
	}
}

// listRemove frees the i-th item of a node.
func (s *Store) listRemove(l *list, ref arena.Ref, i int) {
	n := s.listNode(ref)
	used := n.used()
	s.heap.free(used[i])
	if i == 0 {
		n.start++
	} else {
		copy(used[i:], used[i+1:])
	}
	n.n--
	l.n--
	if n.n > 0 {
		return
	}
	if n.prev == 0 {
		l.head = n.next
	} else {
		s.listNode(n.prev).next = n.next
	}
	if n.next == 0 {
		l.tail = n.prev
	} else {
		s.listNode(n.next).prev = n.prev
	}
	s.Free(ref, nodeLen(int(n.space)))
}

// Items is a list.
type Items struct {
	s   *Store
	l   *list
	db  uint8
	key []byte
}

// Items returns the list of a key; it has none where there is no such key.
func (db *DB) Items(key []byte) (Items, error) {
	ref, err := db.objectOf(key, List, nil)
	if ref == 0 {
		return Items{}, err
	}
	return db.items(key, ref), nil
}

// MakeItems is Items, and makes an empty one where there is none. The caller puts something into it.
func (db *DB) MakeItems(key []byte) (Items, error) {
	ref, err := db.objectOf(key, List, newList)
	if err != nil {
		return Items{}, err
	}
	return db.items(key, ref), nil
}

func (db *DB) items(key []byte, ref arena.Ref) Items {
	return Items{db.s, (*list)(db.s.At(ref)), db.index, key}
}

// note writes a change of the list down.
func (l Items) note(c change, index int, value []byte) {
	if !l.s.noting() {
		return
	}
	n := &l.s.notes
	n.head(c, l.db, l.key)
	if c == changeItem || c == changeInsert || c == changeRemove {
		n.number(int64(index))
	}
	if c != changeRemove {
		n.bytes(value)
	}
}

// Items is the value of an entry that is a list.
func (e Entry) Items() Items { return e.db.items(e.Key(), e.rec.object()) }

// Len is the number of items.
func (l Items) Len() int {
	if l.l == nil {
		return 0
	}
	return int(l.l.n)
}

// PushFront puts a value before all others.
func (l Items) PushFront(value []byte) {
	l.note(changeFront, 0, value)
	l.s.listInsert(l.l, l.l.head, 0, l.s.item(value))
}

// PushBack puts a value behind all others.
func (l Items) PushBack(value []byte) {
	l.note(changeBack, 0, value)
	l.pushBack(value)
}

func (l Items) pushBack(value []byte) {
	at := 0
	if l.l.tail != 0 {
		at = int(l.s.listNode(l.l.tail).n)
	}
	l.s.listInsert(l.l, l.l.tail, at, l.s.item(value))
}

// node returns the node that holds the i-th item, from 0, and which of its items that is.
func (l Items) node(i int) (arena.Ref, int) {
	if i < l.Len()/2 {
		ref := l.l.head
		for {
			n := l.s.listNode(ref)
			if i < int(n.n) {
				return ref, i
			}
			i -= int(n.n)
			ref = n.next
		}
	}
	back := l.Len() - i // at least 1
	ref := l.l.tail
	for {
		n := l.s.listNode(ref)
		if back <= int(n.n) {
			return ref, int(n.n) - back
		}
		back -= int(n.n)
		ref = n.prev
	}
}

// At returns the i-th value, which must be there.
func (l Items) At(i int) []byte {
	ref, k := l.node(i)
	return l.s.rec(l.s.listNode(ref).used()[k]).value()
}

// Set replaces the i-th value.
func (l Items) Set(i int, value []byte) {
	l.note(changeItem, i, value)
	ref, k := l.node(i)
	p := &l.s.listNode(ref).used()[k]
	*p = l.s.setElement(*p, value)
}

// Insert puts a value before the i-th; behind all where there are only i.
func (l Items) Insert(i int, value []byte) {
	if i == l.Len() {
		l.PushBack(value)
		return
	}
	l.note(changeInsert, i, value)
	ref, k := l.node(i)
	l.s.listInsert(l.l, ref, k, l.s.item(value))
}

// Remove removes the i-th value.
func (l Items) Remove(i int) {
	l.note(changeRemove, i, nil)
	ref, k := l.node(i)
	l.s.listRemove(l.l, ref, k)
}

// Range visits n values from the i-th on.
func (l Items) Range(i, n int, visit func(i int, value []byte) bool) {
	if n <= 0 || i >= l.Len() {
		return
	}
	for ref, k := l.node(i); ref != 0 && n > 0; k = 0 {
		node := l.s.listNode(ref)
		for _, item := range node.used()[k:] {
			if n--; n < 0 || !visit(i, l.s.rec(item).value()) {
				return
			}
			i++
		}
		ref = node.next
	}
}
