package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is the folder that files lie in. Names have no path.
type FS interface {
	// Open opens a file for reading and appending. One that is not there is fs.ErrNotExist.
	Open(name string) (File, error)
	// Create makes an empty file, whatever was there.
	Create(name string) (File, error)
	// Rename gives a file another name, in place of what has it.
	Rename(from, to string) error
	// Remove removes a file; one that is not there is no error.
	Remove(name string) error
	// Sync makes what Create, Rename and Remove have done last.
	Sync() error
	// Path is the name by which people find a file.
	Path(name string) string
}

// File is a file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
}

// Folder is a folder of the machine, locked against others.
type Folder struct {
	path string
	lock *os.File
}

var _ FS = (*Folder)(nil)

// lockName is the file by which a folder is locked.
const lockName = "lock"

// ErrInUse says that another process uses the folder.
var ErrInUse = errors.New("another process keeps a cache there")

// OpenFolder makes a folder if it is not there, and locks it until Close.
func OpenFolder(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &Folder{path, lock}, nil
}

// Close unlocks the folder.
func (f *Folder) Close() error { return f.lock.Close() }

// Path implements FS.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// Open implements FS.
func (f *Folder) Open(name string) (File, error) {
	file, err := os.OpenFile(f.Path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

// Create implements FS.
func (f *Folder) Create(name string) (File, error) {
	file, err := os.OpenFile(f.Path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

// Rename implements FS.
func (f *Folder) Rename(from, to string) error { return os.Rename(f.Path(from), f.Path(to)) }

// Remove implements FS.
func (f *Folder) Remove(name string) error {
	if err := os.Remove(f.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sync implements FS.
func (f *Folder) Sync() error {
	dir, err := os.Open(f.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// osFile is a file of the machine.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
