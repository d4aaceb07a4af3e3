package disk

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	// SnapshotDir is where snapshots are, below the journal's own directory.
	SnapshotDir = "snapshots"
	// snapshotTime names a snapshot: when it was begun, in UTC. Names sort by age.
	snapshotTime = "20060102T150405Z"
)

// Snapshot is a copy of all that a journal has at one moment, about to be made:
// the files that nothing is written to any more, under a second name each. It
// costs no room until a rewrite removes the first one. One goroutine uses it.
type Snapshot struct {
	fs    FS
	name  string
	files []string
}

// BeginSnapshot ends the log that is appended to and begins the next one, so that
// all files that there are stay as they are. What was appended before is in the
// snapshot, and nothing else. No rewrite may be put in force until it has been
// taken: that would remove the files.
//
// Whether an error has harmed the journal is for Err to say.
func (j *Journal) BeginSnapshot(at time.Time) (*Snapshot, error) {
	if err := j.Sync(); err != nil {
		return nil, err
	}
	s := &Snapshot{fs: j.fs, name: at.UTC().Format(snapshotTime)}
	if j.begun { // or else the newest log is empty, and may go on being so
		if err := j.change(); err != nil {
			return nil, fmt.Errorf("begin snapshot: %w", err)
		}
	}
	s.files = j.files()
	s.files = s.files[:len(s.files)-1]
	files, err := j.fs.List()
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	for _, f := range files { // each is replaced as a whole, and never written to
		if f.Name == identityFile || strings.HasPrefix(f.Name, notePrefix) && !strings.HasSuffix(f.Name, unfinished) {
			s.files = append(s.files, f.Name)
		}
	}
	return s, nil
}

// change has what is appended from now on written to a new log. The one before
// stays in use where that fails.
func (j *Journal) change() error {
	before, name := j.log, nameOf(logPrefix, j.newest)
	if err := j.next(); err != nil {
		_ = j.fs.Remove(nameOf(logPrefix, j.newest+1)) // which need not be there
		return err
	}
	if err := before.Close(); err != nil {
		return j.fail("close", name, err)
	}
	return nil
}

// Take makes the snapshot and removes older ones, so that keep are left, itself
// among them. It returns the name, with SnapshotDir before it, also with an error
// that says that older ones could not be removed. After a crash the snapshot is
// there as a whole, or not under that name.
func (s *Snapshot) Take(keep int) (name string, err error) {
	name = path.Join(SnapshotDir, s.name)
	if err := s.link(name + unfinished); err != nil {
		return "", errors.Join(fmt.Errorf("take snapshot %s: %w", s.name, err), s.fs.RemoveDir(name+unfinished))
	}
	if err := errors.Join(s.fs.Rename(name+unfinished, name), s.fs.Sync(SnapshotDir), s.fs.Sync(".")); err != nil {
		return "", fmt.Errorf("take snapshot %s: %w", s.name, err)
	}
	return name, s.removeOld(keep)
}

// link gives the files their second names, in a new directory.
func (s *Snapshot) link(dir string) error {
	if err := errors.Join(s.fs.RemoveDir(dir), s.fs.MakeDir(dir)); err != nil {
		return err
	}
	for _, name := range s.files {
		if err := s.fs.Link(name, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return s.fs.Sync(dir)
}

// removeOld removes the oldest snapshots but this one, and what a crash has left.
// A snapshot loses its name first: half of one must not look like a whole one.
func (s *Snapshot) removeOld(keep int) error {
	names, err := s.fs.Dirs(SnapshotDir)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	old := slices.DeleteFunc(names, func(n string) bool { return n == s.name || !isSnapshot(n) })
	old = old[:max(0, len(old)-(keep-1))]
	for _, n := range old {
		if err := s.fs.Rename(path.Join(SnapshotDir, n), path.Join(SnapshotDir, n+unfinished)); err != nil {
			return fmt.Errorf("remove snapshot %s: %w", n, err)
		}
	}
	if len(old) > 0 {
		if err := s.fs.Sync(SnapshotDir); err != nil {
			return fmt.Errorf("remove snapshots: %w", err)
		}
	}
	names, err = s.fs.Dirs(SnapshotDir)
	for _, n := range names {
		if strings.HasSuffix(n, unfinished) {
			err = cmp.Or(err, s.fs.RemoveDir(path.Join(SnapshotDir, n)))
		}
	}
	if err != nil {
		return fmt.Errorf("remove snapshots: %w", err)
	}
	return nil
}

// NewestSnapshot returns when the newest snapshot in a directory was begun, the
// zero time if there is none.
func NewestSnapshot(dir FS) (time.Time, error) {
	names, err := dir.Dirs(SnapshotDir)
	if err != nil {
		return time.Time{}, fmt.Errorf("list snapshots: %w", err)
	}
	for _, n := range slices.Backward(names) {
		if at, err := time.Parse(snapshotTime, n); err == nil {
			return at, nil
		}
	}
	return time.Time{}, nil
}

func isSnapshot(name string) bool {
	_, err := time.Parse(snapshotTime, name)
	return err == nil
}
