package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/shard"
)

// cluster of processes on this machine.
type cluster struct {
	binary, secret string
	users          string // file, where requests must be signed
	sign           store.Signer
	extra          []string // flags of all nodes
	nodes          []*node
}

// place is where a node is.
type place struct {
	prefix        []string // of the command that starts it
	address, peer string
	dir           string
}

// node of a cluster; its process may be dead.
type node struct {
	*process
	place
	number int
	client *dynamodb.Client
	once   *dynamodb.Client // does not try again
}

func (n *node) url() string { return "http://" + n.address }

// startCluster starts nodes on loopback and has them keep the table in so many ranges, which are led evenly. With auto they go on to split and merge.
func startCluster(ctx context.Context, dir, binary string, nodes, ranges int, auto bool) (c *cluster, err error) {
	var places []place
	for i := range nodes {
		p := place{dir: filepath.Join(dir, "node"+strconv.Itoa(i+1))}
		if p.address, err = freeAddress(); err == nil {
			p.peer, err = freeAddress()
		}
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	if c, err = newCluster(dir, binary, places); err != nil {
		return nil, err
	}
	if !auto {
		c.extra = []string{"--manual-ranges"}
	}
	return c, c.begin(ctx, ranges)
}

func newCluster(dir, binary string, places []place) (c *cluster, err error) {
	if binary, err = program(dir, binary); err != nil {
		return nil, err
	}
	c = &cluster{binary: binary, secret: filepath.Join(dir, "secret")}
	if err := os.WriteFile(c.secret, []byte(clusterSecret+"\n"), 0o600); err != nil {
		return nil, err
	}
	for i, p := range places {
		c.nodes = append(c.nodes, &node{place: p, number: i + 1, client: newClient(p.address, nil), once: newClient(p.address, aws.NopRetryer{})})
	}
	return c, nil
}

const (
	clusterSecret = "a secret of the benchmark"
	region        = "us-east-1"
)

// What clients sign with, where that is checked.
const accessKey, secretKey = "key", "secret"

func newClient(address string, retryer aws.Retryer) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: region, BaseEndpoint: aws.String("http://" + address), Retryer: retryer,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")})
}

// begin starts all nodes as a new cluster; if that fails none is left.
func (c *cluster) begin(ctx context.Context, ranges int) (err error) {
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	for _, n := range c.nodes {
		if err := c.start(n, "--bootstrap"); err != nil {
			return err
		}
	}
	return c.prepare(ctx, ranges)
}

func (c *cluster) start(n *node, extra ...string) (err error) {
	args := append(slices.Clone(n.prefix), c.binary, "store", "--listen", n.address, "--dir", n.dir, "--secret-file", c.secret, "--node", strconv.Itoa(n.number))
	for _, p := range c.nodes {
		args = append(args, "--peer", fmt.Sprintf("%d=%s", p.number, p.peer))
	}
	if c.users != "" {
		args = append(args, "--users-file", c.users)
	}
	args = slices.Concat(args, c.extra, extra)
	n.process, err = startProcess(exec.Command(args[0], args[1:]...))
	return err
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		if n.process != nil {
			n.process.stop()
		}
	}
}

// kill ends a node as a crash would.
func (n *node) kill() error {
	err := n.cmd.Process.Kill()
	_ = n.cmd.Wait() // it was killed
	n.process = nil
	return err
}

// serving waits until a node answers clients.
func (n *node) serving(ctx context.Context) error {
	return until(ctx, time.Minute, func(ctx context.Context) error {
		_, err := n.client.ListTables(ctx, &dynamodb.ListTablesInput{})
		return err
	})
}

// until repeats do until it succeeds.
func until(ctx context.Context, within time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// prepare makes the table and its ranges.
func (c *cluster) prepare(ctx context.Context, ranges int) error {
	for _, n := range c.nodes {
		if err := n.serving(ctx); err != nil {
			return fmt.Errorf("node %d does not serve: %w\n%s", n.number, err, n.log.String())
		}
	}
	first := c.nodes[0]
	_, err := first.client.CreateTable(ctx, &dynamodb.CreateTableInput{TableName: aws.String("bench"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}}})
	if err != nil {
		return fmt.Errorf("making the table: %w", err)
	}
	r, err := store.DescribeRanges(ctx, first.url(), false, c.sign)
	if err != nil {
		return err
	}
	for i := range ranges {
		bucket := i * shard.Buckets / ranges
		if len(r.Ranges) > ranges || slices.ContainsFunc(r.Ranges, func(l store.RangeLoad) bool { return l.First == bucket }) {
			continue
		}
		if r, err = store.SplitRange(ctx, first.url(), bucket, c.sign); err != nil {
			return fmt.Errorf("splitting: %w", err)
		}
	}
	return c.even(ctx)
}

// even waits until the nodes lead about as many groups each.
func (c *cluster) even(ctx context.Context) error {
	err := until(ctx, time.Minute, func(ctx context.Context) error {
		r, err := store.DescribeRanges(ctx, c.nodes[0].url(), false, c.sign)
		if err != nil {
			return err
		}
		leads := map[uint64]int{}
		for _, l := range r.Ranges {
			leads[l.Leader]++
		}
		for _, n := range c.nodes {
			if leads[uint64(n.number)] < len(r.Ranges)/len(c.nodes) {
				return fmt.Errorf("node %d leads %d of %d groups", n.number, leads[uint64(n.number)], len(r.Ranges))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting until all nodes lead: %w", err)
	}
	return nil
}
