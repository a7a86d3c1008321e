//go:build linux && (amd64 || arm64)

package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// openProxied makes the tier take connections from l that say by the PROXY protocol whose they are. That is read before
// they come to a loop, each on a goroutine: proxies keep their connections.
func (t *fastTier) openProxied(l *net.TCPListener, side *side, limit *connLimit, from networks) *door {
	d := t.newDoor(l, side, limit, nil)
	d.proxied = true
	d.open.Add(1)
	go func() {
		defer d.open.Done()
		d.acceptProxied(from)
	}()
	return d
}

func (d *door) acceptProxied(from networks) {
	for {
		c, err := d.tcp.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.limit.acceptFailed(err, nil)
			select {
			case <-time.After(acceptPause):
			case <-d.closed.Done():
			}
			continue
		}
		d.open.Add(1)
		go func() {
			if fd, client, err := d.takeProxied(c, from); err == nil {
				d.admit(fd, client)
			} else {
				d.open.Done()
			}
		}()
	}
}

// takeProxied reads whose connection it is, and returns its descriptor as the caller's. The door does not wait for it: when that is
// closed, so is the connection.
func (d *door) takeProxied(c *net.TCPConn, from networks) (fd int, client netip.AddrPort, err error) {
	defer c.Close()
	defer context.AfterFunc(d.closed, func() { _ = c.Close() })()
	h, err := from.identify(c, d.tier.g.proxyTime)
	if err != nil {
		return -1, client, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, client, err
	}
	if cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, client, cerr
	}
	return fd, netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port()), err
}

// admit gives a connection, which is counted as open, to the worker that has the fewest.
func (d *door) admit(fd int, client netip.AddrPort) {
	to := d.tier.leastBusy()
	to.nClients.Add(1)
	if !to.loop.Post(func() { to.welcome(d, fd, client) }) {
		to.nClients.Add(-1)
		d.open.Done()
		_ = unix.Close(fd)
	}
}
