//go:build !linux || !(amd64 || arm64)

package cache

import "errors"

const supported = false

type loop struct{}

type wire struct{}

func newLoop(*Server) (*loop, error) { return nil, errors.ErrUnsupported }

func (*loop) run(bool) error { return errors.ErrUnsupported }
func (*loop) stop()          {}
func (*loop) close()         {}
func (*loop) kick(*client)   {}
func (*loop) synced()        {}
