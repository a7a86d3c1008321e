package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// itemBytes of an item's payload.
const itemBytes = 1000

func createTable(address string) error {
	body := `{"TableName":"bench","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],` +
		`"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`
	req, err := http.NewRequest("POST", "http://"+address, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.CreateTable")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		return fmt.Errorf("creating the table: %s: %s", resp.Status, text)
	}
	return nil
}

// head is what an AWS SDK sends before the body.
const head = "POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: aws-sdk-go-v2/1.48.0 ua/2.1 os/linux lang/go#1.26 md/GOOS#linux md/GOARCH#amd64 api/dynamodb#1.74.0\r\n" +
	"Content-Length: %d\r\nAccept-Encoding: identity\r\nAmz-Sdk-Invocation-Id: 6f1c2f3e-58a4-4f25-9c2e-2f7d5a0f6c11\r\nAmz-Sdk-Request: attempt=1; max=3\r\n" +
	"Authorization: AWS4-HMAC-SHA256 Credential=key/20261129/us-east-1/dynamodb/aws4_request, SignedHeaders=accept-encoding;amz-sdk-invocation-id;content-length;content-type;host;x-amz-date;x-amz-target, " +
	"Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Date: 20261129T180000Z\r\n" +
	"X-Amz-Target: DynamoDB_20120810.%s\r\n\r\n%s"

// request is one whose key is patched in place.
type request struct {
	text []byte
	at   int
}

const keyDigits = 10

func newRequest(address, operation, body string) request {
	text := fmt.Appendf(nil, head, address, len(body), operation, body)
	return request{text, bytes.Index(text, []byte(strings.Repeat("#", keyDigits)))}
}

func (r request) with(key int) []byte {
	for i := range keyDigits {
		r.text[r.at+keyDigits-1-i] = byte('0' + key%10)
		key /= 10
	}
	return r.text
}

// allPhases are those of our own.
func allPhases() []string { return []string{"write", "read", "mixed"} }

// sender sends one request, and returns once it is answered.
type sender interface {
	send(ctx context.Context) error
	close() error
}

// loadItems carries out a phase on tables at some addresses, with a client's requests going to one of them.
func loadItems(ctx context.Context, addresses []string, cpu func() time.Duration, phase string, o options) (outcome, error) {
	writes := map[string]int{"write": 100, "read": 0, "mixed": 5}[phase]
	return loadBy(ctx, o, cpu, func(i int) (sender, error) {
		return newItemsClient(addresses[i%len(addresses)], uint64(i), writes, o.keys)
	})
}

// loadBy has clients send one request after the other for the length of a phase, and says what came of it.
func loadBy(ctx context.Context, o options, cpu func() time.Duration, client func(i int) (sender, error)) (outcome, error) {
	before, start := cpu(), time.Now()
	end := start.Add(o.length)
	latencies := make([][]time.Duration, o.clients)
	var all errgroup.Group
	for i := range o.clients {
		all.Go(func() error {
			c, err := client(i)
			if err != nil {
				return err
			}
			latencies[i], err = sendUntil(ctx, end, c)
			return errors.Join(err, c.close())
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	out := outcome{took: time.Since(start), cpu: cpu() - before}
	joined := slices.Concat(latencies...)
	out.operations = len(joined)
	out.p50, out.p99 = percentiles(joined)
	return out, nil
}

func sendUntil(ctx context.Context, end time.Time, c sender) (latencies []time.Duration, err error) {
	for ctx.Err() == nil {
		start := time.Now()
		if start.After(end) {
			return latencies, nil
		}
		if err := c.send(ctx); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(start))
	}
	return nil, ctx.Err()
}

// itemsClient writes and reads items at random.
type itemsClient struct {
	conn         net.Conn
	reader       *bufio.Reader
	put, get     request
	random       *rand.Rand
	writes, keys int // writes of a hundred
}

func newItemsClient(address string, seed uint64, writes, keys int) (*itemsClient, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	key := strings.Repeat("#", keyDigits)
	return &itemsClient{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), writes: writes, keys: keys,
		put:    newRequest(address, "PutItem", `{"TableName":"bench","Item":{"id":{"S":"`+key+`"},"v":{"S":"`+strings.Repeat("x", itemBytes)+`"}}}`),
		get:    newRequest(address, "GetItem", `{"TableName":"bench","ConsistentRead":true,"Key":{"id":{"S":"`+key+`"}}}`),
		random: rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))}, nil
}

func (c *itemsClient) send(context.Context) error {
	r := c.get
	if c.random.IntN(100) < c.writes {
		r = c.put
	}
	if _, err := c.conn.Write(r.with(c.random.IntN(c.keys))); err != nil {
		return err
	}
	return readAnswer(c.reader)
}

func (c *itemsClient) close() error { return c.conn.Close() }

// readAnswer reads an answer of HTTP/1.1 with a Content-Length, and wants it to be 200.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200"))
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if v, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	if !ok {
		body, _ := io.ReadAll(io.LimitReader(r, int64(length)))
		return fmt.Errorf("an answer that is not 200: %s", body)
	}
	_, err = r.Discard(length)
	return err
}

func percentiles(all []time.Duration) (p50, p99 time.Duration) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
