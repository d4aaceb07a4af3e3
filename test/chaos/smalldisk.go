package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// smallDisk is a file system of its own, in memory, that can be filled up. Its
// name, by which mount lists it, has this process's number in it, so that
// whatever a killed process left behind can be told from what lives.
type smallDisk struct{ dir string }

const (
	// smallDiskBytes is enough for all that a scenario's node writes.
	smallDiskBytes = 64 << 20
	// filler is the file that takes the room on a small disk.
	filler = "filler"
)

// errNoMount says that no file system can be mounted here.
var errNoMount = errors.New("file systems cannot be mounted here")

// checkRoot says whether what the tools are for can be done here: to make a
// network, or a small disk.
func checkRoot(ctx context.Context, tools ...string) error {
	if !slices.Contains(tools, "mount") {
		return checkLab(ctx, tools...)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: that needs root", errNoMount)
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("%w: the program %s is missing (Debian: apt-get install %s): %w", errNoMount, t, packages[t], err)
		}
	}
	dir, err := os.MkdirTemp("", "holdfast-chaos-")
	if err != nil {
		return err
	}
	d, err := newSmallDisk(ctx, dir)
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errNoMount, err), os.Remove(dir))
	}
	return errors.Join(d.close(), os.Remove(dir))
}

// newSmallDisk mounts an empty file system at a directory, which is made. The
// caller closes it, whatever happens.
func newSmallDisk(ctx context.Context, dir string) (*smallDisk, error) {
	if err := errors.Join(sweepDisks(), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("hf%dxdisk", os.Getpid())
	return &smallDisk{dir}, run(ctx, "", "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=700", smallDiskBytes), name, dir)
}

// sweepDisks unmounts what killed processes have left behind.
func sweepDisks() error {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if pid, ok := labOf(f[0]); ok && syscall.Kill(pid, 0) == syscall.ESRCH {
			errs = append(errs, run(context.Background(), "", "umount", f[1]))
		}
	}
	return errors.Join(errs...)
}

// fill takes all room but some bytes.
func (d *smallDisk) fill(but int64) error {
	path := filepath.Join(d.dir, filler)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, smallDiskBytes)
	info, serr := f.Stat()
	if err = errors.Join(err, serr); !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(fmt.Errorf("fill %s: %w wanted", d.dir, syscall.ENOSPC), err, f.Close())
	}
	return errors.Join(f.Truncate(max(0, info.Size()-but)), f.Close())
}

// free gives the room back.
func (d *smallDisk) free() error { return os.Remove(filepath.Join(d.dir, filler)) }

// close unmounts it. What is on it is gone.
func (d *smallDisk) close() error { return run(context.Background(), "", "umount", d.dir) }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
