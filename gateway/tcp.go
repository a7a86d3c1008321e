package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/banyanhq/banyan/gateway/proxyproto"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// tcpTarget is where the connections of one TCP listener go, under one version of the file.
type tcpTarget struct{ lane *lane }

// tcpProxy leads the connections of one listener to a service.
type tcpProxy struct {
	g        *Gateway
	cfg      topology.TCP
	trusted  networks
	listener *net.TCPListener

	ctx     context.Context // ends when all connections are cut off
	cut     context.CancelFunc
	serving sync.WaitGroup

	failing teller // of accepting

	open, accepted, refused, failed, in, out atomic.Int64
}

// TCPStats counts the connections of one TCP listener.
type TCPStats struct {
	Name    string `json:"name"`
	Service string `json:"service"`
	// Open are those there now; Accepted, all that came; Refused, those closed as they came, since there were too many
	// or they did not say well whose they are; Failed, those for which no replica could be connected to.
	Open     int64 `json:"open"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Failed   int64 `json:"failed"`
	// Received and Sent are the bytes from and to clients, of connections that have ended.
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// buildTCP finds the ways that TCP connections go.
func (t *table) buildTCP() error {
	t.tcp = map[string]*tcpTarget{}
	for _, cfg := range t.system.TCP {
		s := t.services[cfg.To]
		if s == nil {
			return fmt.Errorf("gateway: tcp %s: there is no service %q", cfg.Name, cfg.To)
		}
		in := t.system.Services[cfg.To].Inbound
		if cfg.Balance != "" {
			in.Balance = cfg.Balance
		}
		l, err := t.lane(s, in)
		if err != nil {
			return fmt.Errorf("gateway: tcp %s: %w", cfg.Name, err)
		}
		t.tcp[cfg.Name] = &tcpTarget{lane: l}
	}
	return nil
}

func (g *Gateway) listenTCP(t *table) error {
	for _, cfg := range t.system.TCP {
		p := &tcpProxy{g: g, cfg: *cfg}
		var err error
		if p.trusted, err = parseNetworks(cfg.Trusted); err != nil {
			return fmt.Errorf("gateway: tcp %s: trusted: %w", cfg.Name, err)
		}
		l, err := g.bind(socketTCP+cfg.Name, cfg.Listen)
		if err != nil {
			return fmt.Errorf("gateway: listening for tcp %s: %w", cfg.Name, err)
		}
		p.listener = l
		p.ctx, p.cut = context.WithCancel(context.Background())
		g.tcp = append(g.tcp, p)
	}
	return nil
}

// closeTCP closes what listenTCP has bound and nobody serves.
func (g *Gateway) closeTCP() {
	for _, p := range g.tcp {
		_ = p.listener.Close()
	}
}

// TCPAddr returns the address of a TCP listener by its name, nil if there is none.
func (g *Gateway) TCPAddr(name string) net.Addr {
	for _, p := range g.tcp {
		if p.cfg.Name == name {
			return p.listener.Addr()
		}
	}
	return nil
}

func (g *Gateway) serveTCP() {
	for _, p := range g.tcp {
		p.serving.Go(p.accept)
	}
}

// stopTCP cuts all connections off: nothing says where one of their conversations ends.
func (g *Gateway) stopTCP() {
	for _, p := range g.tcp {
		_ = p.listener.Close()
		p.cut()
	}
	for _, p := range g.tcp {
		p.serving.Wait()
	}
}

// acceptPause is the pause after an error of accept that may pass, such as too many open files.
const acceptPause = 10 * time.Millisecond

func (p *tcpProxy) accept() {
	for {
		conn, err := p.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if p.failing.due(p.g.realNow()) {
				p.g.cfg.Log.Warn("connections cannot be accepted; those that are there go on, and it is tried again", "listener", socketTCP+p.cfg.Name, "error", err)
			}
			select {
			case <-time.After(acceptPause):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		p.accepted.Add(1)
		if p.open.Add(1) > int64(p.cfg.MaxConnections) {
			p.open.Add(-1)
			p.refused.Add(1)
			_ = conn.Close()
			continue
		}
		p.serving.Go(func() {
			defer p.open.Add(-1)
			p.serve(conn)
		})
	}
}

// serve leads one connection to a replica until it ends.
func (p *tcpProxy) serve(client *net.TCPConn) {
	defer client.Close()
	unhook := context.AfterFunc(p.ctx, func() { _ = client.Close() })
	defer unhook()
	header, err := p.identify(client)
	if err != nil {
		p.refused.Add(1)
		return
	}
	lane := p.g.table.Load().tcp[p.cfg.Name].lane
	upstream, grant, began, ok := p.connect(lane, header)
	if !ok {
		p.failed.Add(1)
		_ = client.SetLinger(0) // a reset tells the client that nothing was done
		return
	}
	unhookBackend := context.AfterFunc(p.ctx, func() { _ = upstream.Close() })
	defer unhookBackend()
	defer upstream.Close()
	b := grant.Owner.(*backend)
	b.conns.Add(1)
	defer b.conns.Add(-1)
	b.requests.Add(1)
	latency := p.g.now() - began
	b.latency.Record(latency)
	defer lane.release(grant, latency, policy.Success)
	p.join(client, upstream)
}

// identify finds out whose connection it is.
func (p *tcpProxy) identify(client *net.TCPConn) (proxyproto.Header, error) {
	if p.cfg.AcceptProxy {
		return p.trusted.identify(client, p.g.proxyTime)
	}
	return proxyproto.Header{Source: addrPortOf(client.RemoteAddr()), Destination: addrPortOf(client.LocalAddr())}, nil
}

// connect picks a replica and connects to it. A connection that was not made can always be tried elsewhere.
func (p *tcpProxy) connect(l *lane, h proxyproto.Header) (*net.TCPConn, policy.Grant, time.Duration, bool) {
	search := policy.Request{Hash: policy.HashString(h.Source.Addr().Unmap().String()), Random: rand.Uint64(), Repeatable: true}
	l.retrier.Begin(p.g.now())
	for tries := 1; ; tries++ {
		grant, why := l.pick(&search, p.g.now())
		if why != policy.Picked {
			return nil, grant, 0, false
		}
		b := grant.Owner.(*backend)
		began := p.g.now()
		conn, err := p.dial(b, h)
		now := p.g.now()
		if err == nil {
			l.pool.Report(grant, now, policy.Success)
			return conn, grant, began, true
		}
		b.requests.Add(1)
		b.failures.Add(1)
		outcome := policy.Failure
		if p.ctx.Err() != nil {
			outcome = policy.Neutral
		}
		l.pool.Report(grant, now, outcome)
		l.release(grant, now-began, outcome)
		verdict, _ := l.retrier.Decide(now, policy.Try{Idempotent: true, Replayable: true, Attempts: tries, Left: dialTimeout, Random: rand.Float64()})
		if verdict != policy.Repeat || p.ctx.Err() != nil {
			return nil, grant, 0, false
		}
		search.Exclude(grant.Member)
	}
}

func (p *tcpProxy) dial(b *backend, h proxyproto.Header) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(p.ctx, "tcp", b.address)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	var head []byte
	switch p.cfg.ProxyProtocol {
	case "v1":
		head = h.AppendV1(nil)
	case "v2":
		head = h.AppendV2(nil)
	}
	if len(head) > 0 {
		if _, err := conn.Write(head); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// join copies both directions until both have ended, one has failed, or nothing has come for too long. The end of one is
// passed on as such (half-close), and the other goes on.
func (p *tcpProxy) join(client, backend *net.TCPConn) {
	var last atomic.Int64
	last.Store(int64(p.g.now()))
	idle := p.cfg.Idle.Std()
	if idle <= 0 {
		idle = 10 * time.Minute
	}
	var up sync.WaitGroup
	up.Go(func() { p.in.Add(p.pump(backend, client, &last, idle)) })
	p.out.Add(p.pump(client, backend, &last, idle))
	up.Wait()
}

// spliceChunk is how much is moved in the kernel before the counters are looked at.
const spliceChunk = 1 << 20

// pump moves bytes by splice(2) where the platform has it: net.TCPConn.ReadFrom of a LimitedReader of a net.TCPConn.
func (p *tcpProxy) pump(dst, src *net.TCPConn, last *atomic.Int64, idle time.Duration) (total int64) {
	for {
		_ = src.SetReadDeadline(time.Now().Add(idle)) // fails only on a closed connection, as the reading then does
		_ = dst.SetWriteDeadline(time.Now().Add(idle))
		n, err := dst.ReadFrom(&io.LimitedReader{R: src, N: spliceChunk})
		total += n
		if n > 0 {
			last.Store(int64(p.g.now()))
		}
		var network net.Error
		switch {
		case err == nil && n < spliceChunk: // the end
			if dst.CloseWrite() != nil {
				_ = src.Close()
			}
			return total
		case err == nil:
		case errors.As(err, &network) && network.Timeout() && p.g.now()-time.Duration(last.Load()) < idle:
			// bytes came since, in this direction or the other
		default:
			_ = src.Close()
			_ = dst.Close()
			return total
		}
	}
}

func (p *tcpProxy) stats() TCPStats {
	return TCPStats{
		Name: p.cfg.Name, Service: p.cfg.To, Open: p.open.Load(), Accepted: p.accepted.Load(), Refused: p.refused.Load(), Failed: p.failed.Load(),
		Received: p.in.Load(), Sent: p.out.Load(),
	}
}
