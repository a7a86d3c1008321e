// Package control is how the other commands talk to a running system: a small HTTP API on a Unix socket in the state
// directory, and its client. Only the owner of the directory can reach it.
//
// The server is part of the supervisor ('banyan up') and lives as long as its context. It decides nothing: every call
// is handed to the System. The package starts no goroutine but those of net/http's server, which Serve waits for.
package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/httpcache"
	"github.com/banyanhq/banyan/gateway/peerlink"
	"github.com/banyanhq/banyan/observe"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

// System is what a running system answers and does. All methods may be called concurrently.
type System interface {
	// Info says what runs, and where.
	Info() Info
	// Status is the system's state, with rates and latencies over the last window.
	Status(window time.Duration) (observe.Status, error)
	// Replicas is what the orchestrator knows of each service.
	Replicas() []orchestrate.ServiceStatus
	// Events are the latest things that happened to services and replicas, oldest first.
	Events() []orchestrate.Event
	// Window is everything that was observed between two instants.
	Window(from, to time.Time) (*observe.Window, error)
	// Pulses are the readings of requests and CPU between two instants.
	Pulses(from, to time.Time) []observe.Pulse
	// Scale changes a service's replicas or limits and returns when that has been carried out.
	Scale(ctx context.Context, service string, change orchestrate.Change) error
	// Restart replaces all replicas of a service, one after the other.
	Restart(ctx context.Context, service string) error
	// Caches counts what became of requests in the caches of routes.
	Caches() []CacheStatus
	// CacheServers says where the embedded caches of the file are, and what they have counted.
	CacheServers() []CacheServerStatus
	// TableUsage says what was asked of the embedded tables, and what that took; nil where there are none.
	TableUsage() *store.Usage
	// TableWindow says what was asked of them between two instants, as far as it is kept; nil where nothing is.
	TableWindow(from, to time.Time) *TableWindow
	// Purge drops what the caches of routes keep, and returns how many answers that were.
	Purge(p httpcache.Purge) (int, error)
	// Canaries says where the canaries of routes stand, in the file's order.
	Canaries() []CanaryStatus
	// Connections counts the connections of clients, by listener of the gateway.
	Connections() []gateway.ConnectionStats
	// Gateways says how it stands with the other gateways of the system.
	Gateways() []peerlink.Peer
	// Reload reads the file anew and goes by it, and returns what that changed, in words.
	Reload() ([]string, error)
	// Topology is the system that it goes by, as YAML with everything said.
	Topology() ([]byte, error)
	// ScaledServices are those that the autoscaler scales, ScaleDecisions what it decided about one; ok is false if it
	// does not scale that.
	ScaledServices() []string
	ScaleDecisions(service string) (all []autoscale.Decision, ok bool)
	// Why says what was decided for a request, by its id or its trace's; ok is false if that is not remembered.
	Why(id string) (d gateway.Decision, ok bool)
	// HandOver returns the listeners for another gateway to take; done is called when they have arrived there. The caller
	// closes what it got.
	HandOver() (h HandOver, done func(), err error)
	// Stop ends the system; it returns at once.
	Stop()
}

// Info says what runs, and where.
type Info struct {
	System string `json:"system"`
	// State is starting, serving or stopping.
	State string `json:"state"`
	PID   int    `json:"pid"`
	// Since is when the supervisor started.
	Since time.Time `json:"since"`
	// Loaded is when the topology that it goes by was read.
	Loaded time.Time `json:"loaded"`
	// Address of the gateway, host:port.
	Address string `json:"address"`
	// Endpoints says, for people, which addresses there are besides: TLS and TCP.
	Endpoints []string `json:"endpoints,omitempty"`
	// Bus is the URL of the queues and topics, empty where there are none.
	Bus string `json:"bus,omitempty"`
	// Monitor is the URL under which Prometheus's API is answered, empty where no metrics are kept.
	Monitor string `json:"monitor,omitempty"`
	// Metrics is the URL of the Prometheus metrics.
	Metrics string `json:"metrics"`
	// Page is the URL of the page, empty where there is none.
	Page string `json:"page,omitempty"`
	// Files of the topology, absolute.
	Files []string `json:"files"`
	// Cores of the machine.
	Cores int `json:"cores"`
}

// ScaleRequest asks for a change of a service; what is nil stays.
type ScaleRequest struct {
	Service  string          `json:"service"`
	Replicas *int            `json:"replicas,omitempty"`
	CPU      *topology.CPU   `json:"cpu,omitempty"`
	Memory   *topology.Bytes `json:"memory,omitempty"`
}

// RestartRequest asks for the replacement of a service's replicas.
type RestartRequest struct {
	Service string `json:"service"`
}

// ErrNotRunning means that no supervisor answers for a state directory.
var ErrNotRunning = errors.New("the system is not running: start it with 'banyan up'")

// socketName is the socket's file in the state directory.
const socketName = "control.sock"

// socketPath returns a path of the socket that is short enough for the kernel (108 bytes), however deep the state
// directory lies: through an open file of the directory. The file must stay open while the path is used.
func socketPath(dir string) (path string, f *os.File, err error) {
	f, err = os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(f.Fd())), socketName), f, nil
}

// Listen binds the socket in a state directory. The caller holds the directory's lock, so a socket that is there
// already is a dead supervisor's.
func Listen(dir string) (net.Listener, error) {
	path, f, err := socketPath(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing a dead control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	// The path is only good while f is open: the file is removed by its real name.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protecting the control socket: %w", err)
	}
	file := filepath.Join(dir, socketName)
	self, err := os.Stat(file)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	return &listener{l, file, self}, nil
}

type listener struct {
	net.Listener
	file string
	self os.FileInfo
}

// Close removes the socket's file, unless another supervisor has put its own there.
func (l *listener) Close() error {
	if now, err := os.Stat(l.file); err == nil && os.SameFile(now, l.self) {
		os.Remove(l.file)
	}
	return l.Listener.Close()
}

// The states of a system.
const (
	Starting = "starting"
	Serving  = "serving"
	Stopping = "stopping"
)
