package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// members are nodes of a cluster of tables, each a process.
type members struct {
	t       *testing.T
	dir     string
	peers   map[int]string
	cmds    map[int]*exec.Cmd
	clients map[int]*dynamodb.Client
}

func startMembers(t *testing.T) *members {
	m := &members{t: t, dir: t.TempDir(), peers: map[int]string{}, cmds: map[int]*exec.Cmd{}, clients: map[int]*dynamodb.Client{}}
	if code := run(t.Context(), []string{"store", "certs", "--dir", filepath.Join(m.dir, "certs"), "node"}, nil, &bytes.Buffer{}, os.Stderr); code != 0 {
		t.Fatal("no certificates")
	}
	for i := 1; i <= 3; i++ {
		m.place(i)
	}
	for i := 1; i <= 3; i++ {
		m.start(i, "--bootstrap")
	}
	t.Cleanup(func() {
		for _, cmd := range m.cmds {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return m
}

// place finds an address for a node.
func (m *members) place(i int) { m.peers[i] = freeAddresses(m.t, 1)[0] }

func (m *members) tls() []string {
	at := filepath.Join(m.dir, "certs")
	return []string{"--tls-ca", filepath.Join(at, "ca.pem"), "--tls-cert", filepath.Join(at, "node.pem"), "--tls-key", filepath.Join(at, "node.key")}
}

func (m *members) data(i int) string { return filepath.Join(m.dir, fmt.Sprint("node", i)) }

func (m *members) start(i int, more ...string) {
	m.t.Helper()
	args := append([]string{"store", "--node", fmt.Sprint(i), "--dir", m.data(i)}, m.tls()...)
	for n, address := range m.peers {
		args = append(args, "--peer", fmt.Sprintf("%d=%s", n, address))
	}
	m.cmds[i], m.clients[i] = startStore(m.t, append(args, more...)...)
}

func (m *members) kill(i int) {
	_ = m.cmds[i].Process.Kill()
	_ = m.cmds[i].Wait()
}

// ask runs a subcommand of store and returns its exit code and what it prints.
func (m *members) ask(args ...string) (int, string) {
	var out, errs bytes.Buffer
	args = append(append([]string{"store"}, args...), m.tls()...)
	for _, address := range m.peers {
		args = append(args, "--peer", address)
	}
	code := run(m.t.Context(), args, nil, &out, &errs)
	return code, out.String() + errs.String()
}

// until asks again until the answer has all the words.
func (m *members) until(words []string, args ...string) {
	m.t.Helper()
	last := ""
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, last = m.ask(args...)
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(strings.Join(strings.Fields(last), " "), w)
		}
		if !missing {
			return
		}
	}
	m.t.Fatalf("%v: not within three minutes: %q, but\n%s", args, words, last)
}

// whole waits until each of so many nodes has a replica of each group.
func (m *members) whole(nodes int) {
	m.t.Helper()
	said := ""
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, said = m.ask("nodes"); strings.Count(said, " of 4 ") == nodes {
			return
		}
	}
	m.t.Fatalf("not within three minutes: %d nodes with all 4 groups, but\n%s", nodes, said)
}

// up are the words of 'store nodes' for nodes that are up.
func (m *members) up(nodes ...int) (words []string) {
	for _, i := range nodes {
		words = append(words, fmt.Sprintf("%d %s - up", i, m.peers[i]))
	}
	return words
}

// Writers go on while a node is killed and comes back with an empty disk, a new one joins, and the first is drained: what was acknowledged is
// there once, on each node, and the replicas are the same.
func TestTablesKeepTheirPromisesWhileNodesChange(t *testing.T) {
	t.Parallel()
	m := startMembers(t)
	ctx := t.Context()
	retry := func(o *dynamodb.Options) { o.RetryMaxAttempts = 20 }
	if _, err := m.clients[1].CreateTable(ctx, &dynamodb.CreateTableInput{TableName: aws.String("ledger"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: "HASH"}}}, retry); err != nil {
		t.Fatal(err)
	}
	m.until(m.up(1, 2, 3), "nodes")
	var all sync.WaitGroup
	var acked [2]int
	stop := make(chan struct{})
	key := func(w int) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: fmt.Sprint(w)}}
	}
	for w := range acked {
		client := m.clients[w+1]
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := client.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String("ledger"), Key: key(w), UpdateExpression: aws.String("ADD v :one"),
					ExpressionAttributeValues: map[string]types.AttributeValue{":one": &types.AttributeValueMemberN{Value: "1"}}}, retry); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				acked[w]++
			}
		})
	}
	m.kill(3)
	if err := os.RemoveAll(m.data(3)); err != nil {
		t.Fatal(err)
	}
	m.start(3, "--bootstrap") // nobody has changed the flags: the others have met it, so it joins
	m.until(m.up(1, 2, 3), "nodes")
	m.place(4)
	m.start(4, "--join")
	m.until(m.up(1, 2, 3, 4), "nodes")
	m.whole(4)
	m.until([]string{"node 3 has left the cluster"}, "drain", "3") // refused while who leads is not known
	if err := m.cmds[3].Wait(); err != nil {
		t.Errorf("the node that left: %v", err)
	}
	m.until(m.up(1, 2, 4), "nodes")
	if code, said := m.ask("remove", "4"); code == 0 || !strings.Contains(said, "drain it") {
		t.Errorf("removing a node that is up: %d, %s", code, said)
	}
	close(stop)
	all.Wait()
	for w, want := range acked {
		for _, i := range []int{1, 2, 4} {
			got, err := m.clients[i].GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("ledger"), Key: key(w), ConsistentRead: aws.Bool(true)}, retry)
			if err != nil {
				t.Fatal(err)
			}
			v, _ := got.Item["v"].(*types.AttributeValueMemberN)
			if v == nil || v.Value != strconv.Itoa(want) {
				t.Errorf("counter %d on node %d: %v, %d were acknowledged", w, i, got.Item, want)
			}
		}
	}
	if code, said := m.ask("check"); code != 0 || !strings.Contains(said, "the same on node 1, 2, 4") {
		t.Errorf("check: %d, %s", code, said)
	}
}
