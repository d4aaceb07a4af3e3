package replication

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// limited returns a store for so many bytes with all partitions open.
func limited(t *testing.T, limit int64) *session.Store {
	store, err := session.NewStore(session.Config{
		Partitions: testPartitions, PartitionOf: partitionOf, MemoryLimit: limit,
		TagOf: func(key string) (string, bool) { return key, false },
	})
	require.NoError(t, err)
	return store
}

func end(t *testing.T, store *session.Store, key string) {
	_, err := store.Do(&session.Op{Kind: session.Delete, Key: key})
	require.NoError(t, err)
}

// TestCopiesThatFindNoRoom: a holder without memory takes what it has room for,
// and every end; the comparison says that memory is what was missing, tries no
// more than it must, and succeeds when there is room.
func TestCopiesThatFindNoRoom(t *testing.T) {
	store, small := newStore(t, time.Now), limited(t, 100_000)
	a := New(Config{Store: store, Partitions: testPartitions})
	defer a.Close()
	toB := newMemory(New(Config{Store: small, Partitions: testPartitions}))
	names := keys(1, 120)
	for i, key := range names {
		put(t, store, key, strings.Repeat("v", 3000))
		if i%2 == 0 {
			end(t, store, key)
		}
	}
	for name, try := range map[string]func() error{
		"sync":  func() error { return a.Sync(t.Context(), toB, 1) },
		"offer": func() error { return a.Offer(t.Context(), toB, 1) },
	} {
		toB.calls[TypeRecords] = 0
		require.ErrorIs(t, try(), session.ErrFull, name)
		require.LessOrEqual(t, toB.calls[TypeRecords], 2, "%s: the rest was not sent in vain", name)
	}
	require.LessOrEqual(t, small.Stats().Bytes, int64(115_000))
	require.EqualValues(t, 60, small.Stats().Tombstones, "ends have always room")
	require.Greater(t, small.Stats().Sessions, 20)
	require.Less(t, small.Stats().Sessions, 40)

	for i, key := range names[20:] {
		if i%2 == 1 {
			end(t, store, key)
		}
	}
	require.NoError(t, a.Sync(t.Context(), toB, 1))
	require.Equal(t, store.Digest(1), small.Digest(1))

	// The owner may fetch from others what it has no room for, and is told so.
	b := New(Config{Store: small, Partitions: testPartitions})
	defer b.Close()
	for _, key := range keys(1, 220)[120:] {
		put(t, store, key, strings.Repeat("v", 3000))
	}
	require.ErrorIs(t, b.Fetch(t.Context(), newMemory(a), 1), session.ErrFull)
}

// TestStreamToAFullHolder: changes for which a holder has no memory are counted
// and confirm nothing, and hold up no logout.
func TestStreamToAFullHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, small := newStore(t, time.Now), limited(t, 20_000)
		r := New(Config{Store: store, Partitions: testPartitions})
		defer r.Close()
		r.Attach(t.Context(), "b", newMemory(New(Config{Store: small, Partitions: testPartitions})))
		for i := range 20 {
			put(t, store, fmt.Sprint(i), strings.Repeat("v", 3000))
			r.Wait(t.Context(), []string{"b"}, fmt.Sprint(i), 1)
		}
		require.Zero(t, r.Wait(t.Context(), []string{"b"}, "19", 1))
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "0", 1))
		require.Positive(t, r.Stats.NoRoom.Load())
		require.Equal(t, r.Stats.Quarantined.Load(), r.Stats.NoRoom.Load())
		end(t, store, "19")
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "19", 1))
		require.True(t, small.Peek("19").Dead())
	})
}

// TestDroppedTombstonesAreNotFetchedBack: what one side has forgotten for want
// of room the other forgets too when they compare, so that they are equal then.
func TestDroppedTombstonesAreNotFetchedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ownerIsSmall := range []bool{false, true} {
			store, small := newStore(t, time.Now), limited(t, 20_000)
			if ownerIsSmall {
				store, small = small, store
			}
			for p := range testPartitions {
				store.Open(p)
			}
			a, b := New(Config{Store: store, Partitions: testPartitions}), New(Config{Store: small, Partitions: testPartitions})
			for i := range 500 {
				key := fmt.Sprint("unknown-", i)
				end(t, store, key)
				if rec := store.Peek(key); rec != nil {
					_, err := small.Merge(rec)
					require.NoError(t, err)
				}
				time.Sleep(time.Millisecond) // their ends differ
			}
			require.NotEqual(t, store.Stats().Tombstones, small.Stats().Tombstones)
			toB := newMemory(b)
			for p := range testPartitions {
				require.NoError(t, a.Sync(t.Context(), toB, p))
				require.Equal(t, store.Digest(p), small.Digest(p))
			}
			require.Positive(t, small.Stats().Tombstones)
			require.Positive(t, store.Stats().Compacted)
			require.Positive(t, small.Stats().Compacted)
			a.Close()
			b.Close()
		}
	})
}
