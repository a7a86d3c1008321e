package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/store"
)

// A range is split bucket by bucket while the SDK writes to it, with items and transactions: no request fails beyond what the SDK tries
// again, and all that was acknowledged is there.
func TestHotRangeIsSplit(t *testing.T) {
	c := startCluster(t, func(s *store.Config) {
		s.Tables = []store.Table{{Name: "hot", Key: []string{"id"}}}
		s.Cluster.Manual = true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	retries := func(o *dynamodb.Options) { o.RetryMaxAttempts = 10 }
	var stop atomic.Bool
	var acked [6]atomic.Int64
	var all sync.WaitGroup
	for w := range acked {
		client := c.nodes[w%3].client
		all.Go(func() {
			for i := int64(1); !stop.Load(); i++ {
				var err error
				if w < 3 {
					_, err = client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("hot"), Item: item{"id": s(fmt.Sprint(w, "-", i)), "n": n(i)}}, retries)
				} else {
					in := &dynamodb.TransactWriteItemsInput{}
					for part := range 3 {
						in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: aws.String("hot"), Item: item{"id": s(fmt.Sprint(w, "-", part)), "n": n(i)}}})
					}
					_, err = client.TransactWriteItems(ctx, in, retries)
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				acked[w].Store(i)
			}
		})
	}
	on := func() {
		t.Helper()
		for w := range acked {
			for before := acked[w].Load(); acked[w].Load() < before+5; time.Sleep(time.Millisecond) {
				if ctx.Err() != nil || t.Failed() {
					stop.Store(true)
					all.Wait()
					t.Fatal("the writers stand still")
				}
			}
		}
	}
	on()
	for i, bucket := range []int{4, 2, 25, 14} {
		r, err := store.SplitRange(ctx, *c.nodes[i%3].client.Options().BaseEndpoint, bucket, nil)
		for err != nil && strings.Contains(err.Error(), "unable to process") { // there is no leader at the moment, and nothing was done
			r, err = store.SplitRange(ctx, *c.nodes[i%3].client.Options().BaseEndpoint, bucket, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Ranges) != 5+i {
			t.Errorf("%d ranges after %d splits", len(r.Ranges), i+1)
		}
		on()
	}
	stop.Store(true)
	all.Wait()
	if _, err := store.SplitRange(ctx, *c.nodes[0].client.Options().BaseEndpoint, 99, nil); err == nil {
		t.Error("a bucket that there is not")
	}
	value := func(id string) (v int64) {
		got, err := c.nodes[2].client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("hot"), ConsistentRead: aws.Bool(true), Key: item{"id": s(id)}}, retries)
		if err != nil {
			t.Fatal(err)
		}
		if it, ok := got.Item["n"].(*types.AttributeValueMemberN); ok {
			fmt.Sscan(it.Value, &v)
		}
		return v
	}
	for w := range acked {
		last := acked[w].Load()
		for i := int64(1); w < 3 && i <= last; i++ {
			if value(fmt.Sprint(w, "-", i)) != i {
				t.Errorf("writer %d: item %d of %d is not there", w, i, last)
			}
		}
		for part := 0; w >= 3 && part < 3; part++ {
			if v := value(fmt.Sprint(w, "-", part)); v != last {
				t.Errorf("writer %d: part %d is at %d, %d was acknowledged", w, part, v, last)
			}
		}
	}
}

// Reasons come in the order of the items, also where the items are in several ranges; a token is answered as what it was used for.
func TestReasonsOverRanges(t *testing.T) {
	client := startCluster(t, func(s *store.Config) { s.Tables = []store.Table{{Name: "things", Key: []string{"id"}}} }).nodes[0].client
	write := func(token string, condition bool) error {
		in := &dynamodb.TransactWriteItemsInput{ClientRequestToken: &token}
		for i := range 8 {
			p := &types.Put{TableName: aws.String("things"), Item: item{"id": s(fmt.Sprint(i))}}
			if condition && i%3 == 0 {
				p.ConditionExpression = aws.String("attribute_not_exists(id)")
			}
			in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: p})
		}
		_, err := client.TransactWriteItems(t.Context(), in, func(o *dynamodb.Options) { o.RetryMaxAttempts = 10 })
		return err
	}
	for range 2 { // the second time nothing is done
		if err := write("first", true); err != nil {
			t.Fatal(err)
		}
	}
	var mismatch *types.IdempotentParameterMismatchException
	if err := write("first", false); !errors.As(err, &mismatch) {
		t.Errorf("another request with the token: %v", err)
	}
	var cancelled *types.TransactionCanceledException
	if err := write("second", true); !errors.As(err, &cancelled) {
		t.Fatal(err)
	}
	for i, r := range cancelled.CancellationReasons {
		want := "None"
		if i%3 == 0 {
			want = "ConditionalCheckFailed"
		}
		if *r.Code != want {
			t.Errorf("reason %d is %s, expected %s", i, *r.Code, want)
		}
	}
}
