//go:build !linux || !(amd64 || arm64)

package main

import (
	"context"
	"errors"
)

// publishLean is for the systems that package reactor is for.
func publishLean(context.Context, *process, options) (figures, error) {
	return figures{}, errors.ErrUnsupported
}
