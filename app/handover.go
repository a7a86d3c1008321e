package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/banyanhq/banyan/app/control"
)

// HandOver gives the listeners to a gateway that takes this one's place, and the address that they are of. Done is called
// when they have arrived: from then on this one accepts no connection, finishes what it has, and ends. Connections that
// nobody has accepted yet stay in the kernel's queue, which both share, so that none is lost.
func (a *App) HandOver() (h control.HandOver, done func(), err error) {
	if !a.cfg.GatewayOnly {
		return h, nil, errors.New("only a gateway that stands alone can be taken over: it was started by 'banyan up'")
	}
	switch sys := a.system.Load(); {
	case sys.TLS != nil, len(sys.TCP) > 0:
		return h, nil, errors.New("a gateway with 'tls' or 'tcp' cannot be taken over yet: end it and start it anew")
	case sys.HTTPCache != nil && sys.HTTPCache.Dir != "":
		return h, nil, errors.New("a gateway with 'http_cache: {dir}' cannot be taken over, for two would write there: end it and start it anew")
	}
	h.Listen, h.Admin = a.system.Load().Listen, a.system.Load().Admin
	for _, l := range []net.Listener{a.gateway.Listener(), a.metrics} {
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			h.Close()
			return h, nil, fmt.Errorf("a listener of type %T cannot be handed over", l)
		}
		f, err := tcp.File()
		if err != nil {
			h.Close()
			return h, nil, fmt.Errorf("handing over a listener: %w", err)
		}
		h.Files = append(h.Files, f)
	}
	return h, a.depart, nil
}

// departGrace is how long clients' idle connections stay after a hand-over: one that sends meanwhile is answered.
const departGrace = 2 * time.Second

// depart ends this gateway after another one has taken over.
func (a *App) depart() {
	a.state.Store(control.Stopping)
	a.gateway.Part()
	grace := time.NewTimer(departGrace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-a.running.Done():
	}
	a.Stop()
}

// takeOver has the gateway that runs in the state directory hand its listeners over.
func (a *App) takeOver(ctx context.Context) error {
	h, err := control.Dial(a.cfg.Dir).HandOver(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil // nobody is there: this is an ordinary start
	}
	if err != nil {
		return fmt.Errorf("taking over: %w", err)
	}
	defer h.Close()
	if h.Listen != a.cfg.System.Listen || h.Admin != a.cfg.System.Admin || len(h.Files) != 2 {
		return fmt.Errorf("taking over: the gateway that runs listens on %s (admin %s), the file says %s (%s): stop it first",
			h.Listen, h.Admin, a.cfg.System.Listen, a.cfg.System.Admin)
	}
	var listeners [2]net.Listener
	for i, f := range h.Files {
		if listeners[i], err = net.FileListener(f); err != nil {
			return fmt.Errorf("taking over a listener: %w", err)
		}
	}
	a.gateway.Inherit(listeners[0])
	a.metrics = listeners[1]
	return h.Confirm()
}
