//go:build unix

package journal

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits for the exclusive lock of f. The lock belongs to the open file
// (flock(2)), so two handles of one process exclude each other as well, and
// the kernel releases it when the process dies.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// tryLockFile takes the lock if nobody has it.
func tryLockFile(f *os.File) (taken bool, err error) {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

func unlockFile(f *os.File) {
	// It cannot fail on an open file; a closed one is unlocked already.
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
