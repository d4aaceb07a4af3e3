package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// FS is one directory. Names are of files in it or, with slashes, in directories
// below it. Tests have one in memory that crashes.
type FS interface {
	// Create makes a file, or empties the one that there is, to be written.
	Create(name string) (File, error)
	// Open opens a file to be read. The error wraps fs.ErrNotExist if there is
	// none.
	Open(name string) (io.ReadCloser, error)
	Remove(name string) error
	// Rename puts a file in the place of another, which need not be there, or a
	// directory where there is none.
	Rename(from, to string) error
	// List returns the names of all files that are in the directory itself, sorted,
	// and their sizes in bytes.
	List() ([]Info, error)
	// Sync returns when what was created, linked, renamed and removed in a
	// directory is on the disk: "." for this one.
	Sync(dir string) error
	// Truncate cuts a file to a size. It returns when all of the file is on the
	// disk.
	Truncate(name string, size int64) error
	// Link gives a file one more name.
	Link(from, to string) error
	// MakeDir makes a directory, and those above it, if it is not there.
	MakeDir(name string) error
	// Dirs returns the names of the directories that are in one, sorted: none if
	// it is not there.
	Dirs(in string) ([]string, error)
	// RemoveDir removes a directory and all that is in it, if it is there.
	RemoveDir(name string) error
	// Lock keeps other processes out until it is closed: ErrInUse.
	Lock(name string) (io.Closer, error)
}

// File is one that is written, from its beginning on.
type File interface {
	io.WriteCloser
	// Sync returns when what was written is on the disk.
	Sync() error
}

// Info is what a directory says of a file.
type Info struct {
	Name string
	Size int64
}

// Dir is a directory of the operating system.
type Dir struct {
	root *os.Root
	path string
}

// OpenDir opens a directory, which is made if it is not there, for its owner
// alone: records are secrets.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	return &Dir{root, path}, nil
}

// Close lets go of the directory. Files of it that are open stay so.
func (d *Dir) Close() error { return d.root.Close() }

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// Create implements FS.
func (d *Dir) Create(name string) (File, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Open implements FS.
func (d *Dir) Open(name string) (io.ReadCloser, error) { return d.root.Open(name) }

// Remove implements FS.
func (d *Dir) Remove(name string) error { return d.root.Remove(name) }

// Rename implements FS.
func (d *Dir) Rename(from, to string) error { return d.root.Rename(from, to) }

// Truncate implements FS.
func (d *Dir) Truncate(name string, size int64) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// List implements FS.
func (d *Dir) List() (files []Info, err error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed since
		case err != nil:
			return nil, err
		case info.Mode().IsRegular():
			files = append(files, Info{e.Name(), info.Size()})
		}
	}
	slices.SortFunc(files, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Sync implements FS.
func (d *Dir) Sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Link implements FS.
func (d *Dir) Link(from, to string) error { return d.root.Link(from, to) }

// MakeDir implements FS.
func (d *Dir) MakeDir(name string) error { return d.root.MkdirAll(name, 0o700) }

// Dirs implements FS.
func (d *Dir) Dirs(in string) (names []string, err error) {
	entries, err := fs.ReadDir(d.root.FS(), in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// RemoveDir implements FS.
func (d *Dir) RemoveDir(name string) error { return d.root.RemoveAll(name) }
