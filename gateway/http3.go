package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overQUIC is what answers HTTP/3.
type overQUIC struct {
	packets net.PacketConn
	server  *http3.Server
	altSvc  string
	stopped sync.Once
}

// listenQUIC binds the UDP port of the same number as the TLS address. Where the gateway that this one takes over from still
// has it, awaitQUIC does so later: the kernel cannot tell the packets of one process's connections from those of another's, so
// that the port is not handed over, but left.
func (g *Gateway) listenQUIC(e *encrypted) error {
	if !e.cfg.HTTP3 {
		return nil
	}
	packets, err := g.listenPacket("udp", e.listener.Addr().String())
	switch {
	case err == nil:
		e.quic.Store(g.newQUIC(e, packets))
	case !g.sockets.taken || !errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("gateway: listening for HTTP/3: %w", err)
	}
	return nil
}

func (g *Gateway) newQUIC(e *encrypted, packets net.PacketConn) *overQUIC {
	return &overQUIC{packets: packets, altSvc: `h3=":` + strconv.Itoa(e.port()) + `"; ma=3600`, server: &http3.Server{
		Handler: http.HandlerFunc(g.serveOutside), TLSConfig: http3.ConfigureTLSConfig(e.config.Clone()), MaxHeaderBytes: maxHeader,
		// Early data (0-RTT) can be replayed by others, and is not taken.
		QUICConfig: &quic.Config{
			Allow0RTT: false, MaxIdleTimeout: http3Idle, MaxIncomingStreams: maxStreams, MaxIncomingUniStreams: 16,
			MaxStreamReceiveWindow: streamWindow, MaxConnectionReceiveWindow: connWindow,
		},
		ConnContext: g.seatQUIC,
		Logger:      slog.New(slog.DiscardHandler),
	}}
}

// seatQUIC gives a connection a place among those over TLS, or closes it. Nothing tells when one over QUIC is quiet, so that it is
// never closed for another; by itself it ends after http3Idle.
func (g *Gateway) seatQUIC(ctx context.Context, c *quic.Conn) context.Context {
	l, client := g.tlsConns, addrPortOf(c.RemoteAddr()).Addr()
	switch {
	case !l.enter(client):
		_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), errTooMany.Error())
	case l.crowded() && !l.closeQuiet(0):
		l.refuse(client)
		_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "there are too many connections")
	default:
		context.AfterFunc(c.Context(), func() { l.leave(client) })
	}
	return ctx
}

// serveQUIC answers until it is stopped. It is called before the outside is stopped.
func (g *Gateway) serveQUIC(q *overQUIC) {
	g.outside.serving.Go(func() { g.ended(q.server.Serve(q.packets)) })
}

// quicPause is the pause between two looks whether the port for HTTP/3 has been left.
const quicPause = 50 * time.Millisecond

// awaitQUIC begins to answer HTTP/3 once the gateway before this one has left its port, if it is to be answered and is not yet.
func (g *Gateway) awaitQUIC(ctx context.Context) {
	e := g.tls
	if e == nil || !e.cfg.HTTP3 || e.quic.Load() != nil {
		return
	}
	g.cfg.Log.Info("HTTP/3 is answered once the gateway before this one has left its port", "address", e.listener.Addr().String())
	look := time.NewTicker(quicPause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		packets, err := net.ListenPacket("udp", e.listener.Addr().String())
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			g.cfg.Log.Error("HTTP/3 is not answered", "error", err)
			return
		}
		g.reloading.Lock()
		defer g.reloading.Unlock()
		if g.running == nil { // the end has begun
			_ = packets.Close()
			return
		}
		q := g.newQUIC(e, packets)
		e.quic.Store(q)
		g.serveQUIC(q)
		g.cfg.Log.Info("HTTP/3 is answered", "address", packets.LocalAddr().String())
		return
	}
}

// partQUIC leaves the port for HTTP/3 to another gateway: clients are told to go elsewhere, and their requests are waited for as
// long as they are when a gateway stops. Clients that come meanwhile find nobody, and go on over TCP.
func (g *Gateway) partQUIC() {
	if g.tls == nil || g.tls.quic.Load() == nil {
		return
	}
	g.outside.serving.Go(func() {
		deadline, cancel := context.WithTimeout(context.Background(), g.cfg.DrainTimeout)
		defer cancel()
		g.stopQUIC(deadline)
	})
}

// stopQUIC ends HTTP/3, politely until ctx ends, and returns when that has been done, whoever has begun with it.
func (g *Gateway) stopQUIC(ctx context.Context) {
	if g.tls == nil {
		return
	}
	if q := g.tls.quic.Load(); q != nil {
		q.stopped.Do(func() {
			_ = q.server.Shutdown(ctx) // what is left is cut off
			_ = q.server.Close()
			_ = q.packets.Close()
		})
	}
}
