//go:build !(linux && (amd64 || arm64))

package gateway

import (
	"context"
	"errors"
	"net"
)

// fastTier is not there on this platform: the full tier carries all.
type fastTier struct{}

func startFast(*Gateway) (*fastTier, error) { return nil, errors.ErrUnsupported }

func (*fastTier) stop()                             {}
func (*fastTier) cutStreams()                       {}
func (*fastTier) closeIdle(_ *backend, done func()) { done() }

func (*fastTier) open(*net.TCPListener, *side, *connLimit, *edge) *door           { return nil }
func (*fastTier) openProxied(*net.TCPListener, *side, *connLimit, networks) *door { return nil }

// door is not there either.
type door struct{ net.Listener }

func (*door) stop(context.Context) {}

func (*door) part() {}
