package orchestrate

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// portPool hands out free TCP ports, one for each running replica.
//
// Ports below the kernel's ephemeral range come first. A port of that range can be taken, between our look and the
// replica's bind, by any outgoing connection, of which a load test makes thousands; and a health check that dials one
// on which nobody listens yet can by chance be connected to itself and report a replica that does not exist.
type portPool struct {
	low, high int // candidates, high excluded

	mu   sync.Mutex
	used map[int]bool
}

const lowestPort = 10240 // below it live well-known services that a user may be about to start

func newPortPool() *portPool {
	first := 32768
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var low, high int
		if _, err := fmt.Sscan(string(data), &low, &high); err == nil {
			first = low
		}
	}
	return &portPool{low: lowestPort, high: first, used: make(map[int]bool)}
}

// take returns a port that was free a moment ago and that no other replica has.
func (p *portPool) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 64 {
		if p.high-p.low < 1024 {
			break
		}
		port := p.low + rand.IntN(p.high-p.low)
		if !p.used[port] && free(port) {
			p.used[port] = true
			return port, nil
		}
	}
	for range 64 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		_ = ln.Close()
		if !p.used[port] {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: all that the system offered are taken by other replicas")
}

func (p *portPool) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

// free reports whether a server could listen on the port, on loopback and on all addresses.
func free(port int) bool {
	for _, host := range []string{"127.0.0.1", ""} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			return false
		}
		_ = ln.Close()
	}
	return true
}
