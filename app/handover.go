package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/gateway"
)

// HandOver gives the listeners to a gateway that takes this one's place, and the address that they are of. Done is called
// when they have arrived: from then on this one accepts no connection, finishes what it has, and ends. Connections that
// nobody has accepted yet stay in the kernel's queue, which both share, so that none is lost.
func (a *App) HandOver() (h control.HandOver, done func(), err error) {
	if !a.cfg.GatewayOnly {
		return h, nil, errors.New("only a gateway that stands alone can be taken over: it was started by 'banyan up'")
	}
	sockets, err := a.gateway.Sockets()
	if err != nil {
		return h, nil, err
	}
	metrics, ok := a.metrics.(*net.TCPListener)
	if !ok {
		gateway.CloseSockets(sockets)
		return h, nil, fmt.Errorf("a listener of type %T cannot be handed over", a.metrics)
	}
	f, err := metrics.File()
	if err != nil {
		gateway.CloseSockets(sockets)
		return h, nil, fmt.Errorf("handing over the metrics' listener: %w", err)
	}
	for _, s := range append(sockets, gateway.Socket{Name: socketAdmin, Address: a.system.Load().Admin, File: f}) {
		h.Sockets = append(h.Sockets, control.Socket{Name: s.Name, Address: s.Address})
		h.Files = append(h.Files, s.File)
	}
	return h, a.depart, nil
}

// socketAdmin is the name of the socket for metrics.
const socketAdmin = "admin"

// departGrace is how long clients' idle connections stay after a hand-over: one that sends meanwhile is answered.
const departGrace = 2 * time.Second

// depart ends this gateway after another one has taken over: idle connections after a moment, requests, streams and TCP
// connections when they are through, or after Config.Linger.
func (a *App) depart() {
	a.state.Store(control.Stopping)
	a.gateway.Part()
	a.parted.Store(true)
	_ = a.metrics.Close() // the other one answers there; its server takes that for the end
	defer a.Stop()
	linger := a.cfg.Linger
	if linger == 0 {
		linger = defaultLinger
	}
	end := time.NewTimer(max(linger, departGrace))
	defer end.Stop()
	grace := time.NewTimer(departGrace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-a.running.Done():
		return
	}
	look := time.NewTicker(departLook)
	defer look.Stop()
	for a.gateway.InFlight() > 0 {
		select {
		case <-look.C:
		case <-end.C:
			a.cfg.Log.Warn("cutting off what is still in flight after a hand-over", "count", a.gateway.InFlight())
			return
		case <-a.running.Done():
			return
		}
	}
}

const (
	// defaultLinger is how long streams and TCP connections may stay with a gateway that was taken over.
	defaultLinger = 10 * time.Minute
	departLook    = 100 * time.Millisecond
)

// takeOver has the gateway that runs in the state directory hand its sockets over. It goes on until the hand-over is
// confirmed. The result is nil where no gateway runs: this is an ordinary start then.
func (a *App) takeOver(ctx context.Context) (*control.HandOver, error) {
	h, err := control.Dial(a.cfg.Dir).HandOver(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("taking over: %w", err)
	}
	var inherited []gateway.Socket
	for i, s := range h.Sockets {
		if s.Name != socketAdmin {
			inherited = append(inherited, gateway.Socket{Name: s.Name, Address: s.Address, File: h.Files[i]})
			continue
		}
		if s.Address == a.cfg.System.Admin {
			a.metrics, err = net.FileListener(h.Files[i])
		}
		_ = h.Files[i].Close() // a copy
	}
	h.Files = nil // they are the gateway's
	a.gateway.Inherit(inherited)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("taking over the metrics' listener: %w", err)
	}
	return &h, nil
}
