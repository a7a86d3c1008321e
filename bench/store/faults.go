package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/banyanhq/banyan/store"
	storecluster "github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/transport"
)

// faultsOptions of a run.
type faultsOptions struct {
	nodes, ranges, faults int
	seed                  uint64
	only, binary, dir     string
	items, bulk           int
	pause, within         time.Duration
	verbose               bool
}

// faults lets all kinds of things go wrong, one after the other, while clients at all nodes record what they ask and are answered.
func faults(ctx context.Context, args []string) (err error) {
	var o faultsOptions
	flags := flag.NewFlagSet("faults", flag.ExitOnError)
	flags.IntVar(&o.nodes, "nodes", 3, "nodes")
	flags.IntVar(&o.ranges, "ranges", 4, "ranges that the table is in")
	flags.IntVar(&o.faults, "faults", 300, "faults")
	flags.Uint64Var(&o.seed, "seed", 0, "of what is drawn (default: another each time); when things happen in the nodes does not follow from it")
	flags.StringVar(&o.only, "only", "", "only these kinds, such as kill,pause")
	flags.IntVar(&o.items, "items", 40_000, "items of 1 KB that are there before")
	flags.IntVar(&o.bulk, "bulk", 400_000, "as many more items at the end, for the speed at which a lost disk is filled again; 0: not measured")
	flags.DurationVar(&o.within, "within", 25*time.Minute, "after which no other fault is begun")
	flags.DurationVar(&o.pause, "pause", 30*time.Millisecond, "between two requests of a client")
	flags.StringVar(&o.binary, "binary", "", "banyan program (default: built)")
	flags.StringVar(&o.dir, "dir", "", "folder for disks and logs, which are kept (default: one that is removed)")
	flags.BoolVar(&o.verbose, "v", false, "say what happens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.nodes < 3 || o.nodes > 9 || o.ranges < 1 || o.ranges > 32 {
		return errors.New("faults: expected 3 to 9 nodes, and 1 to 32 ranges")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "bench-store-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	} else if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	f := &faulty{o: o, random: rand.New(rand.NewPCG(o.seed, 11)), byKind: map[string]*times{}}
	defer func() { err = errors.Join(err, f.end()) }()
	if err := f.begin(ctx); err != nil {
		return err
	}
	return f.run(ctx)
}

// faulty is a cluster to which faults are done.
type faulty struct {
	*cluster
	o       faultsOptions
	network *network // nil: they are on loopback
	disks   []*disk
	random  *rand.Rand
	h       *history
	ranges  []store.RangeLoad
	byKind  map[string]*times
	rates   []float64 // bytes a second at which lost disks were filled again

	undecided atomic.Int64
	checked   atomic.Int64 // histories
}

// diskBytes of a node's own file system.
const diskBytes = 3 << 30

// begin starts the nodes, as root each in a network and on a disk of its own.
func (f *faulty) begin(ctx context.Context) (err error) {
	root := os.Getuid() == 0
	var places []place
	if root {
		if f.network, err = newNetwork(f.o.nodes); err != nil {
			return err
		}
	}
	for i := 1; i <= f.o.nodes; i++ {
		p := place{dir: filepath.Join(f.o.dir, fmt.Sprint("node", i), "data")}
		if root {
			at := filepath.Dir(p.dir)
			d, err := newDisk(ctx, at+".img", at, diskBytes)
			if err != nil {
				return err
			}
			f.disks = append(f.disks, d)
			p.prefix, p.address, p.peer = f.network.prefix(i), f.network.host(i)+":8000", f.network.host(i)+":7000"
		} else if p.address, err = freeAddress(); err != nil {
			return err
		} else if p.peer, err = freeAddress(); err != nil {
			return err
		}
		places = append(places, p)
	}
	if f.cluster, err = newCluster(f.o.dir, f.o.binary, places); err != nil {
		return err
	}
	f.extra = []string{"--verbose", "--manual-ranges"} // so that it is known which range an item is in
	f.users, f.sign = filepath.Join(f.o.dir, "users"), sign
	if err := os.WriteFile(f.users, []byte(accessKey+" "+secretKey+"\n"), 0o600); err != nil {
		return err
	}
	if err := f.cluster.begin(ctx, f.o.ranges); err != nil {
		return err
	}
	r, err := store.DescribeRanges(ctx, f.nodes[0].url(), false, sign)
	if err != nil {
		return err
	}
	for _, l := range r.Ranges {
		if l.Last >= 0 {
			f.ranges = append(f.ranges, l)
		}
	}
	f.h = &history{began: time.Now(), acks: map[uint64][]time.Time{}}
	return f.h.prepare(ctx, f.nodes, f.ranges, f.o.items)
}

// end stops all that was started, and removes what would stay behind.
func (f *faulty) end() error {
	if f.cluster != nil {
		for _, n := range f.nodes {
			_ = n.proceed() // if it was stopped
		}
		f.stop()
	}
	var errs []error
	for _, d := range f.disks {
		errs = append(errs, d.remove())
	}
	if f.network != nil {
		errs = append(errs, f.network.remove())
	}
	return errors.Join(errs...)
}

func (f *faulty) run(ctx context.Context) error {
	kinds := f.kinds()
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
		f.byKind[k.name] = &times{notes: map[string]int{}}
	}
	fmt.Printf("%d nodes, %d ranges, %d items of 1 KB before; seed %d; kinds of faults: %s\n", f.o.nodes, len(f.ranges), f.o.items, f.o.seed, strings.Join(names, ", "))
	if f.network == nil {
		fmt.Println("not root: without cuts, and without full disks")
	}
	began := time.Now()
	cells := make(chan *cell, 1<<16)
	var checks sync.WaitGroup
	checks.Go(func() {
		for c := range cells {
			if err := c.check(&f.undecided); err != nil {
				f.h.broken("%v", err)
			}
			f.checked.Add(1)
		}
	})
	said := 0
	var err error
	for i := 1; i <= f.o.faults && err == nil && time.Since(began) < f.o.within; i++ {
		err = f.fault(ctx, i, kinds[f.random.IntN(len(kinds))], cells)
		said = f.say(said)
	}
	if err == nil && f.o.bulk > 0 {
		err = f.fillAgain(ctx)
	}
	close(cells)
	checks.Wait()
	if err == nil {
		err = f.h.auditCells(ctx, f.nodes, &f.undecided)
	}
	f.say(said)
	f.report(kinds, time.Since(began))
	if err == nil && len(f.h.wrong) > 0 {
		err = fmt.Errorf("%d promises were broken; seed %d", len(f.h.wrong), f.o.seed)
	}
	return err
}

// say prints what has been found broken since the last time.
func (f *faulty) say(said int) int {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	for _, wrong := range f.h.wrong[said:] {
		fmt.Println("BROKEN:", wrong)
	}
	return len(f.h.wrong)
}

func (f *faulty) report(kinds []kind, took time.Duration) {
	fmt.Printf("\n%-22s %4s   %-16s  %-16s  (s: median, worst)\n", "kind", "n", "without writes", "node back after")
	total := 0
	for _, k := range kinds {
		t := f.byKind[k.name]
		total += len(t.outages)
		fmt.Printf("%-22s %s\n", k.name, t)
	}
	if len(f.rates) > 0 {
		slices.Sort(f.rates)
		fmt.Printf("a lost disk with %d MB of items was filled again at %.0f MB/s (median; lowest %.0f)\n", (f.o.items+f.o.bulk)*itemBytes/1e6, f.rates[len(f.rates)/2]/1e6, f.rates[0]/1e6)
	}
	acknowledged := int64(0)
	for _, c := range f.h.counters {
		acknowledged += c.acknowledged.Load()
	}
	fmt.Printf("%d faults in %s; %d requests, of which %d failed; %d histories of items checked and %d undecided; %d counted up; %d promises broken\n",
		total, took.Round(time.Second), f.h.requests.Load(), f.h.failed.Load(), f.checked.Load(), f.undecided.Load(), acknowledged, len(f.h.wrong))
}

// fault does one, under load, and waits until all is well again.
func (f *faulty) fault(ctx context.Context, number int, k kind, cells chan<- *cell) error {
	victim := f.nodes[f.random.IntN(len(f.nodes))]
	s := f.h.shift(number, f.ranges, f.o.pause)
	running, stop := context.WithCancel(ctx)
	defer stop()
	s.begin(running, f.nodes)
	err := wait(ctx, 300*time.Millisecond)
	d := &done{victim: victim, began: time.Now()}
	if err == nil {
		err = k.do(ctx, d)
	}
	if err == nil {
		if d.healed.IsZero() {
			d.healed = time.Now()
		}
		err = f.well(ctx, d)
	}
	ended := time.Now()
	if err == nil && d.after != nil {
		err = d.after()
	}
	if err != nil {
		views := f.views()
		stop()
		s.clients.Wait()
		return fmt.Errorf("fault %d, %s of node %d%s: %w\n%s%s", number, k.name, victim.number, d.what, err, views, f.logs())
	}
	stop()
	for _, c := range s.end(ctx, f.nodes) {
		cells <- c
	}
	t := f.byKind[k.name]
	t.outages = append(t.outages, f.h.outage(f.ranges, d.began, ended))
	t.back = append(t.back, ended.Sub(d.healed))
	for _, note := range d.notes {
		t.notes[note]++
	}
	f.h.mu.Lock()
	clear(f.h.acks)
	f.h.mu.Unlock()
	if f.o.verbose {
		fmt.Printf("%d: %s of node %d%s: without writes %s, back after %s %s\n", number, k.name, victim.number, d.what,
			seconds(t.outages[len(t.outages)-1]), seconds(t.back[len(t.back)-1]), strings.Join(d.notes, ", "))
	}
	return nil
}

// recovery is how long all may take to be well again.
const recovery = time.Minute

// well waits until each node serves reads and writes of each range, and starts nodes again whose processes have ended.
func (f *faulty) well(ctx context.Context, d *done) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for _, n := range f.nodes {
		for r := range f.ranges {
			key := keyOf(f.ranges[r], fmt.Sprintf("probe-%d", n.number))
			err := until(ctx, recovery, func(ctx context.Context) error {
				if err := f.supervise(n, d); err != nil {
					return err
				}
				return n.probe(ctx, key)
			})
			if err != nil {
				return fmt.Errorf("node %d does not serve group %d: %w", n.number, f.ranges[r].Group, err)
			}
		}
	}
	return nil
}

// supervise does what a supervisor of processes does: it starts a node again whose process has ended. Where it ends at once, again and
// again, its folder is removed, which is what the operator of a node that can't read its data is told to do.
func (f *faulty) supervise(n *node, d *done) error {
	if !n.ended() {
		return nil
	}
	if d.restarts++; d.restarts > 3 {
		d.notes = append(d.notes, "refused, folder removed")
		d.restarts = 0
		if err := os.RemoveAll(n.dir); err != nil {
			return err
		}
	} else {
		d.note("ended by itself")
	}
	f.keepLog(n)
	return f.start(n)
}

// probe writes and reads an item.
func (n *node) probe(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := n.once.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: itemKey(key)}); err != nil {
		return err
	}
	_, err := n.once.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("bench"), Key: itemKey(key), ConsistentRead: aws.Bool(true)})
	return err
}

// operator is someone who looks after the cluster.
func (f *faulty) operator(except *node) storecluster.Client {
	c := storecluster.Client{Caller: transport.Caller{Secret: []byte(clusterSecret)}}
	for _, n := range f.nodes {
		if n != except {
			c.Addresses = append(c.Addresses, n.peer)
		}
	}
	return c
}

// settle waits until the nodes have put in order what was written to them, so that only what a lost disk costs is measured.
func (f *faulty) settle(ctx context.Context) error {
	return until(ctx, 5*time.Minute, func(ctx context.Context) error {
		before := f.cpu()
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		if used := f.cpu() - before; used > 150*time.Millisecond {
			return fmt.Errorf("the nodes go on working: %s of CPU in a second", used)
		}
		return nil
	})
}

// cpu is what all nodes have used.
func (c *cluster) cpu() (total time.Duration) {
	for _, n := range c.nodes {
		total += n.cpu()
	}
	return total
}

// fillAgain measures how fast a lost disk is filled again, with more data than while faults go on.
func (f *faulty) fillAgain(ctx context.Context) error {
	if err := fillItems(ctx, f.nodes, f.o.items, f.o.items+f.o.bulk); err != nil {
		return err
	}
	f.h.fill += f.o.bulk
	for i := range 3 {
		if err := f.settle(ctx); err != nil {
			return err
		}
		d := &done{victim: f.nodes[i%len(f.nodes)]}
		if err := f.loseDisk(ctx, d); err != nil {
			return err
		}
		began := time.Now()
		if err := f.well(ctx, d); err != nil {
			return fmt.Errorf("a lost disk of node %d: %w\n%s", d.victim.number, err, f.logs())
		}
		f.rates = append(f.rates, float64(f.h.fill*itemBytes)/time.Since(began).Seconds())
	}
	return nil
}
