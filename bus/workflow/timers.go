package workflow

import (
	"container/heap"
	"time"
)

// timer says when to look at a run. One that is out of date does no harm: nothing is due then.
type timer struct {
	at time.Duration
	id string
}

// timers by their time.
type timers struct{ all timerHeap }

func (t *timers) push(x timer) { heap.Push(&t.all, x) }
func (t *timers) pop()         { heap.Pop(&t.all) }

func (t *timers) first() (timer, bool) {
	if len(t.all) == 0 {
		return timer{}, false
	}
	return t.all[0], true
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }

func (h *timerHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
