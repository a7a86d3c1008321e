package workqueue

import "time"

// ordered is what a binary heap holds: it knows what goes first, and is told where it is.
type ordered[T any] interface {
	before(T) bool
	moved(to int)
}

// binaryHeap has that on top which is before all others. Whatever is in it can be taken out at its place.
type binaryHeap[T ordered[T]] []T

func (h *binaryHeap[T]) push(x T) {
	*h = append(*h, x)
	h.up(len(*h) - 1)
}

// remove takes out what is at a place, and tells it -1.
func (h *binaryHeap[T]) remove(i int) T {
	var none T
	old := *h
	x, last := old[i], old[len(old)-1]
	old[len(old)-1] = none
	*h = old[:len(old)-1]
	if i < len(*h) {
		(*h)[i] = last
		h.fix(i)
	}
	x.moved(-1)
	return x
}

// fix moves what is at a place to where it belongs.
func (h *binaryHeap[T]) fix(i int) {
	if i > 0 && (*h)[i].before((*h)[(i-1)/2]) {
		h.up(i)
		return
	}
	h.down(i)
}

func (h *binaryHeap[T]) up(i int) {
	a := *h
	x := a[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(a[parent]) {
			break
		}
		a[i] = a[parent]
		a[i].moved(i)
		i = parent
	}
	a[i] = x
	x.moved(i)
}

func (h *binaryHeap[T]) down(i int) {
	a := *h
	x := a[i]
	for {
		child := 2*i + 1
		if child >= len(a) {
			break
		}
		if child+1 < len(a) && a[child+1].before(a[child]) {
			child++
		}
		if !a[child].before(x) {
			break
		}
		a[i] = a[child]
		a[i].moved(i)
		i = child
	}
	a[i] = x
	x.moved(i)
}

// byTurn has the message on top that is delivered next.
type byTurn struct{ *entry }

func (a byTurn) before(b byTurn) bool {
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return a.seq < b.seq
}

func (a byTurn) moved(to int) { a.ready = to }

// byAge has the message on top that came first.
type byAge struct{ *entry }

func (a byAge) before(b byAge) bool { return a.Put < b.Put || a.Put == b.Put && a.seq < b.seq }
func (a byAge) moved(to int)        { a.age = to }

// byTime has the message on top at which Tick looks next.
type byTime struct{ *entry }

func (a byTime) before(b byTime) bool { return a.look < b.look || a.look == b.look && a.seq < b.seq }
func (a byTime) moved(to int)         { a.timer = to }

// bySeq has the oldest number on top.
type bySeq uint64

func (a bySeq) before(b bySeq) bool { return a < b }
func (a bySeq) moved(int)           {}

// lookAt is when something may be due for a message in its state; 0: never.
func (e *entry) lookAt() time.Duration {
	switch {
	case e.state == inFlight:
		return e.deadline
	case e.state == waiting && (e.Expires == 0 || e.Due < e.Expires):
		return e.Due
	case e.state == waiting || e.state == queued:
		return e.Expires
	}
	return 0
}
