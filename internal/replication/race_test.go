package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// shaky is a Peer that is slow, and whose calls fail at times: before they have
// arrived, or after, when only the answer is lost.
type shaky struct {
	Peer
	mu     sync.Mutex // guards random
	random *rand.Rand
}

func (s *shaky) roll(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *shaky) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	if s.roll(8) == 0 {
		return nil, errNoLink
	}
	select {
	case <-time.After(time.Duration(s.roll(3000)) * time.Microsecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer, err := s.Peer.Call(ctx, typ, payload)
	if s.roll(8) == 0 {
		return nil, errNoLink
	}
	return answer, err
}

// TestTwoMembersAtOnce lets two members write, copy to each other, compare,
// detach and attach at once over links that fail. A confirmed write is at the
// other member; in the end both are equal.
func TestTwoMembersAtOnce(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { twoMembers(t, seed) })
		})
	}
}

func twoMembers(t *testing.T, seed uint64) {
	var stores [2]*session.Store
	var members [2]*Replicator
	for i := range members {
		stores[i] = newStore(t, time.Now)
		members[i] = New(Config{
			Store: stores[i], Partitions: testPartitions,
			Merged: func(key string) { members[i].Mark([]string{"other"}, key) },
		})
		defer members[i].Close()
	}
	var links [2]*shaky
	for i := range links {
		links[i] = &shaky{Peer: newMemory(members[1-i]), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		members[i].Attach(t.Context(), "other", links[i])
	}

	var all sync.WaitGroup
	confirmed := make([]int, 4)
	for w := range confirmed {
		all.Go(func() {
			confirmed[w] = writes(t, rand.New(rand.NewPCG(seed, uint64(10+w))), stores[w%2], stores[1-w%2], members[w%2])
		})
	}
	for i, r := range members {
		all.Go(func() {
			for range 30 {
				time.Sleep(7 * time.Millisecond)
				r.Lag()
				for part := range testPartitions {
					_ = r.Sync(t.Context(), links[i], part) // may fail, as the link does
				}
			}
		})
		all.Go(func() {
			for range 5 {
				time.Sleep(60 * time.Millisecond)
				r.Detach("other")
				r.LagOf("other")
				r.Attach(t.Context(), "other", links[i])
			}
		})
	}
	all.Wait()
	for _, n := range confirmed {
		require.NotZero(t, n)
	}

	for part := range testPartitions { // what was forgotten by Detach
		require.NoError(t, members[0].Sync(t.Context(), links[0].Peer, part))
	}
	time.Sleep(time.Minute)
	require.Equal(t, snapshot(stores[0]), snapshot(stores[1]))
	for _, r := range members {
		dirty, _ := r.Lag()
		require.Zero(t, dirty)
		require.Zero(t, waiters(r.sender("other")))
	}
}

// writes makes 200 changes and returns how many of them were confirmed.
func writes(t *testing.T, random *rand.Rand, store, copied *session.Store, r *Replicator) (confirmed int) {
	for i := range 200 {
		key := fmt.Sprint(random.IntN(20))
		op := session.Op{Kind: session.Put, Key: key, Revive: true, Fields: []session.Field{{Name: "v", Value: fmt.Sprint(i)}}}
		if random.IntN(8) == 0 {
			op = session.Op{Kind: session.Delete, Key: key}
		}
		res, err := store.Do(&op)
		if err != nil {
			t.Error(err)
			return confirmed
		}
		if random.IntN(2) == 0 {
			r.Mark([]string{"other"}, key)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(20))*time.Millisecond)
		if r.Wait(ctx, []string{"other"}, key, 1) == 1 {
			confirmed++
			if got := copied.Peek(key); session.Merge(got, res.Record) != got {
				t.Errorf("write %d of %s is confirmed and the copy does not have it", i, key)
			}
		}
		cancel()
	}
	return confirmed
}
