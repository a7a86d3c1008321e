package dynamo_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/store/dynamo"
)

// TestTablesAreMeasured asks a table over HTTP and looks at what was counted.
func TestTablesAreMeasured(t *testing.T) {
	a := open(t)
	must(t, a, "CreateTable", simpleTable)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dynamo.NewServer(a, 10).Serve(ctx, l, time.Minute) }()
	defer cancel()
	ask := func(operation, body string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body) // or the connection is not used again, and the server takes ten
		answer.Body.Close()
	}
	const n = 256
	for i := range n {
		key := fmt.Sprint(i % 64)
		if i%2 == 0 {
			key = "hot"
		}
		ask("PutItem", `{"TableName":"things","Item":{"id":{"S":"`+key+`"}}}`)
		ask("GetItem", `{"TableName":"things","Key":{"id":{"S":"`+key+`"}}}`)
	}
	ask("GetItem", `{"TableName":"nothing","Key":{"id":{"S":"1"}}}`)
	ask("BatchWriteItem", `{"RequestItems":{"things":[{"PutRequest":{"Item":{"id":{"S":"x"}}}}]}}`)
	ask("TransactGetItems", `{"TransactItems":[{"Get":{"TableName":"things","Key":{"id":{"S":"x"}}}}]}`)
	cancel() // the last request is counted after its answer has gone out
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all := a.TableCounts()
	if len(all) != 1 || all[0].Table != "things" {
		t.Fatalf("counted %+v", all)
	}
	c := all[0]
	if c.Read.Latency.Count() != n+1 || c.Write.Latency.Count() != n+1 {
		t.Errorf("%d reads and %d writes, want %d of each", c.Read.Latency.Count(), c.Write.Latency.Count(), n+1)
	}
	if c.Write.In == 0 || c.Read.Out == 0 || c.Read.Latency.Sum() <= 0 {
		t.Errorf("bytes or time are missing: %+v", c)
	}
	if looked := c.Read.Sampled + c.Write.Sampled; looked > n/2 {
		t.Errorf("%d requests were looked at for their CPU time", looked)
	}
	if len(c.Hot) == 0 || c.Hot[0].Key != "hot" || c.Hot[0].Share < 0.2 || c.Hot[0].Share > 0.8 {
		t.Errorf("hot keys: %+v", c.Hot)
	}
	sums := a.TableSums()["things"]
	if sums.Reads != n+1 || sums.Writes != n+1 || sums.ReadTime <= 0 {
		t.Errorf("sums: %+v", sums)
	}
}
