package store_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/cluster"
)

// clustered has start run three nodes.
var clustered bool

// three nodes of one cluster.
type three struct {
	t     *testing.T
	nodes [3]struct {
		client *dynamodb.Client
		stop   func()
		disk   vfs.FS
	}
	peers  map[uint64]string
	change func(*store.Config)
}

func startCluster(t *testing.T, change func(*store.Config)) *three {
	t.Helper()
	c := &three{t: t, peers: map[uint64]string{}, change: change}
	var listeners [3]net.Listener
	for i := range c.nodes {
		l, err := net.Listen("tcp", loopback.Any())
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		c.peers[uint64(i+1)] = l.Addr().String()
		c.nodes[i].disk = vfs.NewMem()
	}
	for i := range c.nodes {
		c.start(i, listeners[i])
	}
	return c
}

// start runs a node; the first time with the listener that the others know.
func (c *three) start(i int, l net.Listener) {
	c.t.Helper()
	cfg := &cluster.Config{Node: uint64(i + 1), Peers: c.peers, Secret: []byte("a secret of the tests"), Listener: l, Bootstrap: l != nil, Tick: 20 * time.Millisecond}
	c.nodes[i].client, c.nodes[i].stop = startNode(c.t, cfg, func(s *store.Config) {
		s.FS = c.nodes[i].disk
		if c.change != nil {
			c.change(s)
		}
	})
}

// What the API does on one node it does on three.
func TestEverythingOnACluster(t *testing.T) {
	clustered = true
	defer func() { clustered = false }()
	for name, test := range map[string]func(*testing.T){
		"items": TestItemsThroughTheSDK, "pages": TestPagesBatchesAndSegments, "transactions": TestTransactions,
		"changes of tables": TestTablesChange, "streams": TestStreams,
	} {
		t.Run(name, test)
	}
}

// Counters are counted up through two nodes while the third, whichever leads, goes away and comes back: each acknowledged
// addition is there, once, and a consistent read on any node shows it.
func TestClusterLosesALeader(t *testing.T) {
	c := startCluster(t, func(s *store.Config) { s.Tables = []store.Table{{Name: "counters", Key: []string{"id"}}} })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	count := func(client *dynamodb.Client, id string) int {
		t.Helper()
		out, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("counters"), ConsistentRead: aws.Bool(true), Key: item{"id": s(id)}},
			func(o *dynamodb.Options) { o.RetryMaxAttempts = 10 })
		if err != nil {
			t.Fatal(err)
		}
		v, ok := out.Item["n"].(*types.AttributeValueMemberN)
		if !ok {
			return 0
		}
		n, _ := strconv.Atoi(v.Value)
		return n
	}
	for away := range c.nodes {
		var stop atomic.Bool
		var acked [4]atomic.Int64
		var all sync.WaitGroup
		for w := range acked {
			via := c.nodes[(away+1+w%2)%3].client
			all.Go(func() {
				for !stop.Load() {
					_, err := via.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String("counters"), Key: item{"id": s(fmt.Sprint(away, w))},
						UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: item{":one": n(1)}}, func(o *dynamodb.Options) { o.RetryMaxAttempts = 10 })
					if err != nil {
						t.Errorf("adding through another node than that which went away: %v", err)
						return
					}
					acked[w].Add(1)
				}
			})
		}
		reached := func(more int64) {
			t.Helper()
			before := [len(acked)]int64{}
			for w := range acked {
				before[w] = acked[w].Load()
			}
			for w := range acked {
				for acked[w].Load() < before[w]+more {
					if ctx.Err() != nil || t.Failed() {
						stop.Store(true)
						all.Wait()
						t.Fatal("the counters stand still")
					}
					time.Sleep(time.Millisecond)
				}
			}
		}
		reached(20)
		c.nodes[away].stop()
		reached(20)
		c.start(away, nil)
		reached(20)
		stop.Store(true)
		all.Wait()
		for w := range acked {
			for i := range c.nodes {
				if got := count(c.nodes[i].client, fmt.Sprint(away, w)); got != int(acked[w].Load()) {
					t.Errorf("counter %d after node %d was away, read on node %d: %d, acknowledged %d", w, away+1, i+1, got, acked[w].Load())
				}
			}
		}
	}
}
