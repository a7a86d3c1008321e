// Package tablestest runs the tables of the shop for its tests, in their process and in memory, as 'banyan up' runs them for the
// shop. It owns the goroutine that serves them, and ends it with the test.
package tablestest

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/examples/shop/tables"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

const region = "us-east-1"

// Start runs the tables of a file until the test ends, and returns where they are.
func Start(t testing.TB, file string) (address string) {
	t.Helper()
	sys, err := topology.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(store.Config{Dir: "tables", FS: vfs.NewMem(), Region: region, Tables: store.FromFile(sys)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the tables: %v", err)
		}
	})
	return s.URL()
}

// Client returns a client as the services have it, with connections of its own.
func Client(address string) *dynamodb.Client {
	return tables.New(aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, address)
}

// Environ is what a service finds in its environment of the tables at an address.
func Environ(address string) []string {
	return []string{"AWS_ENDPOINT_URL_DYNAMODB=" + address, "AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
}

// LoseAnswer passes requests on to an address, and answers the first one for an operation with 502 once it has been carried out.
func LoseAnswer(t testing.TB, address, operation string) (through string) {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.HasSuffix(r.Request.Header.Get("X-Amz-Target"), operation) && lost.CompareAndSwap(false, true) {
			return errors.New("lost")
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() {
		server.Close()
		if !lost.Load() {
			t.Errorf("no answer to a %s was lost", operation)
		}
	})
	return server.URL
}
