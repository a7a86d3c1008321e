package metrics

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Scraper reads the pages of targets. Targets may change while it runs.
type Scraper struct {
	store   *Store
	targets func() []Target
	client  *http.Client
	poll    time.Duration // how often targets are asked for

	mu       sync.Mutex
	readings map[string]*reading
	wrong    map[string]bool // targets that were complained of
}

// refresh is how often a Scraper asks for its targets.
const refresh = 5 * time.Second

// NewScraper returns one that reads the targets which the function names, asked every five seconds.
func NewScraper(store *Store, targets func() []Target) *Scraper {
	return &Scraper{store: store, targets: targets, poll: refresh, readings: map[string]*reading{}, wrong: map[string]bool{},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				MaxIdleConnsPerHost: 2, IdleConnTimeout: 5 * time.Minute, DisableCompression: true,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(_ *http.Request, via []*http.Request) error {
				if len(via) >= 3 {
					return errors.New("more than three redirections")
				}
				return nil
			},
		}}
}

// Run reads until ctx ends, and returns when no reading is under way.
func (s *Scraper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer s.client.CloseIdleConnections()
	defer wg.Wait()
	ticker := time.NewTicker(s.poll)
	defer ticker.Stop()
	for {
		s.reconcile(ctx, &wg)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// reconcile starts the targets that are new and ends those that are gone.
func (s *Scraper) reconcile(ctx context.Context, wg *sync.WaitGroup) {
	wanted := map[string]Target{}
	for _, t := range s.targets() {
		if err := t.check(); err != nil {
			if s.mu.Lock(); !s.wrong[t.URL] {
				s.wrong[t.URL] = true
				s.store.cfg.Log.Warn("a target is not read", "error", err)
			}
			s.mu.Unlock()
			continue
		}
		wanted[t.id()] = t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.readings {
		if _, ok := wanted[id]; !ok {
			r.mu.Lock()
			r.gone = true
			r.mu.Unlock()
			r.cancel()
			delete(s.readings, id)
		}
	}
	for id, t := range wanted {
		if s.readings[id] == nil {
			s.readings[id] = s.start(ctx, wg, t)
		}
	}
}

func (s *Scraper) start(ctx context.Context, wg *sync.WaitGroup, t Target) *reading {
	set := t.lset()
	r := &reading{target: t, reader: newPageReader(s.store.origin(set.String()), set, t.HonorLabels), client: s.client,
		log: s.store.cfg.Log, status: TargetStatus{Target: t, Set: set, Health: "unknown"}}
	ctx, r.cancel = context.WithCancel(ctx)
	wg.Go(func() {
		r.run(ctx)
		s.store.forget(r.reader.origin)
	})
	return r
}

// Targets says how it stands with each target, by job and instance.
func (s *Scraper) Targets() []TargetStatus {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.readings))
	s.mu.Unlock()
	out := make([]TargetStatus, len(all))
	for i, r := range all {
		r.mu.Lock()
		out[i] = r.status
		r.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b TargetStatus) int {
		return strings.Compare(a.Job+"\x00"+a.Instance+"\x00"+a.URL, b.Job+"\x00"+b.Instance+"\x00"+b.URL)
	})
	return out
}
