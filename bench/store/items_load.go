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
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// payloads are cut out of so many random letters: as far as compression goes, an item has nothing to do with its neighbours.
var payloads = sync.OnceValue(func() []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]byte, 4<<20)
	for i := range all {
		all[i] = letters[random.IntN(len(letters))]
	}
	return all
})

// payload of an item.
func payload(number int) []byte {
	all := payloads()
	at := int(uint64(number) * 0x9e3779b97f4a7c15 % uint64(len(all)-itemBytes))
	return all[at : at+itemBytes]
}

// batch is what BatchWriteItem takes at most.
const batch = 25

// loader writes items 0 to total-1, in batches, in an order in which neighbours are far apart.
type loader struct {
	address          string
	total            int
	next             atomic.Int64 // batch
	refused, slowest atomic.Int64
}

// stride is a prime, so that it has no divisor in common with what people choose as a number of items.
const stride = 7_368_787

func (l *loader) run(ctx context.Context, clients int, progress func(done int)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if progress != nil {
		go func() {
			for wait(ctx, 10*time.Second) == nil {
				progress(min(int(l.next.Load())*batch, l.total))
			}
		}()
	}
	all, ctx := errgroup.WithContext(ctx)
	for range clients {
		all.Go(func() error { return l.client(ctx) })
	}
	return all.Wait()
}

func (l *loader) client(ctx context.Context) error {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 64<<10)
	var body []byte
	for ctx.Err() == nil {
		first := int(l.next.Add(1)-1) * batch
		if first >= l.total {
			return nil
		}
		body = append(body[:0], `{"RequestItems":{"bench":[`...)
		for i := first; i < min(first+batch, l.total); i++ {
			number := i * stride % l.total
			body = fmt.Appendf(body, `{"PutRequest":{"Item":{"id":{"S":"%0*d"},"v":{"S":"%s"}}}},`, keyDigits, number, payload(number))
		}
		body = append(body[:len(body)-1], `]}}`...)
		for {
			began := time.Now()
			answer, err := post(conn, reader, l.address, "BatchWriteItem", body)
			if err != nil {
				return err
			}
			if took := int64(time.Since(began)); took > l.slowest.Load() {
				l.slowest.Store(took) // another's that is lost in a race is as good
			}
			if bytes.Contains(answer, []byte(`"UnprocessedItems":{}`)) {
				break
			}
			if !bytes.Contains(answer, []byte("UnprocessedItems")) && !bytes.Contains(answer, []byte("Throttling")) {
				return fmt.Errorf("an answer of BatchWriteItem: %.300s", answer)
			}
			l.refused.Add(1) // all of it again
		}
	}
	return ctx.Err()
}

// post sends a request and returns the body of the answer, whatever its status is.
func post(conn net.Conn, reader *bufio.Reader, address, operation string, body []byte) ([]byte, error) {
	if _, err := fmt.Fprintf(conn, head, address, len(body), operation, body); err != nil {
		return nil, err
	}
	if _, err := reader.ReadSlice('\n'); err != nil {
		return nil, err
	}
	length := -1
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		if v, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, errors.New("an answer without Content-Length")
	}
	answer := make([]byte, length)
	_, err := io.ReadFull(reader, answer)
	return answer, err
}

// reader reads random ones of all items.
type reader struct {
	address string
	total   int
}

// run has clients read for so long, as fast as they can, or so many a second between them: then times count from when each was due.
func (r *reader) run(ctx context.Context, clients int, rate float64, length time.Duration) (outcome, error) {
	latencies := make([][]time.Duration, clients)
	var due atomic.Int64
	began := time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		all.Go(func() error {
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				return err
			}
			defer conn.Close()
			get := newRequest(r.address, "GetItem", `{"TableName":"bench","Key":{"id":{"S":"##########"}}}`)
			answers := bufio.NewReaderSize(conn, 16<<10)
			for ctx.Err() == nil {
				start := time.Now()
				if rate > 0 {
					start = began.Add(time.Duration(float64(due.Add(1)) / rate * float64(time.Second)))
					if early := time.Until(start); early > 0 {
						time.Sleep(early)
					}
				}
				if start.Sub(began) > length {
					return nil
				}
				if _, err := conn.Write(get.with(rand.IntN(r.total))); err != nil {
					return err
				}
				if err := readAnswer(answers); err != nil {
					return err
				}
				latencies[i] = append(latencies[i], time.Since(start))
			}
			return ctx.Err()
		})
	}
	if err := all.Wait(); err != nil {
		return outcome{}, err
	}
	out := outcome{took: time.Since(began)}
	var joined []time.Duration
	for _, l := range latencies {
		joined = append(joined, l...)
	}
	out.operations = len(joined)
	out.p50, out.p99 = percentiles(joined)
	return out, nil
}

// fetch reads one item over a connection of its own.
func fetch(address string, number int) ([]byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := get(conn, bufio.NewReader(conn), address, number)
	if err == nil && !bytes.Contains(answer, []byte(`"Item"`)) {
		err = fmt.Errorf("item %d: %.200s", number, answer)
	}
	return answer, err
}

func get(conn net.Conn, reader *bufio.Reader, address string, number int) ([]byte, error) {
	return post(conn, reader, address, "GetItem", fmt.Appendf(nil, `{"TableName":"bench","Key":{"id":{"S":"%0*d"}}}`, keyDigits, number))
}

// audit reads items at random and returns how many are not what was written.
func (r *reader) audit(ctx context.Context, clients, items int) (wrong int, err error) {
	var left, bad atomic.Int64
	left.Store(int64(items))
	all, ctx := errgroup.WithContext(ctx)
	for range clients {
		all.Go(func() error {
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				return err
			}
			defer conn.Close()
			answers := bufio.NewReaderSize(conn, 16<<10)
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				number := rand.IntN(r.total)
				answer, err := get(conn, answers, r.address, number)
				if err != nil {
					return err
				}
				if !bytes.Contains(answer, payload(number)) {
					bad.Add(1)
				}
			}
			return ctx.Err()
		})
	}
	err = all.Wait()
	return int(bad.Load()), err
}
