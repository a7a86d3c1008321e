// Package loopback gives addresses of this machine that nobody else has. At 127.0.0.1 everybody listens at ports that the system
// finds, and connects from such: a port there that its process has left, to come back to it or to hand it to another, or that nobody
// is to have, may be somebody else's in the meantime.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
)

// Host returns an address at which nobody else listens, nor connects from.
func Host() string {
	if runtime.GOOS != "linux" { // where all of 127.0.0.0/8 is this machine
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// Any is an address to listen at, of any port at a host of its own.
func Any() string { return net.JoinHostPort(Host(), "0") }
