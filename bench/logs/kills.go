package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/logs/elastic"
)

// serve keeps logs behind the Elasticsearch API until it is killed, and prints its address.
func serve(ctx context.Context, dir string) error {
	l, err := logs.Open(logs.Config{Dir: dir, HeadBytes: 2 << 20}) // small, so that kills meet sealing
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- l.Run(ctx) }()
	go func() { failed <- http.Serve(listener, elastic.New(l)) }()
	fmt.Println(listener.Addr())
	return <-failed
}

// auditor knows which documents were acknowledged.
type auditor struct {
	mu           sync.Mutex
	next         int
	acknowledged map[string]bool
}

// kills has clients store numbered documents while the server is killed again and again, and looks for each that was acknowledged.
func kills(o options) error {
	a := &auditor{acknowledged: map[string]bool{}}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range o.kills {
		child, address, err := start(self, o.dir)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { a.store(ctx, address) })
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
		err = child.Process.Kill()
		cancel()
		wg.Wait()
		_ = child.Wait() // it was killed
		if err != nil {
			return err
		}
	}
	child, address, err := start(self, o.dir)
	if err != nil {
		return err
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	return a.audit(address, o.kills)
}

func start(self, dir string) (*exec.Cmd, string, error) {
	child := exec.Command(self, "serve", dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := child.Start(); err != nil {
		return nil, "", err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", fmt.Errorf("the server did not start: %w", errors.Join(err, child.Wait()))
	}
	return child, "http://" + address[:len(address)-1], nil
}

// store sends documents until ctx ends. A request without an answer was not acknowledged.
func (a *auditor) store(ctx context.Context, address string) {
	for ctx.Err() == nil {
		a.mu.Lock()
		first := a.next
		const batch = 50
		a.next += batch
		a.mu.Unlock()
		var body bytes.Buffer
		for i := first; i < first+batch; i++ {
			fmt.Fprintf(&body, "{\"create\":{\"_index\":\"audit\",\"_id\":\"doc%d\"}}\n{\"n\":%d,\"text\":\"document %d %016x\"}\n", i, i, i, rand.Uint64())
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/_bulk", &body)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		var out struct {
			Items []struct {
				Create struct {
					ID     string `json:"_id"`
					Status int
				}
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&out)
		resp.Body.Close()
		if err != nil {
			continue
		}
		a.mu.Lock()
		for _, it := range out.Items {
			if it.Create.Status == http.StatusCreated {
				a.acknowledged[it.Create.ID] = true
			}
		}
		a.mu.Unlock()
	}
}

// audit reads everything back.
func (a *auditor) audit(address string, kills int) error {
	found := map[string]int{}
	after := ""
	for {
		body := `{"size":5000,"sort":[{"@timestamp":"asc"},"_doc"]` + after + `}`
		resp, err := http.Post(address+"/audit/_search", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		var out struct {
			Hits struct {
				Hits []struct {
					ID   string            `json:"_id"`
					Sort []json.RawMessage `json:"sort"`
				}
			}
		}
		if err := json.Unmarshal(text, &out); err != nil {
			return fmt.Errorf("%w: %.200s", err, text)
		}
		if len(out.Hits.Hits) == 0 {
			break
		}
		for _, h := range out.Hits.Hits {
			found[h.ID]++
		}
		last, err := json.Marshal(out.Hits.Hits[len(out.Hits.Hits)-1].Sort)
		if err != nil {
			return err
		}
		after = `,"search_after":` + string(last)
	}
	lost, twice := 0, 0
	for id := range a.acknowledged {
		if found[id] == 0 {
			lost++
		}
	}
	for _, n := range found {
		if n > 1 {
			twice++
		}
	}
	fmt.Printf("kills: %d times kill -9 during _bulk: %d documents acknowledged, %d found, %d lost, %d found twice\n", kills, len(a.acknowledged), len(found), lost, twice)
	if lost > 0 || twice > 0 {
		return errors.New("an acknowledged document is lost, or one is there twice")
	}
	return nil
}
