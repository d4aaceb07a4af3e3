package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// compactAll does to a store's tombstones what short memory does.
func compactAll(s *Store) {
	for p := range s.partitions {
		for s.Count(p) > 0 && len(s.partitions[p].dead) > 0 {
			compactOne(s, p)
		}
	}
}

// A compacted tombstone ends its session as a whole one does, however it is
// asked for.
func TestCompactedTombstonesStick(t *testing.T) {
	s, c := testStore(t)
	put(t, s, "k", sized(10)...)
	c.advance(time.Second)
	whole := do(t, s, Op{Kind: Delete, Key: "k"}).Record
	before := s.Stats()
	compactAll(s)
	after := s.Stats()
	require.Equal(t, 0, after.Tombstones)
	require.Equal(t, 1, after.Compacted)
	require.Less(t, after.Bytes, before.Bytes)
	require.Zero(t, s.Digest(s.cfg.PartitionOf("k")), "no other holder need have it")
	checkInvariants(t, s)

	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrDeleted)
	_, err = s.Do(&Op{Kind: Put, Key: "k", Fields: sized(10)})
	require.ErrorIs(t, err, ErrDeleted)
	require.Equal(t, []string{"k"}, do(t, s, Op{Kind: Delete, Key: "k"}).Again)
	require.Equal(t, whole.Hash(), s.Peek("k").Hash(), "it can be sent to whoever has to have it")
	changed, err := s.Merge(whole)
	require.NoError(t, err)
	require.False(t, changed, "another holder still has it whole")
	_, err = s.Get("unknown")
	require.ErrorIs(t, err, ErrNotFound)

	revived := do(t, s, Op{Kind: Put, Key: "k", Create: true, Fields: sized(10)}).Record
	require.Greater(t, revived.Rank(), whole.Rank())
	require.Zero(t, s.Stats().Compacted)
	checkInvariants(t, s)

	do(t, s, Op{Kind: Delete, Key: "k"})
	compactAll(s)
	c.advance(25 * time.Hour)
	_, err = s.Get("k")
	require.ErrorIs(t, err, ErrNotFound, "its time is over")
	s.Expire()
	require.Equal(t, Stats{Open: 4, Forgotten: 1}, ended(s.Stats()))
	checkInvariants(t, s)
}

// ended is what there is of stats when all is over.
func ended(s Stats) Stats {
	s.LongestHold, s.Retried = 0, 0
	return s
}

// A copy that comes back of a session whose tombstone was compacted is ended,
// and the tombstone is whole again, for all who have the copy.
func TestACopyThatComesBackMakesTheTombstoneWhole(t *testing.T) {
	s, c := testStore(t)
	away := testStoreWith(t, testConfig(c))
	p := s.cfg.PartitionOf("k")
	_, err := away.Merge(put(t, s, "k", sized(10)...))
	require.NoError(t, err)
	c.advance(time.Second)
	late := put(t, away, "k", sized(20)...)
	do(t, s, Op{Kind: Delete, Key: "k"})
	compactAll(s)

	changed, err := s.Merge(late)
	require.NoError(t, err)
	require.True(t, changed, "so it is passed on")
	require.True(t, s.Peek("k").Dead())
	require.NotZero(t, s.Digest(p))
	s.Expire()
	require.EqualValues(t, 1, s.Stats().Tombstones, "the floor is below it")
	require.Zero(t, s.Stats().Compacted)

	require.NoError(t, away.RaiseFloor(p, s.Floor(p)))
	_, err = away.Merge(s.Peek("k"))
	require.NoError(t, err)
	_, err = away.Get("k")
	require.ErrorIs(t, err, ErrDeleted)
	require.Equal(t, s.Digest(p), away.Digest(p))
	checkInvariants(t, s)
	checkInvariants(t, away)

	// One that was created after the delete is none of those.
	c.advance(time.Second)
	compactAll(s)
	anew := do(t, away, Op{Kind: Put, Key: "k", Create: true, Fields: sized(10)}).Record
	_, err = s.Merge(anew)
	require.NoError(t, err)
	rec, err := s.Get("k")
	require.NoError(t, err)
	require.Equal(t, anew.Hash(), rec.Hash())
	checkInvariants(t, s)
}

// What a member with less memory has compacted is compacted by others, which
// forget nothing; and comes to a new holder by nobody.
func TestOthersFloorsForgetNothing(t *testing.T) {
	s, c := testStore(t)
	for i := range 100 {
		do(t, s, Op{Kind: Delete, Key: fmt.Sprintf("unknown-%d", i)})
		c.advance(time.Millisecond)
	}
	for p := range 4 {
		require.NoError(t, s.RaiseFloor(p, c.now().Add(48*time.Hour).UnixMilli()))
	}
	require.Zero(t, s.Stats().Tombstones)
	require.Equal(t, 100, s.Stats().Compacted)
	require.Zero(t, s.Stats().Dropped)
	_, err := s.Get("unknown-7")
	require.ErrorIs(t, err, ErrDeleted)
	changed, err := s.Merge(newTombstone("unknown-100", stampAt(c.now().UnixMilli()), c.now().Add(time.Hour).UnixMilli()))
	require.NoError(t, err)
	require.False(t, changed)
	_, err = s.Get("unknown-100")
	require.ErrorIs(t, err, ErrDeleted, "of what the floor keeps out there is what there is room for")
	checkInvariants(t, s)
	s.Drop(0)
	checkInvariants(t, s)
}
