// Command logs measures the store of logs: how many lines a core takes, how long a rare word is looked for, and whether kill -9 loses a line
// that was acknowledged.
//
//	go run ./bench/logs [-lines 500000] [-size 10GB] [-kills 30] [-dir DIR] [-cpuprofile FILE] [-memprofile FILE] [ingest] [search] [kills]
//
// Lines are made as services write them: JSON, key=value pairs and access logs, of about 230 bytes, with ids that come once, times, numbers and
// one of fifty messages. 'ingest' runs on one core (GOMAXPROCS 1) and tells lines for each second, and for each second of processor time, which
// other programs on the machine do not change. 'search' writes -size bytes of lines first, and looks for words that stand in one of them, in
// none, and in all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	lines, kills int
	size         int64
	dir          string

	cpuProfile, memProfile string
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		if err := serve(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench/logs:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	size := flag.String("size", "10GB", "bytes of lines that are searched (GB and MB are powers of ten)")
	flag.IntVar(&o.lines, "lines", 500000, "lines of an ingest run")
	flag.IntVar(&o.kills, "kills", 30, "kills of the kill run")
	flag.StringVar(&o.dir, "dir", "", "folder on the disk that is measured (default: a temporary one)")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "file for a profile of the _bulk part's processor time")
	flag.StringVar(&o.memProfile, "memprofile", "", "file for a profile of what the run allocated")
	flag.Parse()
	if err := run(o, *size, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/logs:", err)
		os.Exit(1)
	}
}

func run(o options, size string, parts []string) (err error) {
	if o.size, err = bytesOf(size); err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "bench-logs-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}
	all := map[string]func(options) error{"ingest": ingest, "search": search, "kills": kills}
	if len(parts) == 0 {
		parts = []string{"ingest", "kills", "search"}
	}
	for _, p := range parts {
		f := all[p]
		if f == nil {
			return fmt.Errorf("there is no part %q: there are ingest, search and kills", p)
		}
		part := o
		part.dir = filepath.Join(o.dir, p)
		if err := errors.Join(os.RemoveAll(part.dir), os.MkdirAll(part.dir, 0o755)); err != nil {
			return err
		}
		if err := f(part); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

func bytesOf(text string) (int64, error) {
	unit := int64(1)
	for suffix, n := range map[string]int64{"GB": 1e9, "MB": 1e6} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = rest, n
		}
	}
	n, err := strconv.ParseInt(text, 10, 40)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("-size %s: a number of bytes is expected", text)
	}
	return n * unit, nil
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
