package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// Socket is a listening socket of a gateway, for another process that takes its place.
type Socket struct {
	// Name says what it is for: SocketOutside, SocketTLS, "tcp NAME", ...
	Name string
	// Address is the one that it was bound for, as the file has it.
	Address string
	// File is the socket; whoever has it closes it.
	File *os.File
}

// The names of sockets.
const (
	SocketOutside = "outside"
	SocketTLS     = "tls"
	socketTCP     = "tcp " // and the listener's name
)

// sockets are those that a gateway listens on, and those that it was given to listen on. They belong to Listen, and are
// only read after it.
type sockets struct {
	bound     []boundSocket
	inherited []Socket
	taken     bool // from a gateway that ran before
}

// boundSocket is a socket before anything was laid around it.
type boundSocket struct {
	name, address string
	socket        interface{ File() (*os.File, error) }
}

// Inherit has Listen use sockets of a gateway that ran before, instead of binding its own: those of the same name and
// address, which leaves no moment at which nobody listens. It is called before Listen, which closes all files.
func (g *Gateway) Inherit(all []Socket) {
	g.sockets.inherited = all
	g.sockets.taken = true
}

// Sockets returns copies of what the gateway listens on, for another process to inherit; the caller closes them. The
// listeners of the edges between services are not among them, for services are told of those when they start.
func (g *Gateway) Sockets() (all []Socket, err error) {
	for _, b := range g.sockets.bound {
		f, err := b.socket.File()
		if err != nil {
			CloseSockets(all)
			return nil, fmt.Errorf("gateway: copying the socket %s: %w", b.name, err)
		}
		all = append(all, Socket{b.name, b.address, f})
	}
	return all, nil
}

// CloseSockets closes copies of sockets.
func CloseSockets(all []Socket) {
	for _, s := range all {
		_ = s.File.Close() // only a copy
	}
}

// bind listens on a TCP address, by a socket that was inherited if there is one for it.
func (g *Gateway) bind(name, address string) (*net.TCPListener, error) {
	var l net.Listener
	var err error
	if f := g.sockets.inheritedFor(name, address); f != nil {
		l, err = net.FileListener(f)
	} else {
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, errors.New("the socket that was handed over is not one of TCP")
	}
	g.sockets.bound = append(g.sockets.bound, boundSocket{name, address, tcp})
	return tcp, nil
}

// inheritedFor returns the file of a socket that was handed over, nil if there is none.
func (s *sockets) inheritedFor(name, address string) *os.File {
	for _, i := range s.inherited {
		if i.Name == name && i.Address == address {
			return i.File
		}
	}
	return nil
}

// forget drops a socket that was bound, and is closed.
func (s *sockets) forget(name string) {
	s.bound = slices.DeleteFunc(s.bound, func(b boundSocket) bool { return b.name == name })
}

// forgetInherited closes what was handed over: what is used has been copied.
func (s *sockets) forgetInherited() {
	CloseSockets(s.inherited)
	s.inherited = nil
}
