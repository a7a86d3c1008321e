package gateway

import "sync"

// background is the goroutines that belong to no request: copies of requests on their way. Run waits for them.
type background struct {
	mu     sync.Mutex
	closed bool
	all    sync.WaitGroup
}

// begin is called before one is started, which calls Done on all when it ends. It returns false once the gateway is
// stopping.
func (b *background) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.all.Add(1)
	return true
}

// stop lets none begin any more, and waits for the last.
func (b *background) stop() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.all.Wait()
}
