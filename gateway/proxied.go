package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/banyanhq/banyan/gateway/proxyproto"
)

// proxyTime is how long a connection may take to say whose it is.
const proxyTime = 3 * time.Second

// networks are those of the proxies in front whose PROXY protocol is believed.
type networks []netip.Prefix

func parseNetworks(list []string) (n networks, err error) {
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("the network %q: %w", text, err)
		}
		n = append(n, prefix)
	}
	return n, nil
}

func (n networks) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, prefix := range n {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

var errNotTrusted = errors.New("the connection does not come from a proxy whose PROXY protocol is accepted")

// identify reads whose connection it is, in time, and nothing beyond that.
func (n networks) identify(c *net.TCPConn, within time.Duration) (proxyproto.Header, error) {
	h := proxyproto.Header{Source: addrPortOf(c.RemoteAddr()), Destination: addrPortOf(c.LocalAddr())}
	if !n.has(h.Source.Addr()) {
		return h, errNotTrusted
	}
	_ = c.SetReadDeadline(time.Now().Add(within)) // fails only where the reading does
	said, err := proxyproto.Read(c)
	if err != nil {
		return h, err
	}
	_ = c.SetReadDeadline(time.Time{})
	if said.Source.IsValid() {
		h = said
	}
	return h, nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort()
	case *net.UDPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// proxiedListener gives connections that say by the PROXY protocol whose they are.
type proxiedListener struct {
	net.Listener
	from   networks
	within time.Duration
}

// Accept implements net.Listener. It does not wait for the client to send anything.
func (l proxiedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok && l.from.has(addrPortOf(c.RemoteAddr()).Addr()) {
			return &proxiedConn{TCPConn: tcp, from: l.from, within: l.within}, nil
		}
		_ = c.Close()
	}
}

// proxiedConn is a connection that begins with the PROXY protocol. That is read when it is first asked for its client, or
// for what the client sends; both happen on a goroutine of its own.
type proxiedConn struct {
	*net.TCPConn
	from   networks
	within time.Duration
	once   sync.Once
	client netip.AddrPort
	err    error

	identified func(netip.Addr) error // may refuse the client; nil: nobody is to be told
}

func (c *proxiedConn) identify() error {
	c.once.Do(func() {
		h, err := c.from.identify(c.TCPConn, c.within)
		if err == nil && c.identified != nil {
			err = c.identified(h.Source.Addr())
		}
		if c.client = h.Source; err != nil {
			// A server answers what it cannot read, but for what a socket fails with.
			c.err = &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.TCPConn.RemoteAddr(), Err: err}
		}
	})
	return c.err
}

// RemoteAddr is the client's address.
func (c *proxiedConn) RemoteAddr() net.Addr {
	_ = c.identify() // reading fails, too
	return net.TCPAddrFromAddrPort(c.client)
}

func (c *proxiedConn) Read(p []byte) (int, error) {
	if err := c.identify(); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(p)
}

// WriteTo copies what is read, without what comes before it.
func (c *proxiedConn) WriteTo(w io.Writer) (int64, error) {
	if err := c.identify(); err != nil {
		return 0, err
	}
	return c.TCPConn.WriteTo(w)
}
