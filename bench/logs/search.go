package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// search fills a store and looks for words in it.
func search(o options) error {
	store, err := segment.Open(segment.Config{Dir: o.dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	began, used := time.Now(), cpu()
	lines, err := fill(ctx, store, o.size)
	cancel()
	if err2 := <-ended; err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	onDisk, err := diskUse(o.dir)
	if err != nil {
		return err
	}
	fmt.Printf("search: %d lines, %.2f GB of text, %.2f GB on disk with indexes (%.1f : 1); written in %s, %s of processor time\n", lines, float64(o.size)/1e9, float64(onDisk)/1e9,
		float64(o.size)/float64(onDisk), time.Since(began).Round(time.Second), (cpu() - used).Round(time.Second))

	opened := time.Now()
	if store, err = segment.Open(segment.Config{Dir: o.dir, ReadOnly: true}); err != nil {
		return err
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	fmt.Printf("  opened in %s; %d segments, %d MB of heap\n", time.Since(opened).Round(time.Millisecond), store.Stats().Segments, mem.HeapAlloc>>20)
	for _, q := range []struct{ what, query string }{
		{"a word that stands in one line", "xyzzyplugh"},
		{"a word that stands in none", "nothinglikeit"},
		{"a phrase of one line", `"an xyzzyplugh was"`},
		{"level=error, the last 100", "level=error"},
	} {
		if err := look(store, q.what, q.query); err != nil {
			return err
		}
	}
	return nil
}

// fill appends lines of two makers until there are size bytes, with one rare line in the middle.
func fill(ctx context.Context, store *segment.Store, size int64) (total int64, err error) {
	const batch = 2000
	begin := time.Now().Add(-6 * time.Hour)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var written int64
	rare := false
	for w := range 2 {
		wg.Go(func() {
			m := newMaker(uint64(w))
			stream := segment.NewStream(map[string]string{"service": fmt.Sprint("s", w), "replica": fmt.Sprint("s", w, "-0"), "stream": "out"})
			for {
				mu.Lock()
				at, middle := begin.Add(time.Duration(float64(6*time.Hour)*float64(written)/float64(size))), !rare && written >= size/2
				rare = rare || middle
				done := written >= size || err != nil
				mu.Unlock()
				if done {
					return
				}
				records := make([]segment.Record, 0, batch+1)
				bytes := 0
				for i := range batch {
					at := at.Add(time.Duration(i) * time.Microsecond)
					line := m.line(at)
					bytes += len(line)
					records = append(records, segment.Record{Time: at.UnixNano(), Stream: stream, Body: line, Fields: logs.Parse(line)})
				}
				if middle {
					records = append(records, segment.Record{Time: at.UnixNano(), Stream: stream, Body: "an xyzzyplugh was seen in the hay"})
				}
				failed := store.Append(ctx, records, false)
				mu.Lock()
				written += int64(bytes)
				total += int64(len(records))
				if err == nil {
					err = failed
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total, err
}

func look(store *segment.Store, what, query string) error {
	f, err := logs.Query(query)
	if err != nil {
		return err
	}
	var times []time.Duration
	var stats segment.SearchStats
	var found int
	for range 7 {
		began := time.Now()
		records, s, err := store.Search(context.Background(), segment.Query{Filter: f, Limit: 100})
		if err != nil {
			return err
		}
		times = append(times, time.Since(began))
		stats, found = s, len(records)
	}
	first := times[0]
	fmt.Printf("  %-32s %3d found, first %s, then %s (median of 7); %d of %d blocks read\n", what, found, first.Round(time.Millisecond/10), median(times).Round(time.Millisecond/10), stats.Blocks-stats.Skipped, stats.Blocks)
	return nil
}

func diskUse(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(filepath.Join(dir, d.Name()))
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
