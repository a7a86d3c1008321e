package simulate

const pageBits = 10

// arena keeps records of one kind in pages that never move, and uses those that were given back first: once it has
// grown to its working size, nothing is allocated.
type arena[T any] struct {
	pages [][]T
	free  []int32
	taken int32 // records ever handed out
	live  int
}

func (a *arena[T]) at(i int32) *T { return &a.pages[i>>pageBits][i&(1<<pageBits-1)] }

// take returns a record as its last owner left it, so that a stamp in it can outlive its owners.
func (a *arena[T]) take() int32 {
	a.live++
	if n := len(a.free); n > 0 {
		i := a.free[n-1]
		a.free = a.free[:n-1]
		return i
	}
	i := a.taken
	a.taken++
	if int(i>>pageBits) == len(a.pages) {
		a.pages = append(a.pages, make([]T, 1<<pageBits))
	}
	return i
}

func (a *arena[T]) giveBack(i int32) {
	a.live--
	a.free = append(a.free, i)
}

// deadlines are instants that all lie the same time after they are set, so that they come in the order in which they
// were set: a queue does, and only its first entry is on the event list. Most deadlines are void before they come.
type deadlines struct {
	after int64
	ring  []deadline // a power of two
	first int
	n     int
	armed bool // an event is on the list
}

type deadline struct {
	at      int64
	subject int32
	stamp   uint32
}

func (d *deadlines) push(e deadline) {
	if d.n == len(d.ring) {
		grown := make([]deadline, max(64, 2*len(d.ring)))
		for i := range d.n {
			grown[i] = d.ring[(d.first+i)&(len(d.ring)-1)]
		}
		d.ring, d.first = grown, 0
	}
	d.ring[(d.first+d.n)&(len(d.ring)-1)] = e
	d.n++
}

func (d *deadlines) head() deadline { return d.ring[d.first] }

func (d *deadlines) pop() {
	d.first = (d.first + 1) & (len(d.ring) - 1)
	d.n--
}
