package persist

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
)

// A snapshot has all that had changed when it was asked for, written or not, and
// nothing that came later. A store that begins with it has that.
func TestSnapshotHasWhatHadChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{})
		stop := k.run(t)
		defer stop()
		k.put(t, "a", "1", time.Hour)
		k.put(t, "b", "1", time.Hour)
		time.Sleep(2 * flushEvery)
		k.remove(t, "b")
		k.put(t, "c", "1", time.Hour)
		synctest.Wait()
		name, err := k.Snapshot(t.Context(), time.Now(), 2)
		require.NoError(t, err)
		k.put(t, "a", "2", time.Hour)
		k.put(t, "d", "1", time.Hour)
		time.Sleep(time.Minute)
		restored := mustBegin(t, dir.Crashed(rand.New(rand.NewPCG(1, 2))).Restored(name), config{})
		for key, value := range map[string]string{"a": "1", "b": "", "c": "1", "d": ""} {
			require.Equal(t, value, restored.value(key), key)
		}
		require.Equal(t, "2", mustBegin(t, dir.Killed(), config{}).value("a"), "the journal has gone on")
	})
}

// A disk that fails a snapshot has not failed: nothing is handed over.
func TestSnapshotThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{})
		stop := k.run(t)
		defer stop()
		broken := errors.New("no links here")
		for step := range 3 {
			k.put(t, "a", fmt.Sprint(step), time.Hour)
			time.Sleep(2 * syncEvery) // it is written and synced
			dir.FailAfter(step, broken)
			_, err := k.Snapshot(t.Context(), time.Now(), 2)
			require.ErrorIs(t, err, broken)
			dir.FailAfter(-1, nil)
			require.NoError(t, k.Err())
		}
		k.put(t, "a", "later", time.Hour)
		time.Sleep(2 * flushEvery)
		require.Equal(t, "later", mustBegin(t, dir.Killed(), config{}).value("a"))
	})
}

// damaged returns a directory whose journal is to be rewritten at once.
func damaged(t *testing.T) *disktest.Mem {
	dir := disktest.New()
	k := mustBegin(t, dir, config{})
	for _, key := range []string{"a", "b"} {
		k.put(t, key, "1", time.Hour)
		require.True(t, k.turn(true))
	}
	require.NoError(t, k.journal.Close())
	dir.Flip("log-00000001", 200)
	return dir
}

// A snapshot waits for a rewrite that is under way, writers do not wait for it,
// and it can be given up.
func TestSnapshotWaitsForARewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := damaged(t)
		k := mustBegin(t, dir, config{sync: Never})
		release := dir.Hang()
		stop := k.run(t)
		defer stop()
		time.Sleep(2 * flushEvery)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Snapshot(ctx, time.Now(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "wait for the journal")
		k.put(t, "c", "1", time.Hour)
		time.Sleep(2 * flushEvery)
		require.Equal(t, "1", mustBegin(t, dir.Killed(), config{}).value("c"), "changes are written meanwhile")
		release()
		name, err := k.Snapshot(t.Context(), time.Now(), 2)
		require.NoError(t, err)
		require.EqualValues(t, 1, k.rewritten.Load())
		restored := mustBegin(t, dir.Restored(name), config{})
		require.Equal(t, "1", restored.value("b"))
		require.Equal(t, "1", restored.value("c"))
	})
}

// No rewrite begins while a snapshot is taken, whose files it would remove.
func TestRewriteWaitsForASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := damaged(t)
		k := mustBegin(t, dir, config{sync: Never})
		stop := k.run(t)
		defer stop()
		s := &snapshot{at: time.Now(), begun: make(chan error, 1), taken: make(chan struct{})}
		k.snapshots <- s
		require.NoError(t, <-s.begun)
		time.Sleep(time.Minute)
		require.Zero(t, k.rewritten.Load())
		_, err := s.files.Take(2)
		require.NoError(t, err)
		close(s.taken)
		time.Sleep(2 * flushEvery)
		require.EqualValues(t, 1, k.rewritten.Load())
	})
}
