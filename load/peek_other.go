//go:build !unix

package load

import "net"

// peeker cannot look at an idle connection on this system.
func peeker(net.Conn) func() bool { return func() bool { return false } }
