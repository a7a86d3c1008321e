package orchestrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const healthMethod = "/grpc.health.v1.Health/Check"

// newGRPCClient returns a client for HTTP/2 by prior knowledge, with a connection for each check as for the others.
func newGRPCClient() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p, Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}}
}

// checkGRPC asks for the health of the whole server, as gRPC's health checking protocol says. The question is an empty
// message; the answer has one field of interest, number 1: SERVING is 1.
func checkGRPC(ctx context.Context, client *http.Client, address string, timeout time.Duration) error {
	empty := []byte{0, 0, 0, 0, 0}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+healthMethod, bytes.NewReader(empty))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "banyan-health-check")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", healthMethod, plain(err, timeout))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 200))
	if err != nil {
		return fmt.Errorf("%s: %w", healthMethod, plain(err, timeout))
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	if res.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("%s answered %d with grpc-status %q", healthMethod, res.StatusCode, status)
	}
	if !bytes.Equal(body, []byte{0, 0, 0, 0, 2, 8, 1}) {
		return errors.New(healthMethod + " did not answer SERVING")
	}
	return nil
}
