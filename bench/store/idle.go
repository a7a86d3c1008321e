package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// idle measures what nodes use whose clients have nothing to ask.
func idle(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("idle", flag.ExitOnError)
	nodes := flags.Int("nodes", 3, "nodes")
	ranges := flags.Int("ranges", 32, "ranges that the table is in")
	settle := flags.Duration("settle", 10*time.Second, "wait before it is measured")
	length := flags.Duration("for", 30*time.Second, "time that is measured")
	bar := flags.Float64("bar", 2, "percent of a core that a node may use")
	binary := flags.String("binary", "", "banyan program (default: built)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *nodes < 3 || *ranges < 1 || *ranges > 32 {
		return errors.New("idle: expected 3 or more nodes, and 1 to 32 ranges")
	}
	dir, err := os.MkdirTemp("", "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := startCluster(ctx, dir, *binary, *nodes, *ranges, false)
	if err != nil {
		return err
	}
	defer c.stop()
	if err := wait(ctx, *settle); err != nil {
		return err
	}
	before := make([]time.Duration, len(c.nodes))
	began := time.Now()
	for i, n := range c.nodes {
		before[i] = n.cpu()
	}
	if err := wait(ctx, *length); err != nil {
		return err
	}
	took, most := time.Since(began), 0.0
	for i, n := range c.nodes {
		share := 100 * (n.cpu() - before[i]).Seconds() / took.Seconds()
		most = max(most, share)
		fmt.Printf("node %d: %.2f %% of a core\n", n.number, share)
	}
	fmt.Printf("%d nodes, %d ranges and the system group, no requests for %s: %.2f %% of a core at most\n", *nodes, *ranges, length, most)
	if most > *bar {
		return fmt.Errorf("the bar is %g %%", *bar)
	}
	return nil
}
