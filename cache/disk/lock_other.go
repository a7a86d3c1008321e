//go:build !unix

package disk

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.New("keeping a cache in files is not supported here") }
