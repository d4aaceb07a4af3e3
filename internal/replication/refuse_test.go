package replication

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/session"
)

// TestRefusedRecord: a record that the other side does not take is counted and
// left to the comparison; it holds up nothing.
func TestRefusedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Hour
		store := newStore(t, func() time.Time { return time.Now().Add(ahead) })
		put(t, store, "from the future", "1")
		ahead = 0
		var refused []string
		r := New(Config{Store: store, Partitions: testPartitions, Refused: func(id, key string) { refused = append(refused, id+" "+key) }})
		defer r.Close()
		replica := newStore(t, time.Now)
		other := New(Config{Store: replica, Partitions: testPartitions})
		for i := range 10 {
			put(t, store, fmt.Sprint(i), "1")
		}
		r.Attach(t.Context(), "b", newMemory(other))
		for _, key := range []string{"0", "1", "from the future", "2", "3", "4", "5", "6", "7", "8", "9"} {
			r.Mark([]string{"b"}, key)
		}
		require.Zero(t, r.Wait(t.Context(), []string{"b"}, "from the future", 1))
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "9", 1))
		time.Sleep(time.Minute)

		require.Nil(t, replica.Peek("from the future"))
		for i := range 10 {
			require.NotNil(t, replica.Peek(fmt.Sprint(i)))
		}
		dirty, _ := r.Lag()
		require.Zero(t, dirty)
		require.Equal(t, other.Stats.Refused.Load(), r.Stats.Quarantined.Load())
		require.LessOrEqual(t, r.Stats.Quarantined.Load(), int64(2), "once a mark at most")
		require.Equal(t, slices.Repeat([]string{"b from the future"}, len(refused)), refused)
		require.EqualValues(t, r.Stats.Quarantined.Load(), len(refused))
		require.Zero(t, r.Stats.Failed.Load())
	})
}

// A record that has ended by the other side's clock is not held there, so its
// writer does not hear that it is. One that has ended here is not sent at all.
func TestRecordThatHasEndedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, time.Now)
		r := New(Config{Store: store, Partitions: testPartitions})
		defer r.Close()
		replica := newStore(t, func() time.Time { return time.Now().Add(2 * time.Second) })
		other := New(Config{Store: replica, Partitions: testPartitions})
		r.Attach(t.Context(), "b", newMemory(other))
		_, err := store.Do(&session.Op{Kind: session.Put, Key: "short", TTL: time.Second})
		require.NoError(t, err)
		require.Zero(t, r.Wait(t.Context(), []string{"b"}, "short", 1))
		require.EqualValues(t, 1, r.Stats.Quarantined.Load())
		part := store.PartitionOf("short")
		require.ErrorIs(t, r.Sync(t.Context(), newMemory(other), part), ErrClocks)
		require.EqualValues(t, 2, r.Stats.Quarantined.Load())

		time.Sleep(1100 * time.Millisecond) // a tenth later than it says, for touches
		require.NotNil(t, store.Peek("short"), "it is not forgotten yet")
		r.Wait(t.Context(), []string{"b"}, "short", 1)
		require.NoError(t, r.Sync(t.Context(), newMemory(other), part))
		require.EqualValues(t, 2, r.Stats.Quarantined.Load())
	})
}

// TestFrameTurnedDownWhole: one record that the peer cannot read, or that no
// frame can carry, is found among thousands, and the others arrive.
func TestFrameTurnedDownWhole(t *testing.T) {
	for name, cause := range map[string]error{
		"unreadable": &peer.RemoteError{Text: "record 7 of a batch: malformed"},
		"too large":  fmt.Errorf("call: %w", peer.ErrTooLarge),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
				replica := newStore(t, time.Now)
				there := newMemory(New(Config{Store: replica, Partitions: testPartitions}))
				const n = 5000
				for i := range n {
					put(t, store, fmt.Sprint(i), "1")
				}
				link := peerFunc(func(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
					if slices.ContainsFunc(decodeAll(t, payload), func(rec *session.Record) bool { return rec.Key() == "77" }) {
						return nil, cause
					}
					return there.Call(ctx, typ, payload)
				})
				r.Attach(t.Context(), "b", link)
				for i := range n {
					r.Mark([]string{"b"}, fmt.Sprint(i))
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				dirty, _ := r.Lag()
				require.Zero(t, dirty)
				require.Nil(t, replica.Peek("77"))
				require.EqualValues(t, n-1, r.Stats.Sent.Load())
				require.EqualValues(t, 1, r.Stats.Quarantined.Load())
				require.Equal(t, batchKeys, r.sender("b").limit, "batches are full again")
				require.Zero(t, r.Wait(t.Context(), []string{"b"}, "77", 1))
				require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "78", 1))
			})
		})
	}
}

// TestPeerThatAnswersNonsense: positions of records that were not sent confirm
// nothing.
func TestPeerThatAnswersNonsense(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		wait := waiting(t.Context(), r, []string{"b"}, "k", 1)
		for _, answer := range [][]byte{{1}, {0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 0}, {255, 255, 255, 255}} {
			link.next(synctest.Wait).reply(answer, nil)
			requireNone(t, wait)
			time.Sleep(retryMax)
		}
		link.next(synctest.Wait).reply(binary.BigEndian.AppendUint32(nil, 0), nil)
		require.Zero(t, <-wait, "refused")
		require.EqualValues(t, 4, r.Stats.Failed.Load())
	})
}

// A batch that cannot be read to its end has no answer but the error, though
// records before that were refused.
func TestBatchThatBreaksOffHasNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		future := newStore(t, func() time.Time { return time.Now().Add(time.Hour) })
		rec := put(t, future, "k", "1")
		r := New(Config{Store: newStore(t, time.Now), Partitions: testPartitions})
		defer r.Close()
		payload := rec.Append(nil)
		answer, err := r.Serve(older{}, TypeRecords, payload)
		require.NoError(t, err)
		require.Len(t, answer, 4, "it is refused")
		answer, err = r.Serve(older{}, TypeRecords, append(payload, 15))
		require.ErrorIs(t, err, session.ErrMalformed)
		require.Nil(t, answer)
	})
}
