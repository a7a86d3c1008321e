//go:build unix

package journal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// fileLock is the exclusive lock of a file among all handles on it, in this process and in others. The lock belongs to the
// open file (flock(2)), and the kernel releases it when the process dies. Goroutines that share a handle share the open
// file, and the first of them to unlock it would unlock it for the others: so they take a mutex first.
type fileLock struct {
	mu   sync.Mutex
	file *os.File
}

func (l *fileLock) lock() error {
	l.mu.Lock()
	for {
		err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			l.mu.Unlock()
			return fmt.Errorf("locking %s: %w", l.file.Name(), err)
		}
	}
}

func (l *fileLock) unlock() {
	// It cannot fail on an open file; a closed one is unlocked already.
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	l.mu.Unlock()
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

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
