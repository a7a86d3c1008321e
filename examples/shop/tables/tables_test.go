package tables_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/examples/shop/tables"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// stub answers the tables' API with a status and a body, and counts.
func stub(t *testing.T, answer func(n int64) (int, string)) (*dynamodb.Client, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := answer(asked.Add(1))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return tablestest.Client(server.URL), &asked
}

func cancelled(codes ...string) string {
	reasons := ""
	for i, c := range codes {
		if i > 0 {
			reasons += ","
		}
		reasons += fmt.Sprintf(`{"Code": %q}`, c)
	}
	return `{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "m", "CancellationReasons": [` + reasons + `]}`
}

func write(ctx context.Context, c *dynamodb.Client) error {
	_, err := c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Delete: &types.Delete{TableName: aws.String("orders"), Key: tables.Item{"id": tables.Text("1")}}}}})
	return err
}

func TestConflictsAreTriedAgain(t *testing.T) {
	const conflict = `{"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": "m"}`
	for _, tt := range []struct {
		name   string
		answer string
		tries  int64 // after the last of which it goes well, if there are so many
		want   int64
	}{
		{"a transaction in the way of another", cancelled("None", "TransactionConflict"), 3, 3},
		{"refused and in the way: not known yet", cancelled("TransactionConflict", "ConditionalCheckFailed"), 3, 3},
		{"a write in the way of a transaction", conflict, 2, 2},
		{"refused", cancelled("None", "ConditionalCheckFailed"), 3, 1},
		{"for ever in the way", cancelled("TransactionConflict"), 1 << 30, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, asked := stub(t, func(n int64) (int, string) {
				if n == tt.tries {
					return http.StatusOK, "{}"
				}
				return http.StatusBadRequest, tt.answer
			})
			err := write(t.Context(), c)
			if n := asked.Load(); n != tt.want || (err == nil) != (n == tt.tries) {
				t.Errorf("%d tries, %v, want %d", n, err, tt.want)
			}
			_, first := tables.RefusedAt(err, 0)
			_, second := tables.RefusedAt(err, 1)
			if first || second != (tt.name == "refused") {
				t.Errorf("refused: %v %v (%v)", first, second, err)
			}
		})
	}
}

// With many requests under way at once their connections are kept.
func TestConnectionsAreKept(t *testing.T) {
	const atOnce = 64
	var opened atomic.Int64
	arrived, together := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-together
		fmt.Fprint(w, "{}")
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := tablestest.Client(server.URL)
	for range 3 {
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				if err := write(t.Context(), c); err != nil {
					t.Error(err)
				}
			})
		}
		for range atOnce {
			<-arrived
		}
		for range atOnce {
			together <- struct{}{}
		}
		wg.Wait()
	}
	// A connection may be dialled and not be needed in the end.
	if n := opened.Load(); n > 2*atOnce {
		t.Errorf("%d connections were opened for 3 times %d requests", n, atOnce)
	}
}

func TestCompete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		if err := tables.Compete(t.Context(), func() (bool, error) { tries++; return tries == 4, nil }); err != nil || tries != 4 {
			t.Errorf("%d tries, %v", tries, err)
		}
		if err := tables.Compete(t.Context(), func() (bool, error) { return false, nil }); !errors.Is(err, tables.ErrContended) {
			t.Errorf("never done: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tables.Compete(gone, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits any more: %v", err)
		}
	})
}

func TestOpen(t *testing.T) {
	for _, v := range tablestest.Environ("http://127.0.0.1:1") {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	none := func(string) string { return "" }
	if c, err := tables.Open(none); c != nil || err != nil {
		t.Errorf("where no endpoint is named: %v, %v", c, err)
	}
	c, err := tables.Open(func(string) string { return "http://127.0.0.1:1" })
	if err != nil || c == nil {
		t.Fatal(err)
	}
	if o := c.Options(); aws.ToString(o.BaseEndpoint) != "http://127.0.0.1:1" || o.Region != "us-east-1" {
		t.Errorf("%v in %q", aws.ToString(o.BaseEndpoint), o.Region)
	}
}
