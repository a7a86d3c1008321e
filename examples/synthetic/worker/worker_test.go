package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func TestParse(t *testing.T) {
	steps, err := parse("cpu 1ms; acquire 4; wait 20ms exp; release; call db 30%; call a|b; shard s t; cache 5; fail 5%; lock; unlock; get t; put u 10;")
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 13 || steps[2].phases != 1 || steps[4].share != 0.3 || steps[9].n != 1 {
		t.Errorf("read %+v", steps)
	}
	if names := newWorker(steps).calls(); !slices.Equal(names, []string{"a", "b", "db", "s", "t"}) {
		t.Errorf("calls %v", names)
	}
	for _, bad := range []string{
		"cpu", "cpu -1ms", "cpu 2h", "cpu 1ms long", "wait x", "call", "call a 2", "shard", "fail 101%", "cache 0", "acquire 9999999",
		"release", "lock; lock", "sleep 1s", "lock 3", "get", "get a b", "put t", "put t 0", strings.Repeat("cpu 1ms;", 101),
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestWork(t *testing.T) {
	var asked []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer other.Close()
	steps, err := parse("cpu 1us; cache 2; lock; wait 1us; call b; unlock")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(steps)
	w.clients["b"] = httpserve.NewClient("b", other.URL, time.Minute)
	for _, c := range []struct {
		key  string
		want int
	}{{"1", 200}, {"2", 200}, {"1", 200}, {"3", 200}, {"2", 200}, {"bad", 502}, {"bad", 200}} {
		if got := w.work(context.Background(), c.key); got != c.want {
			t.Errorf("%s: answered %d, want %d", c.key, got, c.want)
		}
	}
	if want := []string{"/1", "/2", "/3", "/2", "/bad"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestTablesAreAsked(t *testing.T) {
	var asked []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Header.Get("X-Amz-Target")+" "+string(body))
		if strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer other.Close()
	steps, err := parse("get orders; put orders 3")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(steps)
	if w.tables = (&tables{endpoint: other.URL, client: other.Client()}); !w.asksTables() || len(w.calls()) > 0 {
		t.Errorf("asks tables: %v, calls %v", w.asksTables(), w.calls())
	}
	if got := w.work(context.Background(), "7"); got != 200 {
		t.Errorf("answered %d", got)
	}
	if got := w.work(context.Background(), "bad"); got != 502 {
		t.Errorf("what the table refuses was answered %d", got)
	}
	want := []string{`DynamoDB_20120810.GetItem {"ConsistentRead":true,"Key":{"id":{"S":"7"}},"TableName":"orders"}`,
		`DynamoDB_20120810.PutItem {"Item":{"data":{"S":"xxx"},"id":{"S":"7"}},"TableName":"orders"}`,
		`DynamoDB_20120810.GetItem {"ConsistentRead":true,"Key":{"id":{"S":"bad"}},"TableName":"orders"}`}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}
