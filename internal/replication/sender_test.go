package replication

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// inBubble runs f with a store and a Replicator that ships from it, in virtual
// time.
func inBubble(t *testing.T, f func(t *testing.T, store *session.Store, r *Replicator)) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, time.Now)
		r := New(Config{Store: store, Partitions: testPartitions})
		defer r.Close()
		f(t, store, r)
	})
}

// waiting runs Wait and returns where its result will be.
func waiting(ctx context.Context, r *Replicator, ids []string, key string, want int) <-chan int {
	result := make(chan int, 1)
	go func() { result <- r.Wait(ctx, ids, key, want) }()
	synctest.Wait()
	return result
}

func requireNone[T any](t *testing.T, c <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		require.Fail(t, "too early", "%v", v)
	default:
	}
}

func waiters(s *sender) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.waiters {
		n += len(list)
	}
	return n
}

func TestManyChangesDuringACallAreOneRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "first")
		r.Mark([]string{"b", "unknown"}, "k")
		first := link.next(synctest.Wait)
		for i := range 100 {
			put(t, store, "k", fmt.Sprint(i))
			r.Mark([]string{"b"}, "k")
		}
		dirty, _ := r.Lag()
		require.Equal(t, 1, dirty, "one key, however often it was marked")
		require.Nil(t, link.next(synctest.Wait), "one batch at a time")

		first.reply(nil, nil)
		time.Sleep(pace)
		second := link.next(synctest.Wait)
		require.Equal(t, store.Peek("k").Hash(), second.only(t).Hash(), "the record as it is now")
		second.reply(nil, nil)
		require.Nil(t, link.next(synctest.Wait))
		dirty, age := r.Lag()
		require.Zero(t, dirty)
		require.Zero(t, age)
		require.EqualValues(t, 2, r.Stats.Sent.Load())
	})
}

// TestFailedBatchComesBack: whatever a link does, what was marked arrives, and
// its age counts from the mark.
func TestFailedBatchComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		replica := newStore(t, time.Now)
		there := newMemory(New(Config{Store: replica, Partitions: testPartitions}))
		var up atomic.Bool
		var calls atomic.Int64
		r.Attach(t.Context(), "b", peerFunc(func(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
			calls.Add(1)
			if !up.Load() {
				return nil, errNoLink
			}
			return there.Call(ctx, typ, payload)
		}))
		put(t, store, "old", "1")
		r.Mark([]string{"b"}, "old")
		time.Sleep(5 * time.Second)
		for i := range 2 * batchKeys {
			key := fmt.Sprint(i)
			put(t, store, key, "2")
			r.Mark([]string{"b"}, key)
		}
		put(t, store, "old", "2") // marked again, it keeps its age
		r.Mark([]string{"b"}, "old")
		time.Sleep(5 * time.Second)

		dirty, age := r.LagOf("b")
		require.Equal(t, 2*batchKeys+1, dirty)
		require.Equal(t, 10*time.Second, age)
		require.LessOrEqual(t, calls.Load(), int64(10+2*10), "a link that is down is not tried all the time")

		up.Store(true)
		time.Sleep(2 * retryMax)
		synctest.Wait()
		for p := range testPartitions {
			require.Equal(t, store.Digest(p), replica.Digest(p))
		}
		dirty, age = r.LagOf("b")
		require.Zero(t, dirty)
		require.Zero(t, age)
		require.EqualValues(t, 2*batchKeys+1, r.Stats.Sent.Load())
	})
}

// TestRetry: a link that is up again is used at once, not after the pause that
// its failures have earned it.
func TestRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		r.Mark([]string{"b"}, "k")
		for pause := retryMin; pause < retryMax; pause *= 2 {
			link.next(synctest.Wait).reply(nil, errNoLink)
			time.Sleep(pause)
		}
		link.next(synctest.Wait).reply(nil, errNoLink)
		require.Nil(t, link.next(synctest.Wait), "the longest pause has begun")
		r.Retry("unknown")
		r.Retry("b")
		again := link.next(synctest.Wait)
		require.NotNil(t, again)
		again.reply(nil, nil)
	})
}

// TestSilentPeer: a call that is not answered is given up, and its keys are
// sent again.
func TestSilentPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		r.Mark([]string{"b"}, "k")
		require.NotNil(t, link.next(synctest.Wait))
		time.Sleep(callTimeout - time.Millisecond)
		require.Nil(t, link.next(synctest.Wait))
		time.Sleep(time.Millisecond + retryMin)
		again := link.next(synctest.Wait)
		require.Equal(t, "k", again.only(t).Key())
		again.reply(nil, nil)
		synctest.Wait()
		require.EqualValues(t, 1, r.Stats.Failed.Load())
		require.EqualValues(t, 1, r.Stats.Sent.Load())
	})
}

// TestWaitCoversItsOwnMark: the answer to a batch that was on its way before
// the write says nothing about the write.
func TestWaitCoversItsOwnMark(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		early := waiting(t.Context(), r, []string{"b"}, "k", 1)
		first := link.next(synctest.Wait)
		rec := put(t, store, "k", "2")
		late := waiting(t.Context(), r, []string{"b"}, "k", 1)

		first.reply(nil, nil)
		second := link.next(synctest.Wait)
		require.Equal(t, 1, <-early)
		requireNone(t, late)
		require.Equal(t, rec.Hash(), second.only(t).Hash())
		second.reply(nil, errNoLink) // not confirmed either
		requireNone(t, late)
		time.Sleep(retryMin)
		third := link.next(synctest.Wait)
		require.Equal(t, rec.Hash(), third.only(t).Hash())
		third.reply(nil, nil)
		require.Equal(t, 1, <-late)
		require.Zero(t, waiters(r.sender("b")))
	})
}

func TestWaitCountsMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		replica := newStore(t, time.Now)
		r.Attach(t.Context(), "b", newMemory(New(Config{Store: replica, Partitions: testPartitions})))
		silent := newHeld()
		r.Attach(t.Context(), "c", silent)
		rec := put(t, store, "k", "1")
		both := []string{"b", "c", "unknown"}

		require.Equal(t, 0, r.Wait(t.Context(), []string{"unknown"}, "k", 1), "nobody could confirm")
		require.Equal(t, 1, r.Wait(t.Context(), both, "k", 1))
		require.Equal(t, rec.Hash(), replica.Peek("k").Hash())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, 1, r.Wait(ctx, both, "k", 2), "ctx ends the wait for the silent one")
		require.Error(t, ctx.Err())
		require.Equal(t, 0, r.Wait(t.Context(), both, "k", 0), "nothing to wait for")

		all := waiting(t.Context(), r, both, "k", 2)
		silent.next(synctest.Wait).reply(nil, nil)
		silent.next(synctest.Wait).reply(nil, nil) // it was marked again meanwhile
		require.Equal(t, 2, <-all)
	})
}

// TestNoWaiterStays: a peer that stays silent for long does not gather the
// writers that have left.
func TestNoWaiterStays(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		ctx, cancel := context.WithCancel(t.Context())
		leaves := make([]<-chan int, 50)
		for i := range leaves {
			leaves[i] = waiting(ctx, r, []string{"b"}, "k", 1)
		}
		stays := waiting(t.Context(), r, []string{"b"}, "k", 1)
		require.Equal(t, len(leaves)+1, waiters(r.sender("b")))
		cancel()
		for _, left := range leaves {
			require.Zero(t, <-left)
		}
		require.Equal(t, 1, waiters(r.sender("b")))

		link.next(synctest.Wait).reply(nil, nil)
		link.next(synctest.Wait).reply(nil, nil)
		require.Equal(t, 1, <-stays, "whoever stayed has its answer")
		require.Zero(t, waiters(r.sender("b")))
	})
}

func TestDetachDuringACall(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "k", "1")
		under := waiting(t.Context(), r, []string{"b"}, "k", 1)
		require.NotNil(t, link.next(synctest.Wait))
		behind := waiting(t.Context(), r, []string{"b"}, "k", 1)

		var both sync.WaitGroup
		s := r.sender("b")
		for range 2 {
			both.Go(func() {
				r.Detach("b")
				select {
				case <-s.stopped:
				default:
					t.Error("Detach returned before the sender had ended")
				}
			})
		}
		both.Wait()
		require.Zero(t, <-under)
		require.Zero(t, <-behind)
		require.Zero(t, s.mark("k", nil), "a sender that has ended takes no mark")
		dirty, age := r.Lag()
		require.Zero(t, dirty)
		require.Zero(t, age)
		r.Detach("b")
	})
}

func TestAttach(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		put(t, store, "k", "1")
		first, second := newHeld(), newHeld()
		ctx, cancel := context.WithCancel(t.Context())
		r.Attach(ctx, "b", first)
		r.Attach(t.Context(), "b", second) // is attached
		r.Mark([]string{"b"}, "k")
		require.NotNil(t, first.next(synctest.Wait))
		require.Nil(t, second.next(synctest.Wait))

		cancel()
		r.Attach(t.Context(), "b", second) // in the place of the link that ends
		r.Mark([]string{"b"}, "k")
		require.NotNil(t, second.next(synctest.Wait))

		r.Close()
		r.Close()
		r.Attach(t.Context(), "b", first)
		require.Nil(t, r.sender("b"))
		require.Zero(t, r.Wait(t.Context(), []string{"b"}, "k", 1))
	})
}

// TestFrameSize: a frame ends at the first record that reaches its size.
func TestFrameSize(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		const n, size = 7, 900 << 10
		for i := range n {
			put(t, store, fmt.Sprint(i), strings.Repeat("x", size))
		}
		for i := range 100 {
			put(t, store, fmt.Sprint("small-", i), "x")
		}
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		for i := range n {
			r.Mark([]string{"b"}, fmt.Sprint(i))
		}
		for i := range 100 {
			r.Mark([]string{"b"}, fmt.Sprint("small-", i))
		}
		records := 0
		for c := link.next(synctest.Wait); c != nil; c = link.next(synctest.Wait) {
			require.Less(t, len(c.payload), batchBytes+size+100)
			records += len(decodeAll(t, c.payload))
			c.reply(nil, nil)
			time.Sleep(pace)
		}
		require.Equal(t, n+100, records)
		require.LessOrEqual(t, r.Stats.Batches.Load(), int64(5))
		require.LessOrEqual(t, cap(r.sender("b").payload), 4*batchBytes)
	})
}

// TestKeyThatIsGone: a session that has expired before its turn needs no copy.
func TestKeyThatIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		link := newHeld()
		r.Attach(t.Context(), "b", link)
		put(t, store, "first", "1")
		r.Mark([]string{"b"}, "first")
		first := link.next(synctest.Wait)
		_, err := store.Do(&session.Op{Kind: session.Put, Key: "brief", TTL: time.Millisecond})
		require.NoError(t, err)
		wait := waiting(t.Context(), r, []string{"b"}, "brief", 1)
		time.Sleep(time.Second)
		require.Equal(t, 1, store.Expire())
		first.reply(nil, nil)
		require.Equal(t, 1, <-wait)
		require.Nil(t, link.next(synctest.Wait))
		require.EqualValues(t, 1, r.Stats.Batches.Load())
	})
}

// TestTombstoneTravels: a delete is copied like any change.
func TestTombstoneTravels(t *testing.T) {
	inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
		replica := newStore(t, time.Now)
		r.Attach(t.Context(), "b", newMemory(New(Config{Store: replica, Partitions: testPartitions})))
		put(t, store, "k", "1")
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "k", 1))
		_, err := store.Do(&session.Op{Kind: session.Delete, Key: "k"})
		require.NoError(t, err)
		require.Equal(t, 1, r.Wait(t.Context(), []string{"b"}, "k", 1))
		_, err = replica.Get("k")
		require.ErrorIs(t, err, session.ErrDeleted)
	})
}
