package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// itemsOptions of a node that is filled with items.
type itemsOptions struct {
	items, clients     int
	binary, dir, cache string
	length             time.Duration
	sample             int
}

// Bars of a node with ten million items.
const (
	itemsMemory  = 1 << 30
	itemsLatency = 5 * time.Millisecond
	itemsRestart = 5 * time.Second
)

// items fills one node with items of 1 KB and says what that took, what the node then needs, and how fast it answers and comes back.
func items(ctx context.Context, args []string) (err error) {
	var o itemsOptions
	flags := flag.NewFlagSet("items", flag.ExitOnError)
	flags.IntVar(&o.items, "items", 10_000_000, "items of 1 KB")
	flags.IntVar(&o.clients, "clients", 8, "clients that load, each with batches of 25")
	flags.DurationVar(&o.length, "for", 20*time.Second, "length of a measurement of reads")
	flags.IntVar(&o.sample, "sample", 20_000, "items that are read and held against what was written, at the end")
	flags.StringVar(&o.cache, "cache", "", "the node's --cache (default: its own)")
	flags.StringVar(&o.dir, "dir", "", "folder that is kept, and not filled again if it is there (default: one that is removed)")
	flags.StringVar(&o.binary, "binary", "", "banyan program (default: built)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.items < 1000 || o.items > 1e9 || o.clients < 1 {
		return errors.New("items: expected 1000 to 10^9 items, and a client")
	}
	work, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if o.binary, err = program(work, o.binary); err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = filepath.Join(work, "tables")
	}
	b := &filled{o: o}
	if b.address, err = freeAddress(); err != nil {
		return err
	}
	defer b.end()
	return b.measure(ctx)
}

func freeAddress() (string, error) {
	port, err := freePort()
	return "127.0.0.1:" + port, err
}

// filled is the node, and what it missed.
type filled struct {
	*process
	o       itemsOptions
	address string
	missed  []string
}

func (b *filled) begin() (err error) {
	args := []string{"store", "--listen", b.address, "--dir", b.o.dir}
	if b.o.cache != "" {
		args = append(args, "--cache", b.o.cache)
	}
	b.process, err = startProcess(exec.Command(b.o.binary, args...))
	return err
}

func (b *filled) end() {
	if b.process != nil {
		b.process.stop()
		b.process = nil
	}
}

// bar notes whether a figure is within its bar, and says so.
func (b *filled) bar(ok bool, what string) string {
	if ok {
		return "(bar: " + what + ")"
	}
	b.missed = append(b.missed, what)
	return "(MISSES the bar: " + what + ")"
}

func (b *filled) measure(ctx context.Context) error {
	_, err := os.Stat(b.o.dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := b.begin(); err != nil {
		return err
	}
	if err := b.answering(ctx, b.address); err != nil {
		return err
	}
	steps := []func(context.Context) error{b.reads, b.restarts, b.audit}
	if fresh {
		steps = append([]func(context.Context) error{b.fill}, steps...)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if len(b.missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(b.missed, "; "))
	}
	return nil
}

// fill loads the items, and waits until the node has nothing more to do to them.
func (b *filled) fill(ctx context.Context) error {
	if err := createTable(b.address); err != nil {
		return err
	}
	l := &loader{address: b.address, total: b.o.items}
	began, cpu := time.Now(), b.cpu()
	if err := l.run(ctx, b.o.clients, func(done int) {
		fmt.Fprintf(os.Stderr, "%d items, %.0f a second, %s resident\n", done, float64(done)/time.Since(began).Seconds(), mib(b.memory("VmRSS")))
	}); err != nil {
		return fmt.Errorf("loading: %w\n%s", err, b.log.String())
	}
	took := time.Since(began)
	fmt.Printf("loaded %d items of 1 KB in %s: %.0f a second, %.0f a CPU-second of the node; %d batches were refused and sent again, the slowest took %s\n",
		b.o.items, took.Round(time.Second), float64(b.o.items)/took.Seconds(), float64(b.o.items)/(b.cpu()-cpu).Seconds(), l.refused.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
	peak, size := b.memory("VmHWM"), folderSize(b.o.dir)
	fmt.Printf("resident memory, peak while loading: %s %s\n", mib(peak), b.bar(peak < itemsMemory, "under 1 GiB"))
	settled, err := b.settle(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("on disk: %s after loading, %s once compacted, %s later\n", mib(size), mib(folderSize(b.o.dir)), settled.Round(time.Second))
	fmt.Printf("resident memory at rest: %s\n", mib(b.memory("VmRSS")))
	return nil
}

// settle waits until the node neither computes nor grows or shrinks.
func (b *filled) settle(ctx context.Context) (time.Duration, error) {
	began, quiet := time.Now(), 0
	for quiet < 10 {
		size, cpu := folderSize(b.o.dir), b.cpu()
		if err := wait(ctx, time.Second); err != nil {
			return 0, err
		}
		if quiet++; folderSize(b.o.dir) != size || b.cpu()-cpu > 100*time.Millisecond {
			quiet = 0
		}
	}
	return time.Since(began) - 10*time.Second, nil
}

// reads measures how many items can be read in a second, and how long one takes at half of that.
func (b *filled) reads(ctx context.Context) error {
	r := &reader{address: b.address, total: b.o.items}
	if _, err := r.run(ctx, 64, 0, b.o.length/4); err != nil { // until caches have what they can
		return err
	}
	most, err := r.run(ctx, 64, 0, b.o.length)
	if err != nil {
		return err
	}
	half, err := r.run(ctx, 64, most.rate()/2, b.o.length)
	if err != nil {
		return err
	}
	fmt.Printf("GetItem, random keys, 64 clients: %.0f a second (p50 %s, p99 %s)\n", most.rate(), ms(most.p50), ms(most.p99))
	fmt.Printf("at half of that, %.0f a second, from when each was due: p50 %s, p99 %s %s\n", half.rate(), ms(half.p50), ms(half.p99), b.bar(half.p99 < itemsLatency, "p99 under 5 ms"))
	peak := b.memory("VmHWM")
	fmt.Printf("resident memory, peak so far: %s %s\n", mib(peak), b.bar(peak < itemsMemory, "under 1 GiB"))
	return nil
}

// restarts measures how long the node takes to come back: after it was asked to end, and after it was killed under writes.
func (b *filled) restarts(ctx context.Context) error {
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		l := &loader{address: b.address, total: b.o.items}
		writing, stop := context.WithCancel(ctx)
		var writes sync.WaitGroup
		writes.Go(func() { _ = l.run(writing, b.o.clients, nil) }) // the same items again; it is cut off
		err := wait(ctx, 3*time.Second)
		signal := syscall.SIGKILL
		if how == "SIGTERM" {
			signal = syscall.SIGTERM
		}
		stopped := time.Now()
		err = errors.Join(err, b.cmd.Process.Signal(signal))
		_ = b.cmd.Wait() // it was killed, or is asked for below
		ended := time.Since(stopped)
		stop()
		writes.Wait()
		b.process = nil
		if err != nil {
			return err
		}
		began := time.Now()
		if err := b.begin(); err != nil {
			return err
		}
		var first time.Duration
		for first == 0 {
			if _, err := fetch(b.address, 1); err == nil {
				first = time.Since(began)
			} else if time.Since(began) > time.Minute || ctx.Err() != nil {
				return fmt.Errorf("it does not come back: %w\n%s", err, b.log.String())
			} else if err := wait(ctx, 2*time.Millisecond); err != nil {
				return err
			}
		}
		fmt.Printf("%s under writes: ended after %s, the first GetItem was answered %s after it was started again %s\n", how, ms(ended), ms(first), b.bar(first < itemsRestart, "under 5 s"))
	}
	return nil
}

// audit holds some items against what was written.
func (b *filled) audit(ctx context.Context) error {
	r := &reader{address: b.address, total: b.o.items}
	wrong, err := r.audit(ctx, 16, b.o.sample)
	if err != nil {
		return err
	}
	fmt.Printf("of %d items, chosen at random, %d were missing or not what was written\n", b.o.sample, wrong)
	if wrong > 0 {
		b.missed = append(b.missed, "every item as it was written")
	}
	return nil
}

// memory is a line of /proc/PID/status, in bytes.
func (p *process) memory(line string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\n"+line+":")
	kib, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return kib << 10
}

// folderSize is what the files of a folder take on disk.
func folderSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return size
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }
