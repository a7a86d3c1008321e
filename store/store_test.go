package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/store/cluster"
)

// start runs a store in memory and returns a client of it. With clustered, that is one node of three.
func start(t *testing.T, change func(*store.Config)) *dynamodb.Client {
	t.Helper()
	if clustered {
		return startCluster(t, change).nodes[1].client
	}
	c, _ := startNode(t, nil, change)
	return c
}

// startNode runs a store in memory and returns a client of it, and what stops it.
func startNode(t *testing.T, of *cluster.Config, change func(*store.Config)) (*dynamodb.Client, func()) {
	t.Helper()
	cfg := store.Config{Dir: "data", FS: vfs.NewMem(), Sweep: 20 * time.Millisecond, Cluster: of}
	if change != nil {
		change(&cfg)
	}
	s, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return clientOf(s.URL(), "key", "secret", of != nil), stop
}

// client tries again for one error only, which is the SDK's own: it closes the body of a request as soon as the answer begins, and
// where that came within microseconds net/http has yet to look whether the body has an end, takes the closing for a failure and
// drops the connection with the answer half read.
func client(url, key, secret string) *dynamodb.Client { return clientOf(url, key, secret, false) }

// clientOf tries again, on several nodes, what was not done as well.
func clientOf(url, key, secret string, several bool) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(url), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.Retryables = 10, []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				// On several nodes of a slow machine an election may come at any time, and more may wait than has room: SDKs sit both out
				// by default.
				unled := several && (strings.Contains(err.Error(), "ServiceUnavailableException") || strings.Contains(err.Error(), "ThrottlingException"))
				return aws.BoolTernary(unled || strings.Contains(err.Error(), "use of closed network connection"))
			})}
		}),
	})
}

type item = map[string]types.AttributeValue

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v any) types.AttributeValue    { return &types.AttributeValueMemberN{Value: fmt.Sprint(v)} }

// orders creates a table with a local and a global index.
func orders(t *testing.T, c *dynamodb.Client) {
	t.Helper()
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("orders"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("customer"), AttributeType: "S"}, {AttributeName: aws.String("id"), AttributeType: "N"},
			{AttributeName: aws.String("state"), AttributeType: "S"}, {AttributeName: aws.String("amount"), AttributeType: "N"},
		},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("customer"), KeyType: "HASH"}, {AttributeName: aws.String("id"), KeyType: "RANGE"}},
		LocalSecondaryIndexes: []types.LocalSecondaryIndex{{
			IndexName:  aws.String("by-amount"),
			KeySchema:  []types.KeySchemaElement{{AttributeName: aws.String("customer"), KeyType: "HASH"}, {AttributeName: aws.String("amount"), KeyType: "RANGE"}},
			Projection: &types.Projection{ProjectionType: "KEYS_ONLY"},
		}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName:  aws.String("by-state"),
			KeySchema:  []types.KeySchemaElement{{AttributeName: aws.String("state"), KeyType: "HASH"}, {AttributeName: aws.String("amount"), KeyType: "RANGE"}},
			Projection: &types.Projection{ProjectionType: "ALL"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func order(customer string, id int, state string, total int) item {
	return item{"customer": s(customer), "id": n(id), "state": s(state), "amount": n(total)}
}

func put(t *testing.T, c *dynamodb.Client, table string, it item) {
	t.Helper()
	if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it}); err != nil {
		t.Fatal(err)
	}
}

func TestItemsThroughTheSDK(t *testing.T) {
	c := start(t, nil)
	orders(t, c)
	put(t, c, "orders", order("ann", 1, "open", 30))
	put(t, c, "orders", order("ann", 2, "paid", 10))
	put(t, c, "orders", order("bob", 1, "open", 20))

	got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(2)},
		ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: "TOTAL"})
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Item["amount"].(*types.AttributeValueMemberN).Value; v != "10" {
		t.Errorf("total %s", v)
	}
	if u := *got.ConsumedCapacity.CapacityUnits; u != 1 {
		t.Errorf("%v units", u)
	}

	up, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(2)},
		UpdateExpression: aws.String("SET #s = :s, amount = amount + :one ADD visits :one REMOVE nothing"), ConditionExpression: aws.String("#s = :paid"),
		ExpressionAttributeNames:  map[string]string{"#s": "state"},
		ExpressionAttributeValues: item{":s": s("open"), ":one": n(1), ":paid": s("paid")}, ReturnValues: "UPDATED_NEW",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(up.Attributes) != 3 || up.Attributes["amount"].(*types.AttributeValueMemberN).Value != "11" {
		t.Errorf("updated to %v", up.Attributes)
	}

	_, err = c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(2)},
		UpdateExpression: aws.String("SET amount = :one"), ConditionExpression: aws.String("attribute_not_exists(customer)"),
		ExpressionAttributeValues: item{":one": n(1)}, ReturnValuesOnConditionCheckFailure: "ALL_OLD",
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || len(failed.Item) != 5 {
		t.Errorf("got %v with %v", err, failed)
	}

	open, err := c.Query(t.Context(), &dynamodb.QueryInput{TableName: aws.String("orders"), IndexName: aws.String("by-state"),
		KeyConditionExpression: aws.String("#s = :o and amount between :a and :b"), ExpressionAttributeNames: map[string]string{"#s": "state"},
		ExpressionAttributeValues: item{":o": s("open"), ":a": n(11), ":b": n(25)}})
	if err != nil {
		t.Fatal(err)
	}
	if open.Count != 2 || open.Items[0]["customer"].(*types.AttributeValueMemberS).Value != "ann" {
		t.Errorf("open: %v", open.Items)
	}

	byTotal, err := c.Query(t.Context(), &dynamodb.QueryInput{TableName: aws.String("orders"), IndexName: aws.String("by-amount"), Select: "ALL_ATTRIBUTES",
		KeyConditionExpression: aws.String("customer = :c"), ExpressionAttributeValues: item{":c": s("ann")}, ScanIndexForward: aws.Bool(false)})
	if err != nil {
		t.Fatal(err)
	}
	if byTotal.Count != 2 || byTotal.Items[0]["amount"].(*types.AttributeValueMemberN).Value != "30" || byTotal.Items[0]["state"] == nil {
		t.Errorf("by total: %v", byTotal.Items)
	}
}
