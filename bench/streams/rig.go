package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/gateway/certs"
	"github.com/banyanhq/banyan/topology"
)

// rig is a gateway with two backends: one that echoes by WebSocket, one by gRPC.
type rig struct {
	gateway *gateway.Gateway
	trust   *tls.Config
	calls   [2]*grpc.ClientConn // over TLS is the second
	reloads int
	undo    []func()
}

func newRig() (r *rig, err error) {
	r = &rig{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	state, err := os.MkdirTemp("", "banyan-streams")
	if err != nil {
		return nil, err
	}
	r.undo = append(r.undo, func() { _ = os.RemoveAll(state) })
	if r.gateway, err = gateway.New(gateway.Config{System: r.system(), StateDir: state}); err != nil {
		return r, err
	}
	if err = r.gateway.Listen(); err != nil {
		return r, err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.gateway.Run(ctx) }()
	r.undo = append(r.undo, func() { stop(); <-done })

	web := httptest.NewServer(websocket.Handler(func(c *websocket.Conn) {
		c.PayloadType = websocket.BinaryFrame
		for {
			var m []byte
			if websocket.Message.Receive(c, &m) != nil || websocket.Message.Send(c, m) != nil {
				return
			}
		}
	}))
	r.undo = append(r.undo, web.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	server := grpc.NewServer()
	server.RegisterService(&echo, struct{}{})
	go func() { _ = server.Serve(listener) }()
	r.undo = append(r.undo, server.Stop)
	for service, address := range map[string]string{"web": web.Listener.Addr().String(), "calls": listener.Addr().String()} {
		r.gateway.Add(service, gateway.Backend{ID: "1", Address: address})
		r.gateway.SetReady(service, "1", true)
	}
	pool, err := certs.Authorities(r.gateway.TLSRoot())
	if err != nil {
		return r, err
	}
	r.trust = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	for i, way := range []struct {
		to          net.Addr
		credentials credentials.TransportCredentials
	}{{r.gateway.Addr(), insecure.NewCredentials()}, {r.gateway.TLSAddr(), credentials.NewTLS(r.trust)}} {
		if r.calls[i], err = grpc.NewClient("passthrough:///"+way.to.String(), grpc.WithTransportCredentials(way.credentials)); err != nil {
			return r, err
		}
		r.undo = append(r.undo, func() { _ = r.calls[i].Close() })
	}
	return r, nil
}

func (r *rig) close() {
	for i := len(r.undo) - 1; i >= 0; i-- {
		r.undo[i]()
	}
	r.undo = nil
}

// system is what the gateway goes by after so many reloads.
func (r *rig) system() *topology.System {
	in := topology.Inbound{Balance: topology.LeastRequest, Timeout: topology.Duration(2 * time.Second)}
	extra := r.reloads%2 == 1
	if extra {
		in.Balance, in.Timeout = topology.P2CEWMA, topology.Duration(3*time.Second)
		in.Breaker = &topology.Breaker{Failures: 5, Open: topology.Duration(time.Second), MaxOpen: topology.Duration(30 * time.Second)}
	}
	s := &topology.System{
		Listen: "127.0.0.1:0", TLS: &topology.TLS{Listen: "127.0.0.1:0"},
		Services: map[string]*topology.Service{"web": {Inbound: in}, "calls": {Inbound: in, Protocol: topology.GRPC}},
		Routes: []*topology.Route{
			{Name: "web", Path: "/socket", To: "web", Inbound: in}, {Name: "calls", Path: "/streams.Echo/", To: "calls", Inbound: in},
		},
	}
	if extra {
		s.Routes = append(s.Routes, &topology.Route{Name: "extra", Path: "/extra", To: "web", Inbound: in})
	}
	return s
}

func (r *rig) reload() error {
	r.reloads++
	if err := r.gateway.Reload(r.system()); err != nil {
		return fmt.Errorf("reload %d: %w", r.reloads, err)
	}
	return nil
}

type webSocket struct{ *websocket.Conn }

func (r *rig) dialWebSocket(ctx context.Context, secure bool) (stream, error) {
	url, config := "ws://"+r.gateway.Addr().String()+"/socket", (*tls.Config)(nil)
	if secure {
		url, config = "wss://"+r.gateway.TLSAddr().String()+"/socket", r.trust
	}
	c, err := websocket.NewConfig(url, "http://localhost/")
	if err != nil {
		return nil, err
	}
	c.TlsConfig = config
	conn, err := c.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return webSocket{conn}, nil
}

func (s webSocket) send(b []byte) error { return websocket.Message.Send(s.Conn, b) }

func (s webSocket) receive() (b []byte, err error) {
	err = websocket.Message.Receive(s.Conn, &b)
	return b, err
}

func (s webSocket) close() { _ = s.Conn.Close() }

// echo sends back what comes, message by message.
var echo = grpc.ServiceDesc{ServiceName: "streams.Echo", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
	StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var m wrapperspb.BytesValue
			if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	},
}}}

type call struct {
	grpc.ClientStream
	end context.CancelFunc
}

func (r *rig) dialCall(ctx context.Context, secure bool) (stream, error) {
	conn := r.calls[0]
	if secure {
		conn = r.calls[1]
	}
	ctx, end := context.WithCancel(ctx)
	s, err := conn.NewStream(ctx, &echo.Streams[0], "/streams.Echo/Echo")
	if err != nil {
		end()
		return nil, err
	}
	return call{s, end}, nil
}

func (c call) send(b []byte) error { return c.SendMsg(&wrapperspb.BytesValue{Value: b}) }

func (c call) receive() ([]byte, error) {
	var m wrapperspb.BytesValue
	err := c.RecvMsg(&m)
	return m.Value, err
}

func (c call) close() { c.end() }
