package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/logs/elastic"
)

// started runs logs in a directory; stop returns when all is stored.
func started(cfg logs.Config) (*logs.Logs, func() error, error) {
	l, err := logs.Open(cfg)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	return l, func() error {
		cancel()
		return <-ended
	}, nil
}

// ingest has one core take lines: as a replica's output, and as _bulk of 1000 documents.
func ingest(o options) error {
	m := newMaker(1)
	begin := time.Now()
	lines := make([]string, o.lines)
	total := 0
	for i := range lines {
		lines[i] = m.line(begin.Add(time.Duration(i) * time.Millisecond))
		total += len(lines[i])
	}
	runtime.GC()
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	fmt.Printf("ingest: %d lines of %d bytes on average, one core\n", len(lines), total/len(lines))
	tell := func(what string, wall, used time.Duration) {
		fmt.Printf("  %-28s %7.0f lines/s, %7.0f lines for each second of processor time, %.0f MB/s\n", what,
			float64(len(lines))/wall.Seconds(), float64(len(lines))/used.Seconds(), float64(total)/1e6/used.Seconds())
	}
	if err := ingestOutput(o, lines, tell); err != nil {
		return err
	}
	return ingestBulk(o, lines, tell)
}

func ingestOutput(o options, lines []string, tell func(string, time.Duration, time.Duration)) error {
	l, stop, err := started(logs.Config{Dir: filepath.Join(o.dir, "output"), Rate: -1})
	if err != nil {
		return err
	}
	source := l.Source("web", "web-0")
	wall, used := time.Now(), cpu()
	const batch = 5000 // as much as the queue holds, and more
	for i, line := range lines {
		source.Line(time.Now(), "out", line, false)
		if i%batch == batch-1 {
			for l.Store().Last() < uint64(i+1-2*batch) && i > 2*batch {
				time.Sleep(time.Millisecond) // a program that writes waits for its pipe
			}
		}
	}
	if err := stop(); err != nil {
		return err
	}
	tell("output of a replica", time.Since(wall), cpu()-used)
	if n := l.Store().Last(); n != uint64(len(lines)) {
		return fmt.Errorf("%d of %d lines were stored", n, len(lines))
	}
	return nil
}

func ingestBulk(o options, lines []string, tell func(string, time.Duration, time.Duration)) error {
	var bodies [][]byte
	const batch = 1000
	for begin := 0; begin < len(lines); begin += batch {
		var b bytes.Buffer
		for _, line := range lines[begin:min(begin+batch, len(lines))] {
			text, err := json.Marshal(line)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "{\"create\":{\"_index\":\"bench\"}}\n{\"@timestamp\":\"%s\",\"host\":\"h1\",\"message\":%s}\n", time.Now().UTC().Format(time.RFC3339Nano), text)
		}
		bodies = append(bodies, b.Bytes())
	}
	l, stop, err := started(logs.Config{Dir: filepath.Join(o.dir, "bulk")})
	if err != nil {
		return err
	}
	server := elastic.New(l)
	end, err := profile(o)
	if err != nil {
		return err
	}
	wall, used := time.Now(), cpu()
	for _, body := range bodies {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest("POST", "/_bulk", bytes.NewReader(body)))
		if w.Code != 200 {
			return fmt.Errorf("_bulk: %d %s", w.Code, w.Body)
		}
	}
	if err := stop(); err != nil {
		return err
	}
	tell("_bulk of 1000, synced each", time.Since(wall), cpu()-used)
	return end()
}

// profile begins the profiles that were asked for; end writes them.
func profile(o options) (end func() error, err error) {
	var cpus *os.File
	if o.cpuProfile != "" {
		if cpus, err = os.Create(o.cpuProfile); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpus); err != nil {
			return nil, errors.Join(err, cpus.Close())
		}
	}
	return func() error {
		if cpus != nil {
			pprof.StopCPUProfile()
			if err := cpus.Close(); err != nil {
				return err
			}
		}
		if o.memProfile == "" {
			return nil
		}
		f, err := os.Create(o.memProfile)
		if err != nil {
			return err
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
	}, nil
}
