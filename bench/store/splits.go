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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/banyanhq/banyan/store"
)

// splitsOptions of how ranges are split under load.
type splitsOptions struct {
	nodes, ranges int
	between       time.Duration
	pause, bar    time.Duration
	hot           int
	binary        string
}

// splits has ranges be split while clients write and read what is in them: first when it is told to, then when a range is hot.
func splits(ctx context.Context, args []string) (err error) {
	var o splitsOptions
	flags := flag.NewFlagSet("splits", flag.ExitOnError)
	flags.IntVar(&o.nodes, "nodes", 3, "nodes; the table begins in as many ranges")
	flags.IntVar(&o.ranges, "ranges", 16, "ranges that the table is split into")
	flags.DurationVar(&o.between, "between", time.Second, "load between two splits")
	flags.DurationVar(&o.pause, "pause", 20*time.Millisecond, "between two requests of a client")
	flags.DurationVar(&o.bar, "bar", 2*time.Second, "what a split may take, and the slowest request")
	flags.IntVar(&o.hot, "hot", 16, "clients that write to a single range, as fast as they can")
	flags.StringVar(&o.binary, "binary", "", "banyan program (default: built)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.nodes < 3 || o.ranges <= o.nodes || o.ranges > 32 {
		return errors.New("splits: expected 3 or more nodes, and more ranges than nodes, up to 32")
	}
	dir, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary, err = program(dir, o.binary); err != nil {
		return err
	}
	var missed []error
	for _, phase := range []struct {
		name string
		do   func(context.Context, string, splitsOptions) error
	}{{"told", splitUnderLoad}, {"hot", splitByHeat}} {
		at := filepath.Join(dir, phase.name)
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		missed = append(missed, phase.do(ctx, at, o))
	}
	return errors.Join(missed...)
}

// start starts the nodes, and says which ranges they begin with.
func (o splitsOptions) start(ctx context.Context, dir string, auto bool) (c *cluster, r *store.Ranges, err error) {
	if c, err = startCluster(ctx, dir, o.binary, o.nodes, o.nodes, auto); err != nil {
		return nil, nil, err
	}
	if r, err = store.DescribeRanges(ctx, c.nodes[0].url(), false, nil); err != nil {
		c.stop()
		return nil, nil, err
	}
	return c, r, nil
}

// splitUnderLoad splits ranges one after the other.
func splitUnderLoad(ctx context.Context, dir string, o splitsOptions) error {
	c, r, err := o.start(ctx, dir, false)
	if err != nil {
		return err
	}
	defer c.stop()
	began := len(r.Ranges) - 1 // without the descriptions of tables
	l := newLoad()
	running, stop := context.WithCancel(ctx)
	defer stop()
	l.begin(running, c.nodes, r.Ranges, o.pause)
	var took []time.Duration
	for err == nil && len(r.Ranges)-1 < o.ranges {
		if err = wait(ctx, o.between); err != nil {
			break
		}
		asked := time.Now()
		if r, err = store.SplitRange(ctx, c.nodes[rand.IntN(len(c.nodes))].url(), widest(r.Ranges), nil); err == nil {
			took = append(took, time.Since(asked))
		}
	}
	if err == nil {
		err = wait(ctx, o.between)
	}
	stop()
	requests := l.end()
	if err != nil {
		return err
	}
	lost, err := l.audit(ctx, c)
	if err != nil {
		return err
	}
	worst := slowest(requests)
	fmt.Printf("from %d to %d ranges on %d nodes: a split took %s (median), %s (slowest); of %d requests %d failed beyond the SDK's retries, the slowest took %s; %d of %d counters lost writes\n",
		began, len(r.Ranges)-1, o.nodes, seconds(middle(took)), seconds(slices.Max(took)), len(requests), l.failures(), worst, lost, len(l.counters))
	if slices.Max(took) > o.bar || worst.took > o.bar || l.failures() > 0 || lost > 0 {
		return fmt.Errorf("the bar is %s, no failed request, and nothing lost", o.bar)
	}
	return nil
}

// widest is the bucket in the middle of the range that has most.
func widest(ranges []store.RangeLoad) int {
	r := slices.MaxFunc(ranges, func(a, b store.RangeLoad) int { return (a.Last - a.First) - (b.Last - b.First) })
	return (r.First + r.Last + 1) / 2
}

func slowest(requests []sent) (worst sent) {
	for _, r := range requests {
		worst = slower(worst, r)
	}
	return worst
}

// splitByHeat writes to one range, and waits until the nodes have split it.
func splitByHeat(ctx context.Context, dir string, o splitsOptions) error {
	c, r, err := o.start(ctx, dir, true)
	if err != nil {
		return err
	}
	defer c.stop()
	before := len(r.Ranges)
	hot := r.Ranges[slices.IndexFunc(r.Ranges, func(l store.RangeLoad) bool { return l.Last >= 0 })]
	l := newLoad()
	running, stop := context.WithCancel(ctx)
	defer stop()
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = keyIn(hot, i)
	}
	began := time.Now()
	for i := range o.hot {
		n := c.nodes[i%len(c.nodes)]
		l.client(running, n, writing, time.Microsecond, func() (uint64, error) {
			_, err := n.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("bench"), Item: itemKey(keys[rand.IntN(len(keys))])})
			return hot.Group, err
		})
	}
	err = until(ctx, time.Minute, func(ctx context.Context) error {
		now, err := store.DescribeRanges(ctx, c.nodes[0].url(), false, nil)
		if err == nil && len(now.Ranges) == before {
			err = errors.New("it is not split")
		}
		return err
	})
	took := time.Since(began)
	if err == nil {
		err = wait(ctx, o.between)
	}
	stop()
	requests := l.end()
	if err != nil {
		return fmt.Errorf("a hot range: %w", err)
	}
	worst := slowest(requests)
	fmt.Printf("a range that got %.0f writes a second was split by itself %s after they began; %d requests failed beyond the SDK's retries, the slowest took %s\n",
		float64(len(requests))/time.Since(began).Seconds(), seconds(took), l.failures(), worst)
	if worst.took > o.bar || l.failures() > 0 {
		return fmt.Errorf("the bar is %s for the slowest request, and no failed one", o.bar)
	}
	return nil
}
