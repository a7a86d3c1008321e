// Package grpchealth asks a server for its health by gRPC's own protocol for that (grpc.health.v1), without a library: the
// question is an empty message, and of the answer one field matters. It starts no goroutine.
package grpchealth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Method that is called.
const Method = "/grpc.health.v1.Health/Check"

// Check asks for the health of the whole server at base (http://host:port, or https), over a client that speaks HTTP/2. It
// returns nil where the answer is SERVING.
func Check(ctx context.Context, client *http.Client, base string) error {
	empty := []byte{0, 0, 0, 0, 0}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+Method, bytes.NewReader(empty))
	if err != nil {
		return fmt.Errorf("checking %s: %w", base, err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "banyan-health-check")
	res, err := client.Do(req)
	if err != nil {
		return err // names what was called
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 200))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", Method, err)
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	if res.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("%s answered %d with grpc-status %q", Method, res.StatusCode, status)
	}
	// A frame of two bytes: field 1 is 1, which means SERVING.
	if !bytes.Equal(body, []byte{0, 0, 0, 0, 2, 8, 1}) {
		return errors.New(Method + " did not answer SERVING")
	}
	return nil
}
