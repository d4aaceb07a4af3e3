// Package disktest has a directory in memory that crashes, fails and fills up on
// purpose.
package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/disk"
)

// Mem is a directory in memory. What was not synced may be lost when its machine
// does: see Crash. It may be used from many goroutines.
type Mem struct {
	mu     sync.Mutex // guards what follows
	root   *dir
	locked bool
	used   int64
	limit  int64 // bytes; 0 for none
	left   int   // changes and syncs until all fail; below 0 for never
	err    error
	hangs  chan struct{} // that syncs of files wait for; nil for nothing
}

// dir has files (*file) and directories (*dir).
type dir struct {
	now    map[string]any
	synced map[string]any // as it was when it was synced
}

type file struct {
	data   []byte
	synced int // bytes of data
	names  int
}

func newDir() *dir { return &dir{now: make(map[string]any), synced: make(map[string]any)} }

// New returns an empty directory.
func New() *Mem { return &Mem{root: newDir(), left: -1} }

// Killed returns the directory as the next process finds it after this one was
// killed: all that was written.
func (m *Mem) Killed() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := New()
	c := copying{copies: make(map[any]any), file: func(f *file) *file {
		return &file{bytes.Clone(f.data), f.synced, f.names}
	}}
	c.dir = func(d *dir) *dir { return &dir{c.all(d.now), c.all(d.synced)} }
	next.root = c.of(m.root).(*dir)
	return next
}

// Crashed returns the directory as it is found after a loss of power: what was
// synced, and of the rest as much as random says. Of a file whose size has been
// written and its contents have not there may be zeros.
func (m *Mem) Crashed(random *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := New()
	c := copying{copies: make(map[any]any), file: func(f *file) *file {
		n := f.synced + random.IntN(len(f.data)-f.synced+1)
		data := bytes.Clone(f.data[:n])
		if n > f.synced && random.IntN(2) == 0 {
			clear(data[f.synced+random.IntN(n-f.synced):])
		}
		return &file{data, n, f.names}
	}}
	c.dir = func(d *dir) *dir {
		from := d.synced
		if random.IntN(2) == 0 {
			from = d.now // the directory was written all the same
		}
		found := c.all(from)
		return &dir{found, maps.Clone(found)}
	}
	next.root = c.of(m.root).(*dir)
	return next
}

// Restored returns a directory that has what is in one below this one, as when it
// is copied to another place.
func (m *Mem) Restored(name string) *Mem {
	next := m.Killed()
	next.root = next.dirLocked(name)
	return next
}

// copying copies a tree, in which a file may have several names.
type copying struct {
	copies map[any]any
	file   func(*file) *file
	dir    func(*dir) *dir
}

func (c copying) of(what any) any {
	if done, ok := c.copies[what]; ok {
		return done
	}
	var made any
	switch what := what.(type) {
	case *file:
		made = c.file(what)
	case *dir:
		made = c.dir(what)
	}
	c.copies[what] = made
	return made
}

// all copies what is in a directory, in the order of the names, so that a random
// number means the same each time.
func (c copying) all(from map[string]any) map[string]any {
	to := make(map[string]any, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		to[name] = c.of(from[name])
	}
	return to
}

// FailAfter has every change and sync fail with err after n more of them.
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
	m.fileLocked(name).data[bit/8] ^= 1 << (bit % 8)
}

// Cut removes the end of a file, from an offset on.
func (m *Mem) Cut(name string, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fileLocked(name)
	f.data, f.synced = f.data[:size], min(f.synced, size)
}

// ErrFull is what writes fail with where Limit has been reached.
var ErrFull = errors.New("no space left on device")

// tryLocked counts one change or sync.
func (m *Mem) tryLocked() error {
	switch {
	case m.left == 0:
		return m.err
	case m.left > 0:
		m.left--
	}
	return nil
}

// inLocked returns the directory that a name is in, and what it is there. The
// directory is nil if it is not there.
func (m *Mem) inLocked(name string) (in *dir, base string) {
	in = m.root
	above, base := path.Split(path.Clean(name))
	for part := range strings.SplitSeq(strings.TrimSuffix(above, "/"), "/") {
		if part != "" && in != nil {
			in, _ = in.now[part].(*dir)
		}
	}
	return in, base
}

// fileLocked returns a file, nil if it is not there.
func (m *Mem) fileLocked(name string) *file {
	in, base := m.inLocked(name)
	if in == nil {
		return nil
	}
	f, _ := in.now[base].(*file)
	return f
}

// dirLocked returns a directory, nil if it is not there.
func (m *Mem) dirLocked(name string) *dir {
	in, base := m.inLocked(name)
	if in == nil || base == "." {
		return in
	}
	d, _ := in.now[base].(*dir)
	return d
}

// dropLocked gives up one name of a file, or a directory with all that is in it.
func (m *Mem) dropLocked(what any) {
	switch what := what.(type) {
	case *file:
		if what.names--; what.names == 0 {
			m.used -= int64(len(what.data))
		}
	case *dir:
		for _, each := range what.now {
			m.dropLocked(each)
		}
	}
}

// changeLocked counts a change of one directory, which is to be there.
func (m *Mem) changeLocked(what, name string) (in *dir, base string, err error) {
	if err := m.tryLocked(); err != nil {
		return nil, "", err
	}
	if in, base = m.inLocked(name); in == nil {
		return nil, "", missing(what, name)
	}
	return in, base, nil
}

func missing(what, name string) error { return fmt.Errorf("%s %s: %w", what, name, fs.ErrNotExist) }

// Create implements disk.FS.
func (m *Mem) Create(name string) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, base, err := m.changeLocked("create", name)
	if err != nil {
		return nil, err
	}
	m.dropLocked(in.now[base])
	f := &file{names: 1}
	in.now[base] = f
	return &handle{m, f}, nil
}

// Open implements disk.FS.
func (m *Mem) Open(name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fileLocked(name)
	if f == nil {
		return nil, missing("open", name)
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(f.data))), nil
}

// Remove implements disk.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, base, err := m.changeLocked("remove", name)
	if err != nil {
		return err
	}
	f, ok := in.now[base].(*file)
	if !ok {
		return missing("remove", name)
	}
	m.dropLocked(f)
	delete(in.now, base)
	return nil
}

// Rename implements disk.FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, base, err := m.changeLocked("rename", from)
	if err != nil {
		return err
	}
	what, ok := in.now[base]
	target, name := m.inLocked(to)
	if !ok || target == nil {
		return missing("rename", from)
	}
	if _, isDir := what.(*dir); isDir && target.now[name] != nil {
		return fmt.Errorf("rename %s: %w", to, fs.ErrExist)
	}
	m.dropLocked(target.now[name])
	delete(in.now, base)
	target.now[name] = what
	return nil
}

// Link implements disk.FS.
func (m *Mem) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, base, err := m.changeLocked("link", to)
	if err != nil {
		return err
	}
	f := m.fileLocked(from)
	switch {
	case f == nil:
		return missing("link", from)
	case in.now[base] != nil:
		return fmt.Errorf("link %s: %w", to, fs.ErrExist)
	}
	f.names++
	in.now[base] = f
	return nil
}

// MakeDir implements disk.FS.
func (m *Mem) MakeDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.tryLocked(); err != nil {
		return err
	}
	in := m.root
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		switch next := in.now[part].(type) {
		case *dir:
			in = next
		case *file:
			return fmt.Errorf("make directory %s: %w", name, fs.ErrExist)
		default:
			d := newDir()
			in.now[part] = d
			in = d
		}
	}
	return nil
}

// Dirs implements disk.FS.
func (m *Mem) Dirs(in string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirLocked(in)
	if d == nil {
		return nil, nil
	}
	for name, what := range d.now {
		if _, ok := what.(*dir); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// RemoveDir implements disk.FS. Each file and each directory is a change of its
// own: a failure leaves what has not been removed.
func (m *Mem) RemoveDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, base := m.inLocked(name)
	if in == nil || in.now[base] == nil {
		return nil
	}
	d, ok := in.now[base].(*dir)
	if !ok {
		return missing("remove directory", name)
	}
	return m.removeLocked(in, base, d)
}

func (m *Mem) removeLocked(in *dir, base string, d *dir) error {
	for _, name := range slices.Sorted(maps.Keys(d.now)) {
		if below, ok := d.now[name].(*dir); ok {
			if err := m.removeLocked(d, name, below); err != nil {
				return err
			}
			continue
		}
		if err := m.tryLocked(); err != nil {
			return err
		}
		m.dropLocked(d.now[name])
		delete(d.now, name)
	}
	if err := m.tryLocked(); err != nil {
		return err
	}
	delete(in.now, base)
	return nil
}

// Truncate implements disk.FS.
func (m *Mem) Truncate(name string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.tryLocked(); err != nil {
		return err
	}
	f := m.fileLocked(name)
	if f == nil {
		return missing("truncate", name)
	}
	m.used -= int64(len(f.data)) - size
	f.data, f.synced = f.data[:size], int(size)
	return nil
}

// List implements disk.FS.
func (m *Mem) List() (files []disk.Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, what := range m.root.now {
		if f, ok := what.(*file); ok {
			files = append(files, disk.Info{Name: name, Size: int64(len(f.data))})
		}
	}
	slices.SortFunc(files, func(a, b disk.Info) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Sync implements disk.FS.
func (m *Mem) Sync(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.tryLocked(); err != nil {
		return err
	}
	d := m.dirLocked(name)
	if d == nil {
		return missing("sync", name)
	}
	d.synced = maps.Clone(d.now)
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
