package replication

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// busy runs f while an operation holds a partition of the store.
func busy(t *testing.T, store *session.Store, partition int, f func()) {
	t.Helper()
	require.NoError(t, store.Hold(partition, f))
}

// A key in a partition that an operation holds keeps no other key from being
// copied, and is copied when the operation has ended.
func TestHeldPartitionHoldsUpNoOthersCopies(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		replica := newStore(t, time.Now)
		r.Attach(t.Context(), "b", newMemory(New(Config{Store: replica, Partitions: testPartitions})))
		inHeld, inFree := keys(1, 3), keys(2, 3)
		for i := range inHeld {
			put(t, store, inHeld[i], "1")
			put(t, store, inFree[i], "1")
		}
		busy(t, store, 1, func() {
			for i := range inHeld {
				r.Mark([]string{"b"}, inHeld[i])
				r.Mark([]string{"b"}, inFree[i])
			}
			require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, inFree[0], 1))
			time.Sleep(time.Second)
			dirty, age := r.LagOf("b")
			require.Equal(t, len(inHeld), dirty)
			require.GreaterOrEqual(t, age, time.Second, "since they were marked")
			require.Nil(t, replica.Peek(inHeld[0]))
		})
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, inHeld[0], 1))
		time.Sleep(time.Second)
		require.Equal(t, snapshot(store), snapshot(replica))
		dirty, _ := r.LagOf("b")
		require.Zero(t, dirty)
	})
}

// What a peer asks is answered by a goroutine that everything else on the link
// waits for, so what would wait for an operation is left for another one.
func TestServeNowWaitsForNoOperation(t *testing.T) {
	t.Parallel()
	store := newStore(t, time.Now)
	r := New(Config{Store: store, Partitions: testPartitions})
	inHeld, inFree := keys(1, 1)[0], keys(2, 1)[0]
	other := newStore(t, time.Now)
	var records []byte
	for _, key := range []string{inFree, inHeld, keys(2, 2)[1]} {
		records = put(t, other, key, "1").Append(records)
	}
	all := appendPartitions(nil, []int{0, 1, 2, 3})
	questions := map[string]struct {
		typ     byte
		payload []byte
	}{
		"records": {TypeRecords, records},
		"digests": {TypeDigests, all},
		"list":    {TypeList, slices.Concat(all[2:4], make([]byte, 8))},
		"pull":    {TypePull, appendHashes(all[2:4:4], []uint64{session.KeyHash(inHeld)})},
	}
	rests := make(map[string]func() ([]byte, error))
	busy(t, store, 1, func() {
		for name, q := range questions {
			_, rest, err := r.ServeNow(older{}, q.typ, q.payload)
			require.NoError(t, err, name)
			require.NotNil(t, rest, name)
			rests[name] = rest
		}
		_, rest, err := r.ServeNow(older{}, TypeList, slices.Concat(all[4:6], make([]byte, 8)))
		require.NoError(t, err)
		require.Nil(t, rest, "nothing holds that one")
		require.NotNil(t, store.Peek(inFree), "what came before the held one in the batch has been merged")
		for _, compare := range []func() error{
			func() error { return r.Sync(t.Context(), nil, 1) },
			func() error { return r.Offer(t.Context(), nil, 1) },
			func() error { return r.Fetch(t.Context(), nil, 1) },
		} {
			require.True(t, errors.Is(compare(), errHeld), "a comparison passes over it")
		}
	})
	for _, name := range []string{"records", "digests", "list", "pull"} {
		got, err := rests[name]()
		require.NoError(t, err, name)
		want, rest, err := r.ServeNow(older{}, questions[name].typ, questions[name].payload)
		require.NoError(t, err, name)
		require.Nil(t, rest, name)
		require.Equal(t, want, got, name)
	}
	require.Equal(t, snapshot(other), snapshot(store), "all have been merged")
}
