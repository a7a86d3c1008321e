package main

import (
	"container/list"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// callTimeout is longer than any of the topologies lets a call take.
const callTimeout = 20 * time.Second

// worker does the steps for each request.
type worker struct {
	steps   []step
	clients map[string]*httpserve.Client
	permits map[int]chan struct{} // by step
	caches  map[int]*recent
	tables  *tables
}

func newWorker(steps []step) *worker {
	w := &worker{steps: steps, clients: map[string]*httpserve.Client{}, permits: map[int]chan struct{}{}, caches: map[int]*recent{}}
	for i, s := range steps {
		switch s.verb {
		case "acquire":
			w.permits[i] = make(chan struct{}, s.n)
		case "cache":
			w.caches[i] = &recent{size: s.n, order: list.New(), keys: map[string]*list.Element{}}
		}
	}
	return w
}

// asksTables reports whether the steps ask a table.
func (w *worker) asksTables() bool {
	return slices.ContainsFunc(w.steps, func(s step) bool { return s.verb == "get" || s.verb == "put" })
}

// calls names the services that the steps call.
func (w *worker) calls() []string {
	var names []string
	for _, s := range w.steps {
		if s.verb == "call" || s.verb == "shard" {
			names = append(names, s.names...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	status := w.work(r.Context(), path.Base(r.URL.Path))
	if status != http.StatusOK {
		http.Error(rw, http.StatusText(status), status)
		return
	}
	rw.Write([]byte("done\n"))
}

// work does the steps and returns the status of the answer.
func (w *worker) work(ctx context.Context, key string) int {
	var held chan struct{}
	defer func() {
		if held != nil {
			<-held
		}
	}()
	for i, s := range w.steps {
		switch s.verb {
		case "cpu":
			burn(s.draw())
		case "wait":
			if !pause(ctx, s.draw()) {
				return http.StatusServiceUnavailable
			}
		case "acquire":
			select {
			case w.permits[i] <- struct{}{}:
				held = w.permits[i]
			case <-ctx.Done():
				return http.StatusServiceUnavailable
			}
		case "release":
			<-held
			held = nil
		case "fail":
			if rand.Float64() < s.share {
				return http.StatusServiceUnavailable
			}
		case "cache":
			if w.caches[i].has(key) {
				return http.StatusOK
			}
		case "shard":
			h := fnv.New32a()
			h.Write([]byte(key))
			if err := w.call(ctx, []string{s.names[h.Sum32()%uint32(len(s.names))]}, key); err != nil {
				return http.StatusBadGateway
			}
		case "get":
			if err := w.tables.get(ctx, s.names[0], key); err != nil {
				return http.StatusBadGateway
			}
		case "put":
			if err := w.tables.put(ctx, s.names[0], key, s.n); err != nil {
				return http.StatusBadGateway
			}
		case "call":
			if s.share < 1 && rand.Float64() >= s.share {
				continue
			}
			if err := w.call(ctx, s.names, key); err != nil {
				return http.StatusBadGateway
			}
		}
	}
	return http.StatusOK
}

// call calls services at the same time and returns the error of one that failed.
func (w *worker) call(ctx context.Context, names []string, key string) error {
	one := func(name string) error {
		var body []byte
		status, err := w.clients[name].Do(ctx, httpserve.Call{Path: "/" + key, Out: &body})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answered %d", name, status)
		}
		return err
	}
	if len(names) == 1 {
		return one(names[0])
	}
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { errs[i] = one(name) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s step) draw() time.Duration {
	if s.phases == 0 {
		return s.time
	}
	sum := 0.0
	for range s.phases {
		sum += rand.ExpFloat64()
	}
	return time.Duration(min(float64(s.time)*sum/float64(s.phases), float64(maxTime)))
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// burn uses CPU time, as the clock of the thread counts it.
func burn(d time.Duration) {
	const most = time.Millisecond // a goroutine that was moved to another thread meets another clock
	x := 1.0
	before := threadTime()
	for used := time.Duration(0); used < d; {
		for range 2000 {
			x = math.Sqrt(x + 1)
		}
		now := threadTime()
		if step := now - before; step > 0 {
			used += min(step, most)
		}
		before = now
	}
	sink(x)
}

//go:noinline
func sink(float64) {}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("reading the thread's clock: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// recent is a set of the least recently used kind.
type recent struct {
	mu    sync.Mutex
	size  int
	order *list.List
	keys  map[string]*list.Element
}

// has reports whether a key is in the set, and puts it there.
func (r *recent) has(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.keys[key]; e != nil {
		r.order.MoveToFront(e)
		return true
	}
	r.keys[key] = r.order.PushFront(key)
	if r.order.Len() > r.size {
		last := r.order.Back()
		delete(r.keys, r.order.Remove(last).(string))
	}
	return false
}
