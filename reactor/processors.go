package reactor

import (
	"runtime"
	"sync"
)

// claimed is what all claims of the process have added to GOMAXPROCS, which is the process's as well.
var claimed struct {
	sync.Mutex
	n int
}

// Claim returns for how many loops there are processors, and has Go's scheduler keep that many more until release is
// called. A busy loop holds on to a processor of the scheduler's while it waits in the kernel. Where there is no spare one,
// the scheduler's monitor takes it away after 20 us and wakes a thread to look for other work with it; when the next
// event comes, a moment later, the loop has to stand in line for a processor behind a thread that the kernel may not
// have run yet. With a spare one the loop is left alone for 10 ms, and never has to wait.
func Claim() (loops int, release func()) {
	claimed.Lock()
	defer claimed.Unlock()
	n := processors()
	return n, claim(n)
}

// Spare is for goroutines that hold on to a processor while they wait in the kernel as loops do, such as for a disk: it has
// Go's scheduler keep n more until release is called. Without them two disks that are waited for at once can leave nobody
// to look whether the network has something, until the scheduler's monitor, which itself sleeps for up to 10 ms, takes one away.
func Spare(n int) (release func()) {
	claimed.Lock()
	defer claimed.Unlock()
	return claim(n)
}

// claim adds to what is claimed, which is locked.
func claim(n int) (release func()) {
	claimed.n += n
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	return sync.OnceFunc(func() {
		claimed.Lock()
		defer claimed.Unlock()
		claimed.n -= n
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-n))
	})
}

// Processors returns for how many loops there are processors, whatever is claimed.
func Processors() int {
	claimed.Lock()
	defer claimed.Unlock()
	return processors()
}

func processors() int { return max(1, runtime.GOMAXPROCS(0)-claimed.n) }
