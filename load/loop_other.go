//go:build !linux || !(amd64 || arm64)

package load

import (
	"context"
	"errors"
	"net"
)

// loop is the event loop, which is for Linux alone.
type loop struct{}

func loopSupported() bool { return false }

func newLoop(*run) (*loop, error) { return nil, errors.ErrUnsupported }

func (*loop) start(func(thread)) {}
func (*loop) post(func())        {}
func (*loop) run()               {}
func (*loop) close()             {}
func (*loop) dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
