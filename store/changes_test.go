package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/store"
)

// A table that keeps its changes hands them out in order, behind any of them, also when its stream is begun only later.
func TestChangesOfATable(t *testing.T) {
	fs := vfs.NewMem()
	run := func(stream bool) (*store.Store, *dynamodb.Client, func()) {
		s, err := store.New(store.Config{Dir: "data", FS: fs, Tables: []store.Table{{Name: "orders", Key: []string{"id"}, Stream: stream}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, client(s.URL(), "key", "secret"), func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	s1, c, stop := run(false)
	put(t, c, "orders", item{"id": s("before")})
	if all, err := s1.Changes(t.Context(), "orders", 0, 10); err != nil || len(all) != 0 {
		t.Errorf("without a stream: %v, %v", all, err)
	}
	stop()

	s2, c, stop := run(true)
	defer stop()
	put(t, c, "orders", item{"id": s("a"), "n": n(1)})
	put(t, c, "orders", item{"id": s("a"), "n": n(2)})
	if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("orders"), Key: item{"id": s("a")}}); err != nil {
		t.Fatal(err)
	}
	all, err := s2.Changes(t.Context(), "orders", 0, 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for i, kind := range []string{"INSERT", "MODIFY", "REMOVE"} {
		if got := all[i]; got.Kind != kind || got.Key != "a" || !strings.Contains(string(got.Record), `"eventName":"`+kind+`"`) || i > 0 && got.Sequence <= all[i-1].Sequence {
			t.Errorf("change %d: %+v", i, got)
		}
	}
	if two, err := s2.Changes(t.Context(), "orders", all[0].Sequence, 1); err != nil || len(two) != 1 || two[0].Sequence != all[1].Sequence {
		t.Errorf("behind the first: %v, %v", two, err)
	}
	if none, err := s2.Changes(t.Context(), "orders", all[2].Sequence, 10); err != nil || len(none) != 0 {
		t.Errorf("behind the last: %v, %v", none, err)
	}
	if _, err := s2.Changes(t.Context(), "nowhere", 0, 1); err == nil {
		t.Error("there is no such table")
	}
}
