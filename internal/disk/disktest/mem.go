// Package disktest has a directory in memory that crashes, fails and fills up on
// purpose.
package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/disk"
)

// Mem is a directory in memory. What was not synced may be lost when its machine
// does: see Crash. It may be used from many goroutines.
type Mem struct {
	mu     sync.Mutex // guards what follows
	files  map[string]*file
	synced map[string]*file // as the directory was when it was synced
	locked bool
	used   int64
	limit  int64 // bytes; 0 for none
	left   int   // writes and syncs until all fail; below 0 for never
	err    error
	hangs  chan struct{} // that syncs of files wait for; nil for nothing
}

type file struct {
	data   []byte
	synced int // bytes of data
}

// New returns an empty directory.
func New() *Mem {
	return &Mem{files: make(map[string]*file), synced: make(map[string]*file), left: -1}
}

// Killed returns the directory as the next process finds it after this one was
// killed: all that was written.
func (m *Mem) Killed() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := New()
	for name, f := range m.files {
		next.files[name] = &file{data: bytes.Clone(f.data), synced: f.synced}
	}
	for name, f := range m.synced {
		next.synced[name] = &file{data: bytes.Clone(f.data), synced: f.synced}
	}
	return next
}

// Crashed returns the directory as it is found after a loss of power: what was
// synced, and of the rest as much as random says. Of a file whose size has been
// written and its contents have not there may be zeros.
func (m *Mem) Crashed(random *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, from := New(), m.synced
	if random.IntN(2) == 0 {
		from = m.files // the directory was written all the same
	}
	for name, f := range from {
		n := f.synced + random.IntN(len(f.data)-f.synced+1)
		data := bytes.Clone(f.data[:n])
		if n > f.synced && random.IntN(2) == 0 {
			clear(data[f.synced+random.IntN(n-f.synced):])
		}
		next.files[name] = &file{data: data, synced: n}
		next.synced[name] = next.files[name]
	}
	return next
}

// FailAfter has every write and sync fail with err after n more of them.
func (m *Mem) FailAfter(n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.err = n, err
}

// Hang has every sync of a file wait until release is called.
func (m *Mem) Hang() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hangs := make(chan struct{})
	m.hangs = hangs
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.hangs = nil
		close(hangs)
	}
}

// Limit has writes fail where all files together would take more bytes.
func (m *Mem) Limit(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = size
}

// Flip changes a bit of a file.
func (m *Mem) Flip(name string, bit int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name].data[bit/8] ^= 1 << (bit % 8)
}

// Cut removes the end of a file, from an offset on.
func (m *Mem) Cut(name string, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	f.data, f.synced = f.data[:size], min(f.synced, size)
}

// ErrFull is what writes fail with where Limit has been reached.
var ErrFull = errors.New("no space left on device")

// tryLocked counts one write or sync.
func (m *Mem) tryLocked() error {
	switch {
	case m.left == 0:
		return m.err
	case m.left > 0:
		m.left--
	}
	return nil
}

// Create implements disk.FS.
func (m *Mem) Create(name string) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.tryLocked(); err != nil {
		return nil, err
	}
	if old := m.files[name]; old != nil {
		m.used -= int64(len(old.data))
	}
	f := new(file)
	m.files[name] = f
	return &handle{m, f}, nil
}

// Open implements disk.FS.
func (m *Mem) Open(name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(f.data))), nil
}

// Remove implements disk.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	m.used -= int64(len(f.data))
	delete(m.files, name)
	return nil
}

// Rename implements disk.FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[from]
	if f == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	delete(m.files, from)
	m.files[to] = f
	return nil
}

// Truncate implements disk.FS.
func (m *Mem) Truncate(name string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil {
		return fmt.Errorf("truncate %s: %w", name, fs.ErrNotExist)
	}
	m.used -= int64(len(f.data)) - size
	f.data, f.synced = f.data[:size], int(size)
	return nil
}

// List implements disk.FS.
func (m *Mem) List() (files []disk.Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.files {
		files = append(files, disk.Info{Name: name, Size: int64(len(f.data))})
	}
	slices.SortFunc(files, func(a, b disk.Info) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Sync implements disk.FS.
func (m *Mem) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.tryLocked(); err != nil {
		return err
	}
	m.synced = make(map[string]*file, len(m.files))
	for name, f := range m.files {
		m.synced[name] = f
	}
	return nil
}

// Lock implements disk.FS.
func (m *Mem) Lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, disk.ErrInUse
	}
	m.locked = true
	return unlock{m}, nil
}

type unlock struct{ m *Mem }

func (u unlock) Close() error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.m.locked = false
	return nil
}

// handle is a file that is open to be written.
type handle struct {
	m *Mem
	f *file
}

// Write implements disk.File. Where there is no room for all of it, there is for
// a part.
func (h *handle) Write(b []byte) (n int, err error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.tryLocked(); err != nil {
		return 0, err
	}
	n = len(b)
	if room := h.m.limit - h.m.used; h.m.limit > 0 && int64(n) > room {
		n, err = int(max(0, room)), ErrFull
	}
	h.f.data = append(h.f.data, b[:n]...)
	h.m.used += int64(n)
	return n, err
}

// Sync implements disk.File.
func (h *handle) Sync() error {
	h.m.mu.Lock()
	if hangs := h.m.hangs; hangs != nil {
		h.m.mu.Unlock()
		<-hangs
		h.m.mu.Lock()
	}
	defer h.m.mu.Unlock()
	if err := h.m.tryLocked(); err != nil {
		return err
	}
	h.f.synced = len(h.f.data)
	return nil
}

// Close implements disk.File.
func (h *handle) Close() error { return nil }
