package dynamo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store/dynamo"
	"github.com/banyanhq/banyan/store/engine"
)

// open runs an engine in memory and returns an API on it.
func open(t testing.TB) *dynamo.API {
	t.Helper()
	e, err := engine.Open(engine.Config{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return dynamo.New(dynamo.Config{Store: e})
}

// call carries out an operation and returns the status and the answer.
func call(a *dynamo.API, operation, body string) (int, string) {
	space := "DynamoDB_20120810."
	if strings.Contains(operation, "Stream") || operation == "GetShardIterator" || operation == "GetRecords" {
		space = "DynamoDBStreams_20120810."
	}
	status, answer := a.Answer(context.Background(), space+operation, []byte(body), nil)
	return status, string(answer)
}

func must(t testing.TB, a *dynamo.API, operation, body string) string {
	t.Helper()
	status, answer := call(a, operation, body)
	if status != 200 {
		t.Fatalf("%s %s: %s", operation, body, answer)
	}
	return answer
}

const simpleTable = `{"TableName":"things","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],
	"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`

func BenchmarkGetItem(b *testing.B) {
	a := open(b)
	must(b, a, "CreateTable", simpleTable)
	must(b, a, "PutItem", fmt.Sprintf(`{"TableName":"things","Item":{"id":{"S":"0000000001"},"v":{"S":"%s"}}}`, strings.Repeat("x", 1000)))
	body := []byte(`{"TableName":"things","ConsistentRead":true,"Key":{"id":{"S":"0000000001"}}}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		_, out = a.Answer(context.Background(), "DynamoDB_20120810.GetItem", body, out[:0])
	}
}

func BenchmarkPutItem(b *testing.B) {
	a := open(b)
	must(b, a, "CreateTable", simpleTable)
	body := fmt.Appendf(nil, `{"TableName":"things","Item":{"id":{"S":"0000000001"},"v":{"S":"%s"}}}`, strings.Repeat("x", 1000))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var out []byte
		for pb.Next() {
			_, out = a.Answer(context.Background(), "DynamoDB_20120810.PutItem", body, out[:0])
		}
	})
}
