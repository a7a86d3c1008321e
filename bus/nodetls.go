package bus

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// tlsOrPlain accepts clients, who speak in the clear, and other nodes, who pass on requests by TLS, at one address: the first byte of a
// connection tells.
type tlsOrPlain struct {
	net.Listener
	cfg *tls.Config
}

// Accept is part of net.Listener. It does not wait for what the other side sends.
func (l tlsOrPlain) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffedConn{Conn: conn, cfg: l.cfg}, nil
}

// sniffedConn is a connection that is known to be TLS, or not, once a byte has come.
type sniffedConn struct {
	net.Conn
	cfg *tls.Config

	once sync.Once
	to   net.Conn
	err  error
}

// recordHandshake begins a connection of TLS, and no request of HTTP.
const recordHandshake = 0x16

func (c *sniffedConn) sniff() {
	first := make([]byte, 1)
	if _, c.err = io.ReadFull(c.Conn, first); c.err != nil {
		return
	}
	c.to = &prefixedConn{Conn: c.Conn, prefix: first}
	if first[0] == recordHandshake {
		c.to = tls.Server(c.to, c.cfg)
	}
}

func (c *sniffedConn) Read(p []byte) (int, error) {
	if c.once.Do(c.sniff); c.err != nil {
		return 0, c.err
	}
	return c.to.Read(p)
}

func (c *sniffedConn) Write(p []byte) (int, error) {
	if c.once.Do(c.sniff); c.err != nil {
		return 0, c.err
	}
	return c.to.Write(p)
}

// prefixedConn gives out first what was read already.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}
