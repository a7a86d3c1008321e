//go:build unix

package load

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// refusing is an address at which connections are refused: a socket has it and does not listen, so that nobody else can
// come by it meanwhile.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", own.(*syscall.SockaddrInet4).Port)
}

func TestNobodyListens(t *testing.T) {
	if s := requests(t, "http://"+refusing(t), 2, "GET", nil).Total; s.Requests != 2 || s.Errors[Refused] != 2 {
		t.Errorf("errors %v of %d, want %q", s.Errors, s.Requests, Refused)
	}
}

func TestRefusedEverywhere(t *testing.T) {
	t.Parallel()
	addr := refusing(t)
	for scheme, st := range map[string]*topology.Step{
		"http": {Path: "/"}, "h2c": {Path: "/"}, "h2": {Path: "/"}, "redis": {Redis: []string{"PING"}}, "tcp": {TCP: &topology.TCPCall{Send: "x", Length: 1}},
		"ws": {WebSocket: &topology.WebSocketCall{}}, "nats": {NATS: &topology.NATSCall{Subject: "s"}}, "dynamodb": {DynamoDB: "ListTables"},
		"grpc": {GRPC: &topology.GRPCCall{Method: "a.B/C", Hex: "00"}},
	} {
		st.Name = "x"
		r := sent(t, scheme+"://"+addr, false, st)
		if s := r.Step("x"); s.Requests == 0 || s.Errors[Refused] != s.Requests {
			t.Errorf("%s: %d requests, %v", scheme, s.Requests, s.Errors)
		}
	}
}
