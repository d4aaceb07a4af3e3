package disk_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
)

// began is when the first snapshot of a test is begun; each is a second later.
var began = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// snapped is a journal with two snapshots, and what each of them has.
type snapped struct {
	journal *disk.Journal
	dir     *disktest.Mem
	made    records
	now     held
	had     map[string]held
}

func (s *snapped) put(t require.TestingT, key, value string) {
	var b disk.Batch
	rec := s.made.of(t, key, value)
	b.Put(rec)
	require.NoError(t, s.journal.Append(&b))
	require.NoError(t, s.now.Put(rec))
}

func newSnapped(t require.TestingT) *snapped {
	s := &snapped{dir: disktest.New(), made: newRecords(t), now: make(held), had: make(map[string]held)}
	s.journal, _, _ = open(t, s.dir)
	require.NoError(t, s.journal.Note("n", []byte("noted")))
	for i := range 2 {
		s.put(t, "k", fmt.Sprint(i))
		s.put(t, fmt.Sprint("k", i), "v")
		begun, err := s.journal.BeginSnapshot(began.Add(time.Duration(i) * time.Second))
		require.NoError(t, err)
		name, err := begun.Take(2)
		require.NoError(t, err)
		s.had[name] = maps.Clone(s.now)
	}
	s.put(t, "k", "last")
	return s
}

// Whenever the machine stops, or the disk fails, while a snapshot is taken: each
// that has a snapshot's name is whole, two are there, and the journal has lost
// nothing. A disk that fails only a snapshot does not fail the journal.
func TestSnapshotsAreWholeOrNotThere(t *testing.T) {
	t.Parallel()
	check := func(step int, s *snapped, dir *disktest.Mem) {
		names, err := dir.Dirs(disk.SnapshotDir)
		require.NoError(t, err)
		whole := 0
		for _, n := range names {
			had, ok := s.had[disk.SnapshotDir+"/"+n]
			if !ok {
				require.Contains(t, n, ".new", "step %d", step)
				continue
			}
			whole++
			restored := dir.Restored(disk.SnapshotDir + "/" + n)
			j, found, what := open(t, restored)
			require.Equal(t, had, found, "step %d, snapshot %s", step, n)
			require.Empty(t, what.Damaged)
			note, err := j.Noted("n")
			require.NoError(t, err)
			require.Equal(t, "noted", string(note))
		}
		require.GreaterOrEqual(t, whole, 2, "step %d: %v", step, names)
		_, found, what := open(t, dir)
		require.Empty(t, what.Damaged, "step %d", step)
		require.Equal(t, s.now, found, "step %d", step)
	}
	broken := errors.New("i/o error")
	failed := 0
	for step := 0; ; step++ {
		s := newSnapped(t)
		require.NoError(t, s.journal.Sync())
		third := began.Add(2 * time.Second)
		s.had[disk.SnapshotDir+"/20300102T030407Z"] = maps.Clone(s.now)
		s.dir.FailAfter(step, broken)
		begun, err := s.journal.BeginSnapshot(third)
		if err == nil {
			_, err = begun.Take(2)
		}
		check(step, s, s.dir.Killed())
		for seed := range uint64(20) {
			check(step, s, s.dir.Crashed(rand.New(rand.NewPCG(seed, uint64(step)))))
		}
		s.dir.FailAfter(-1, nil)
		if err == nil {
			break
		}
		failed++
		require.ErrorIs(t, err, broken)
		require.NoError(t, s.journal.Err(), "step %d", step)
		s.put(t, "after", "v")
		require.NoError(t, s.journal.Sync())
		begun, err = s.journal.BeginSnapshot(began.Add(3 * time.Second))
		require.NoError(t, err)
		name, err := begun.Take(2)
		require.NoError(t, err)
		s.had[name] = maps.Clone(s.now)
		check(step, s, s.dir.Crashed(rand.New(rand.NewPCG(1, uint64(step)))))
		names, err := s.dir.Dirs(disk.SnapshotDir)
		require.NoError(t, err)
		require.Len(t, names, 2, "what was left is removed: %v", names)
	}
	require.Greater(t, failed, 15, "there are so many steps")
}

// A journal of which snapshots are taken does not end up with a file for each.
func TestSnapshotsDoNotLeaveManyLogs(t *testing.T) {
	t.Parallel()
	s := newSnapped(t)
	for i := range 100 {
		s.put(t, "k", fmt.Sprint(i))
		for range 2 { // the second time nothing has changed
			begun, err := s.journal.BeginSnapshot(began.Add(time.Duration(i+2) * time.Second))
			require.NoError(t, err)
			_, err = begun.Take(2)
			require.True(t, err == nil || errors.Is(err, os.ErrExist), "%v", err)
		}
		if !s.journal.IsDue() {
			continue
		}
		r, err := s.journal.BeginRewrite()
		require.NoError(t, err)
		for _, key := range []string{"k", "k0", "k1"} {
			require.NoError(t, r.Add(s.made.store.Peek(key)))
		}
		require.NoError(t, r.Finish())
		require.NoError(t, s.journal.EndRewrite(r))
	}
	files, err := s.dir.List()
	require.NoError(t, err)
	require.Less(t, len(files), 70)
	require.True(t, slices.ContainsFunc(files, func(i disk.Info) bool { return i.Name[:4] == "base" }))
	_, found, _ := open(t, s.dir.Killed())
	require.Equal(t, s.now, found)
}

// After a clock was set back the newest snapshot is kept though its name is the
// oldest.
func TestSnapshotWithAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	s := newSnapped(t)
	begun, err := s.journal.BeginSnapshot(began.Add(-time.Hour))
	require.NoError(t, err)
	name, err := begun.Take(2)
	require.NoError(t, err)
	require.Equal(t, "snapshots/20300102T020405Z", name)
	names, err := s.dir.Dirs(disk.SnapshotDir)
	require.NoError(t, err)
	require.Equal(t, []string{"20300102T020405Z", "20300102T030406Z"}, names)
	newest, err := disk.NewestSnapshot(s.dir)
	require.NoError(t, err)
	require.Equal(t, began.Add(time.Second), newest)
}

// A real directory does what the one in memory does.
func TestSnapshotsInARealDirectory(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir, err := disk.OpenDir(path)
	require.NoError(t, err)
	defer dir.Close()
	newest, err := disk.NewestSnapshot(dir)
	require.NoError(t, err)
	require.True(t, newest.IsZero())
	j, _, _ := open(t, dir)
	made, now := newRecords(t), make(held)
	var name string
	for i := range 3 {
		rec := made.of(t, "k", fmt.Sprint(i))
		var b disk.Batch
		b.Put(rec)
		require.NoError(t, j.Append(&b))
		require.NoError(t, now.Put(rec))
		begun, err := j.BeginSnapshot(began.Add(time.Duration(i) * time.Second))
		require.NoError(t, err)
		name, err = begun.Take(2)
		require.NoError(t, err)
	}
	names, err := dir.Dirs(disk.SnapshotDir)
	require.NoError(t, err)
	require.Equal(t, []string{"20300102T030406Z", "20300102T030407Z"}, names)
	begun, err := j.BeginSnapshot(began.Add(2 * time.Second))
	require.NoError(t, err)
	_, err = begun.Take(2)
	require.ErrorIs(t, err, os.ErrExist, "there is one of that second")

	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(filepath.Join(path, name))))
	other, err := disk.OpenDir(copied)
	require.NoError(t, err)
	defer other.Close()
	restored, found, _ := open(t, other)
	require.Equal(t, now, found)
	require.NoError(t, errors.Join(restored.Close(), j.Close()))
}
