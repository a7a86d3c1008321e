package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// startStore runs tables as a process of their own, and returns a client of them.
func startStore(t *testing.T, args ...string) (*exec.Cmd, *dynamodb.Client) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append(args, "--listen", "127.0.0.1:0")...)
	cmd.Env = append(os.Environ(), playBanyan+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the tables don't come up: %v", err)
	}
	url, _, _ := strings.Cut(strings.TrimPrefix(line, "tables on "), " ")
	return cmd, dynamodb.New(dynamodb.Options{BaseEndpoint: &url, Region: "us-east-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")})
}

// readAgain has a read tried again: for the SDK, which may take an answer that begins within microseconds for a failure of its own.
func readAgain(o *dynamodb.Options) { o.RetryMaxAttempts = 5 }

// ledgerKeeper writes to the tables and remembers what was acknowledged.
type ledgerKeeper struct {
	id             string
	counted, moved int64 // last acknowledged values of its counter, and of its pair of items
	tried          int64
}

func (k *ledgerKeeper) key(kind string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: kind + "-" + k.id}}
}

// work writes until the tables are gone.
func (k *ledgerKeeper) work(ctx context.Context, c *dynamodb.Client) {
	one := map[string]types.AttributeValue{":one": &types.AttributeValueMemberN{Value: "1"}}
	for {
		got, err := c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String("ledger"), Key: k.key("counter"), UpdateExpression: aws.String("ADD v :one"),
			ExpressionAttributeValues: one, ReturnValues: "UPDATED_NEW"})
		if err != nil {
			return
		}
		k.counted, _ = strconv.ParseInt(got.Attributes["v"].(*types.AttributeValueMemberN).Value, 10, 64)
		k.tried++
		value := map[string]types.AttributeValue{":v": &types.AttributeValueMemberN{Value: fmt.Sprint(k.tried)}}
		var both []types.TransactWriteItem
		for _, kind := range []string{"left", "right"} {
			both = append(both, types.TransactWriteItem{Update: &types.Update{TableName: aws.String("ledger"), Key: k.key(kind), UpdateExpression: aws.String("SET v = :v"), ExpressionAttributeValues: value}})
		}
		if _, err := c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: both}); err != nil {
			return
		}
		k.moved = k.tried
	}
}

// check holds what is there against what was acknowledged: it may be one write further, and no more.
func (k *ledgerKeeper) check(t *testing.T, c *dynamodb.Client) {
	t.Helper()
	values := map[string]int64{}
	for _, kind := range []string{"counter", "left", "right"} {
		got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("ledger"), Key: k.key(kind), ConsistentRead: aws.Bool(true)}, readAgain)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := got.Item["v"].(*types.AttributeValueMemberN); ok {
			values[kind], _ = strconv.ParseInt(v.Value, 10, 64)
		}
	}
	if n := values["counter"]; n < k.counted || n > k.counted+1 {
		t.Errorf("counter %s is %d, %d were acknowledged", k.id, n, k.counted)
	}
	if values["left"] != values["right"] {
		t.Errorf("half of a transaction of %s is there: %v", k.id, values)
	}
	if n := values["left"]; n < k.moved || n > k.tried {
		t.Errorf("the pair of %s is at %d, %d was acknowledged", k.id, n, k.moved)
	}
	k.counted, k.moved = values["counter"], values["left"]
	k.tried = max(k.tried, k.moved)
}

func TestKilledTablesLoseNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "banyan.yaml")
	text := "version: 1\nsystem: s\nservices: {web: {run: x}}\nroutes: [{path: /, to: web}]\ntables: {ledger: {key: id, replicas: 3}}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	keepers := make([]*ledgerKeeper, 8)
	for i := range keepers {
		keepers[i] = &ledgerKeeper{id: strconv.Itoa(i)}
	}
	for round := range 6 {
		cmd, client := startStore(t, "-f", file, "store", "--dir", filepath.Join(dir, "data"))
		for _, k := range keepers {
			k.check(t, client)
		}
		var all sync.WaitGroup
		for _, k := range keepers {
			all.Go(func() { k.work(t.Context(), client) })
		}
		before := keepers[0].tried
		for n := 0; n < 20*(round+1); n++ { // requests, so that the kill comes at another moment each time
			if _, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("ledger"), Key: keepers[0].key("left")}, readAgain); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		all.Wait()
		if round > 0 && keepers[0].tried == before && keepers[1].counted == 0 {
			t.Errorf("round %d: nothing was written", round)
		}
	}
	cmd, client := startStore(t, "store", "--dir", filepath.Join(dir, "data"))
	for _, k := range keepers {
		k.check(t, client)
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

func TestUsersOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	for text, want := range map[string]string{
		"alice wonderland\n# nobody\n\nbob builder\n": "", "": "has no users", "alice\n": "line 1: expected an access key and a secret", "a b\na c\n": "line 2: a is there twice",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		users, err := readUsers(path)
		if want == "" && (err != nil || len(users) != 2 || users["bob"] != "builder") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v", text, users, err)
		}
	}
}
