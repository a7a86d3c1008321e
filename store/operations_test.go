package store_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"

	"github.com/banyanhq/banyan/store"
)

func TestPagesBatchesAndSegments(t *testing.T) {
	c := start(t, nil)
	orders(t, c)
	const count = 60
	for from := 0; from < count; from += 25 {
		var requests []types.WriteRequest
		for i := from; i < min(from+25, count); i++ {
			it := order(fmt.Sprintf("customer-%d", i%7), i, "open", i)
			it["blob"] = &types.AttributeValueMemberB{Value: make([]byte, 40_000)}
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: it}})
		}
		if _, err := c.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"orders": requests}}); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := map[string]bool{}, 0
	for segment := range int32(2) {
		p := dynamodb.NewScanPaginator(c, &dynamodb.ScanInput{TableName: aws.String("orders"), Segment: &segment, TotalSegments: aws.Int32(2)})
		for p.HasMorePages() {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, it := range page.Items {
				seen[it["id"].(*types.AttributeValueMemberN).Value] = true
			}
		}
	}
	if len(seen) != count || pages < 3 { // of 2.4 MB one segment has more than a page of 1 MB
		t.Errorf("%d items in %d pages", len(seen), pages)
	}
	p := dynamodb.NewQueryPaginator(c, &dynamodb.QueryInput{TableName: aws.String("orders"), IndexName: aws.String("by-state"), KeyConditionExpression: aws.String("#s = :s"),
		ExpressionAttributeNames: map[string]string{"#s": "state"}, ExpressionAttributeValues: item{":s": s("open")}, ScanIndexForward: aws.Bool(false)})
	last, n := count, 0
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			var row struct{ Amount int }
			if err := attributevalue.UnmarshalMapWithOptions(it, &row, func(o *attributevalue.DecoderOptions) { o.TagKey = "json" }); err != nil {
				t.Fatal(err)
			}
			if row.Amount >= last {
				t.Errorf("%d after %d", row.Amount, last)
			}
			last = row.Amount
			n++
		}
	}
	if n != count {
		t.Errorf("the index has %d entries", n)
	}
}

func TestTransactions(t *testing.T) {
	c := start(t, nil)
	orders(t, c)
	put(t, c, "orders", order("ann", 1, "open", 30))
	write := func(token string, state string) error {
		_, err := c.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{ClientRequestToken: &token, TransactItems: []types.TransactWriteItem{
			{Update: &types.Update{TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(1)}, UpdateExpression: aws.String("ADD amount :one"),
				ConditionExpression: aws.String("#s = :state"), ExpressionAttributeNames: map[string]string{"#s": "state"}, ExpressionAttributeValues: item{":one": n(1), ":state": s(state)},
				ReturnValuesOnConditionCheckFailure: "ALL_OLD"}},
			{Put: &types.Put{TableName: aws.String("orders"), Item: order("ann", 2, "new", 1)}},
		}})
		return err
	}
	for range 2 { // the second time the token says that it has been done
		if err := write("token-1", "open"); err != nil {
			t.Fatal(err)
		}
	}
	err := write("token-2", "paid")
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 2 || *cancelled.CancellationReasons[0].Code != "ConditionalCheckFailed" ||
		*cancelled.CancellationReasons[1].Code != "None" || cancelled.CancellationReasons[0].Item["amount"].(*types.AttributeValueMemberN).Value != "31" {
		t.Errorf("got %v", err)
	}
	var mismatch *types.IdempotentParameterMismatchException
	if err := write("token-1", "paid"); !errors.As(err, &mismatch) {
		t.Errorf("another request with the same token: %v", err)
	}
	got, err := c.TransactGetItems(t.Context(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(1)}}},
		{Get: &types.Get{TableName: aws.String("orders"), Key: item{"customer": s("ann"), "id": n(9)}}},
	}})
	if err != nil || got.Responses[0].Item["amount"].(*types.AttributeValueMemberN).Value != "31" || got.Responses[1].Item != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTablesChange(t *testing.T) {
	c := start(t, nil)
	orders(t, c)
	put(t, c, "orders", order("ann", 1, "open", 30))
	_, err := c.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("orders"), DeletionProtectionEnabled: aws.Bool(true),
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("amount"), AttributeType: "N"}},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("by-amount-alone"),
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("amount"), KeyType: "HASH"}}, Projection: &types.Projection{ProjectionType: "KEYS_ONLY"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var table *types.TableDescription
	for active := false; !active; {
		d, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("orders")})
		if err != nil {
			t.Fatal(err)
		}
		table, active = d.Table, len(d.Table.GlobalSecondaryIndexes) == 2 && d.Table.GlobalSecondaryIndexes[1].IndexStatus == "ACTIVE"
	}
	if *table.ItemCount != 1 || *table.GlobalSecondaryIndexes[1].ItemCount != 1 || len(table.LocalSecondaryIndexes) != 1 || table.TableStatus != "ACTIVE" {
		t.Errorf("described as %+v", table)
	}
	_, err = c.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("orders")})
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "ValidationException" {
		t.Errorf("a protected table: %v", err)
	}
	if _, err := c.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("orders"), DeletionProtectionEnabled: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("orders")}); err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableNotExistsWaiter(c).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("orders")}, time.Minute); err != nil {
		t.Error(err)
	}
	orders(t, c) // the new one is empty
	if got, err := c.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("orders")}); err != nil || got.Count != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestStreams(t *testing.T) {
	var url string
	c := start(t, func(cfg *store.Config) { cfg.Region = "eu-central-1" })
	url = *c.Options().BaseEndpoint
	streams := dynamodbstreams.New(dynamodbstreams.Options{BaseEndpoint: &url, Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")})
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: aws.String("carts"), BillingMode: "PAY_PER_REQUEST",
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: "HASH"}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: "NEW_AND_OLD_IMAGES"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: aws.String("carts"),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("until"), Enabled: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "carts", item{"id": s("a"), "n": n(1)})
	put(t, c, "carts", item{"id": s("a"), "n": n(1)}) // changes nothing, and is no change
	put(t, c, "carts", item{"id": s("a"), "n": n(2)})
	put(t, c, "carts", item{"id": s("a"), "n": n(3), "until": n(time.Now().Unix() - 5)}) // which has expired

	list, err := streams.ListStreams(t.Context(), &dynamodbstreams.ListStreamsInput{TableName: aws.String("carts")})
	if err != nil || len(list.Streams) != 1 || !strings.HasPrefix(*list.Streams[0].StreamArn, "arn:aws:dynamodb:eu-central-1:") {
		t.Fatalf("%v, %v", list, err)
	}
	d, err := streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: list.Streams[0].StreamArn})
	if err != nil {
		t.Fatal(err)
	}
	var next []*string // of the shards: a table that is spread has several
	for _, shard := range d.StreamDescription.Shards {
		it, err := streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: list.Streams[0].StreamArn, ShardId: shard.ShardId,
			ShardIteratorType: "TRIM_HORIZON"})
		if err != nil {
			t.Fatal(err)
		}
		next = append(next, it.ShardIterator)
	}
	var records []streamtypes.Record
	for i := 0; len(records) < 4; i = (i + 1) % len(next) {
		got, err := streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: next[i], Limit: aws.Int32(2)})
		if err != nil {
			t.Fatal(err)
		}
		records, next[i] = append(records, got.Records...), got.NextShardIterator
	}
	var names []string
	for _, r := range records {
		names = append(names, string(r.EventName))
	}
	if got := strings.Join(names, " "); got != "INSERT MODIFY MODIFY REMOVE" {
		t.Errorf("events %s", got)
	}
	last := records[3]
	if last.UserIdentity == nil || *last.UserIdentity.PrincipalId != "dynamodb.amazonaws.com" || last.Dynamodb.OldImage["n"].(*streamtypes.AttributeValueMemberN).Value != "3" {
		t.Errorf("the last: %+v", last)
	}
	if first := records[0].Dynamodb; first.OldImage != nil || len(first.NewImage) != 2 || *first.SequenceNumber >= *records[1].Dynamodb.SequenceNumber {
		t.Errorf("the first: %+v", first)
	}
}

func TestUsersSign(t *testing.T) {
	c := start(t, func(cfg *store.Config) { cfg.Users = map[string]string{"alice": "wonderland"} })
	url := *c.Options().BaseEndpoint
	for _, try := range []struct{ key, secret, code string }{
		{"alice", "wonderland", ""}, {"alice", "wrong", "InvalidSignatureException"}, {"bob", "wonderland", "UnrecognizedClientException"},
	} {
		_, err := client(url, try.key, try.secret).ListTables(t.Context(), &dynamodb.ListTablesInput{})
		var refused smithy.APIError
		if errors.As(err, &refused); try.code == "" && err != nil || try.code != "" && (refused == nil || refused.ErrorCode() != try.code) {
			t.Errorf("%s with %s: %v", try.key, try.secret, err)
		}
	}
	if _, err := store.New(store.Config{Listen: "0.0.0.0:0", Dir: t.TempDir()}); err == nil {
		t.Error("others can reach it, and nobody must sign")
	}
}

// boto is what a Python program does with tables, through boto3.
const boto = `
import boto3, sys
from decimal import Decimal
from boto3.dynamodb.conditions import Key, Attr
from botocore.exceptions import ClientError
db = boto3.resource('dynamodb', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='k', aws_secret_access_key='s')
t = db.create_table(TableName='films', BillingMode='PAY_PER_REQUEST', KeySchema=[{'AttributeName':'year','KeyType':'HASH'},{'AttributeName':'title','KeyType':'RANGE'}],
    AttributeDefinitions=[{'AttributeName':'year','AttributeType':'N'},{'AttributeName':'title','AttributeType':'S'}])
t.wait_until_exists()
with t.batch_writer() as batch:
    for i in range(60):
        batch.put_item(Item={'year': 1990 + i % 3, 'title': 'film %02d' % i, 'rating': Decimal(i) / 10, 'tags': {'x', 'y'}, 'info': {'cast': ['a', 'b'], 'ok': True, 'none': None, 'raw': b'\x00\xff'}})
got = t.get_item(Key={'year': 1990, 'title': 'film 03'}, ConsistentRead=True)['Item']
assert got['rating'] == Decimal('0.3') and got['tags'] == {'x', 'y'} and got['info']['raw'].value == b'\x00\xff' and got['info']['none'] is None, got
r = t.query(KeyConditionExpression=Key('year').eq(1991) & Key('title').begins_with('film 1'), FilterExpression=Attr('rating').gt(Decimal('1.2')))
assert [i['title'] for i in r['Items']] == ['film 13', 'film 16', 'film 19'], r
r = t.update_item(Key={'year': 1990, 'title': 'film 03'}, UpdateExpression='SET rating = rating + :d, info.#c[1] = :c', ExpressionAttributeNames={'#c': 'cast'},
    ExpressionAttributeValues={':d': Decimal('0.5'), ':c': 'z'}, ReturnValues='UPDATED_NEW')
assert r['Attributes']['rating'] == Decimal('0.8'), r
try:
    t.put_item(Item={'year': 1990, 'title': 'film 03'}, ConditionExpression=Attr('title').not_exists())
    raise SystemExit('it was put')
except ClientError as e:
    assert e.response['Error']['Code'] == 'ConditionalCheckFailedException', e
assert sum(1 for page in db.meta.client.get_paginator('scan').paginate(TableName='films', PaginationConfig={'PageSize': 7}) for _ in page['Items']) == 60
try:
    t.query(KeyConditionExpression='#y = :y', ExpressionAttributeNames={'#y': 'year', '#z': 'z'}, ExpressionAttributeValues={':y': 1990})
    raise SystemExit('it was taken')
except ClientError as e:
    assert e.response['Error'] == {'Code': 'ValidationException', 'Message': 'Value provided in ExpressionAttributeNames unused in expressions: keys: {#z}'}, e.response
t.delete()
t.wait_until_not_exists()
print('done')
`

func TestPython(t *testing.T) {
	python := "/usr/bin/python3" // Debian's own, which has Debian's packages
	if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
		t.Skip("Debian's package python3-boto3 is not installed")
	}
	c := start(t, nil)
	out, err := exec.Command(python, "-c", boto, *c.Options().BaseEndpoint).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%v\n%s", err, out)
	}
}
