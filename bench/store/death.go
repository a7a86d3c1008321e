package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/store"
)

// deathOptions of how nodes are killed under load.
type deathOptions struct {
	nodes, ranges, kills int
	before, after, back  time.Duration
	pause, bar           time.Duration
	binary               string
	auto                 bool
}

// death kills a node again and again, by SIGKILL, while clients write and read through the others.
func death(ctx context.Context, args []string) (err error) {
	var o deathOptions
	flags := flag.NewFlagSet("death", flag.ExitOnError)
	flags.IntVar(&o.nodes, "nodes", 3, "nodes")
	flags.IntVar(&o.ranges, "ranges", 8, "ranges that the table is in")
	flags.IntVar(&o.kills, "kills", 5, "kills")
	flags.DurationVar(&o.before, "before", 2*time.Second, "load before a kill")
	flags.DurationVar(&o.after, "after", 6*time.Second, "load from a kill until the node is started again")
	flags.DurationVar(&o.back, "back", 6*time.Second, "load from then on")
	flags.DurationVar(&o.pause, "pause", 20*time.Millisecond, "between two requests of a client")
	flags.DurationVar(&o.bar, "bar", 1500*time.Millisecond, "what the slowest request may take")
	flags.StringVar(&o.binary, "binary", "", "banyan program (default: built)")
	flags.BoolVar(&o.auto, "auto", false, "let the nodes split and merge ranges meanwhile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.nodes < 3 || o.ranges < 1 || o.ranges > 32 || o.kills < 1 {
		return errors.New("death: expected 3 or more nodes, 1 to 32 ranges, and a kill")
	}
	dir, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := startCluster(ctx, dir, o.binary, o.nodes, o.ranges, o.auto)
	if err != nil {
		return err
	}
	defer c.stop()
	l := newLoad()
	fmt.Printf("%d nodes, %d ranges; per node that stays: a writer for each group, 2 readers, 1 of transactions, %s between requests\n", o.nodes, o.ranges, o.pause)
	var killed, back []time.Duration
	for i := range o.kills {
		k, err := c.round(ctx, l, c.nodes[i%len(c.nodes)], o)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		fmt.Printf("kill %d: %s", i+1, k)
		killed, back = append(killed, k.slowest().took), append(back, k.back.took)
	}
	lost, err := l.audit(ctx, c)
	if err != nil {
		return err
	}
	fmt.Printf("slowest request of all kills %s (median %s); while a node came back %s; %d requests failed; %d of %d counters lost writes\n",
		seconds(slices.Max(killed)), seconds(middle(killed)), seconds(slices.Max(back)), l.failures(), lost, len(l.counters))
	if lost > 0 || l.failures() > 0 || slices.Max(killed) > o.bar {
		return fmt.Errorf("the bar is %s, no failed request, and nothing lost", o.bar)
	}
	return nil
}

func middle(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// outage is what became of the requests around one kill.
type outage struct {
	node       int
	theirs     []groupOutage // of the groups that the node led
	others     []groupOutage
	reads, txs sent // the slowest
	back       sent // the slowest after the node was started again
	requests   int
}

// groupOutage is for how long a group acknowledged no write, and the slowest write.
type groupOutage struct {
	group   uint64
	gap     time.Duration
	slowest sent
}

func (k *outage) slowest() sent {
	worst := slower(k.reads, k.txs)
	for _, g := range slices.Concat(k.theirs, k.others) {
		worst = slower(worst, g.slowest)
	}
	return worst
}

func (k *outage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %d, which led %d of %d groups; slowest request %s\n", k.node, len(k.theirs), len(k.theirs)+len(k.others), k.slowest())
	for _, part := range []struct {
		what string
		all  []groupOutage
	}{{"its groups", k.theirs}, {"the others", k.others}} {
		var gaps []string
		worst := sent{}
		for _, g := range part.all {
			gaps = append(gaps, fmt.Sprintf("%d: %.2f", g.group, g.gap.Seconds()))
			worst = slower(worst, g.slowest)
		}
		fmt.Fprintf(&b, "  %s unavailable for s (group: time) %s; slowest write %s\n", part.what, strings.Join(gaps, ", "), worst)
	}
	fmt.Fprintf(&b, "  slowest read %s, transaction %s; after it came back %s; %d requests\n", k.reads, k.txs, k.back, k.requests)
	return b.String()
}

// round loads, kills a node, starts it again, and says what the others' clients saw.
func (c *cluster) round(ctx context.Context, l *load, victim *node, o deathOptions) (*outage, error) {
	var survivors []*node
	for _, n := range c.nodes {
		if n != victim {
			survivors = append(survivors, n)
		}
	}
	r, err := store.DescribeRanges(ctx, survivors[0].url(), false, c.sign)
	if err != nil {
		return nil, err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	l.begin(running, survivors, r.Ranges, o.pause)
	l.haunt(running, victim, r.Ranges)
	var killed, started time.Time
	err = func() error {
		if err := wait(ctx, o.before); err != nil {
			return err
		}
		killed = time.Now()
		if err := victim.kill(); err != nil {
			return err
		}
		if err := wait(ctx, o.after); err != nil {
			return err
		}
		started = time.Now()
		if err := c.start(victim); err != nil {
			return err
		}
		if err := victim.serving(ctx); err != nil {
			return fmt.Errorf("node %d does not come back: %w", victim.number, err)
		}
		return wait(ctx, o.back)
	}()
	end()
	requests := l.end()
	if err != nil {
		return nil, err
	}
	if err := c.even(ctx); err != nil {
		return nil, err
	}
	return summarize(requests, r.Ranges, victim.number, killed, started), nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
