package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// limitedStore has room for about so many sessions of 500 bytes.
func limitedStore(t testing.TB, sessions int64) (*Store, *clock) {
	c := newClock()
	cfg := testConfig(c)
	cfg.MemoryLimit, cfg.MaxSession = sessions*800, 4000
	return testStoreWith(t, cfg), c
}

func sized(n int) []Field { return []Field{{Name: "v", Value: strings.Repeat("v", n)}} }

// fillUp puts sessions of 500 bytes until there is no room for another, and one
// that takes the rest. It returns how many there are of the first kind.
func fillUp(t testing.TB, s *Store) (n int) {
	var err error
	for {
		if _, err = s.Do(&Op{Kind: Put, Key: fmt.Sprintf("key-%d", n), Fields: sized(500)}); err != nil {
			break
		}
		n++
	}
	require.ErrorIs(t, err, ErrFull)
	for size := 500; size > 0 && err != nil; size-- {
		_, err = s.Do(&Op{Kind: Put, Key: "rest", Fields: sized(size)})
	}
	require.LessOrEqual(t, s.sessionBytes(), s.cfg.MemoryLimit)
	require.Greater(t, s.sessionBytes(), s.cfg.MemoryLimit-300)
	return n
}

// TestNothingGrowsOverTheLimit: whatever would make what is held larger is
// refused, and changes nothing; whatever ends or shrinks it is done.
func TestNothingGrowsOverTheLimit(t *testing.T) {
	long := "{a}" + strings.Repeat("k", 500)
	update := func(s *Store, key string, f func(tx *Tx) error) error {
		_, err := s.Update(s.cfg.PartitionOf(key), f)
		return err
	}
	grows := map[string]func(s *Store) error{
		"a new session": func(s *Store) error { _, err := s.Do(&Op{Kind: Put, Key: "new", Fields: sized(500)}); return err },
		"an overwrite":  func(s *Store) error { _, err := s.Do(&Op{Kind: Put, Key: "key-0", Fields: sized(1500)}); return err },
		"a patch":       func(s *Store) error { _, err := s.Do(&Op{Kind: Patch, Key: "key-0", Fields: sized(1500)}); return err },
		"another field": func(s *Store) error {
			_, err := s.Do(&Op{Kind: Patch, Key: "key-0", Fields: []Field{{Name: "w", Value: strings.Repeat("w", 1000)}}})
			return err
		},
		"removed unknown": func(s *Store) error {
			_, err := s.Do(&Op{Kind: Patch, Key: "key-0", Fields: []Field{{Name: strings.Repeat("w", 1000), Absent: true}}})
			return err
		},
		"a rotate": func(s *Store) error { _, err := s.Do(&Op{Kind: Rotate, Key: "{a}1", NewKey: long}); return err },
		"a rename": func(s *Store) error {
			return update(s, "{a}1", func(tx *Tx) error { _, err := tx.Rename("{a}1", long); return err })
		},
		"a put of a Tx": func(s *Store) error {
			return update(s, "key-0", func(tx *Tx) error { return tx.Put("key-0", sized(1500), nil) })
		},
		"a patch of a Tx": func(s *Store) error {
			return update(s, "key-0", func(tx *Tx) error { return tx.Patch("key-0", sized(1500)) })
		},
		"what was deleted": func(s *Store) error {
			_, err := s.Do(&Op{Kind: Put, Key: "gone", Create: true, Fields: sized(1500)})
			return err
		},
	}
	passes := map[string]func(s *Store) error{
		"a write of the same size": func(s *Store) error { _, err := s.Do(&Op{Kind: Put, Key: "key-0", Fields: sized(500)}); return err },
		"a smaller one":            func(s *Store) error { _, err := s.Do(&Op{Kind: Put, Key: "key-0", Fields: sized(5)}); return err },
		"a touch":                  func(s *Store) error { _, err := s.Do(&Op{Kind: Touch, Key: "key-0"}); return err },
		"a rotate of one length":   func(s *Store) error { _, err := s.Do(&Op{Kind: Rotate, Key: "{a}1", NewKey: "{a}2"}); return err },
		// Which takes a stamp that the field did not have, and had no value.
		"the end of a field": func(s *Store) error {
			_, err := s.Do(&Op{Kind: Patch, Key: "{a}1", Fields: []Field{{Name: "empty", Absent: true}}})
			return err
		},
		"a logout":           func(s *Store) error { _, err := s.Do(&Op{Kind: Delete, Key: "key-0"}); return err },
		"all of a user's":    func(s *Store) error { _, err := s.Do(&Op{Kind: DeleteAll, Key: "{a}"}); return err },
		"of one that is not": func(s *Store) error { _, err := s.Do(&Op{Kind: Delete, Key: "unknown"}); return err },
		"the logout of a copy": func(s *Store) error {
			_, err := s.Merge(newTombstone("key-0", stampAt(s.nowMillis())+9, never-1))
			return err
		},
	}
	full := func(t *testing.T) (*Store, *clock) {
		s, c := limitedStore(t, 20)
		put(t, s, "{a}1", Field{Name: "empty"})
		put(t, s, "gone")
		do(t, s, Op{Kind: Delete, Key: "gone"})
		fillUp(t, s)
		c.advance(time.Second)
		return s, c
	}
	for name, write := range grows {
		t.Run(name, func(t *testing.T) {
			s, _ := full(t)
			before, held := s.Stats(), s.partitions
			digests := make([]uint64, len(held))
			for p := range digests {
				digests[p] = s.Digest(p)
			}
			require.ErrorIs(t, write(s), ErrFull)
			for p := range digests {
				require.Equal(t, digests[p], s.Digest(p), "a write that is refused changes nothing")
			}
			require.Equal(t, before.RefusedFull+1, s.Stats().RefusedFull)
			checkInvariants(t, s)
			do(t, s, Op{Kind: DeleteAll, Key: "{a}"})
			for i := range 4 {
				do(t, s, Op{Kind: Delete, Key: fmt.Sprintf("key-%d", i+1)})
			}
			if name != "a rotate" && name != "a rename" {
				require.NoError(t, write(s), "there is room again")
			}
		})
	}
	for name, write := range passes {
		t.Run(name, func(t *testing.T) {
			s, _ := full(t)
			require.NoError(t, write(s))
			checkInvariants(t, s)
		})
	}
}

// Where another holder has no room, what has its copies there does not grow
// here, and the rest does.
func TestSessionsDoNotGrowWhereTheirCopiesHaveNoRoom(t *testing.T) {
	s, _ := testStore(t)
	put(t, s, "k", sized(100)...)
	p := s.cfg.PartitionOf("k")
	s.SetCrowded(p, true)
	_, err := s.Do(&Op{Kind: Put, Key: "k", Fields: sized(200)})
	require.ErrorIs(t, err, ErrFull)
	put(t, s, "k", sized(50)...)
	other := "other"
	require.NotEqual(t, p, s.cfg.PartitionOf(other))
	put(t, s, other, sized(200)...)
	do(t, s, Op{Kind: Delete, Key: "k"})
	s.SetCrowded(p, false)
	do(t, s, Op{Kind: Put, Key: "k", Create: true, Fields: sized(200)})
}

// Copies are let in a little over the limit, for what was on its way when
// others were told that there is no more room, and no further. Others are told
// in time.
func TestCopiesHaveABound(t *testing.T) {
	s, c := limitedStore(t, 100)
	n := 0
	copyOf := func(key string, size int) error {
		stamp := stampAt(c.now().UnixMilli())
		_, err := s.Merge(newSession(key, stamp, stamp, Expiry{}, stamped(nil, sized(size), stamp)))
		return err
	}
	require.False(t, s.Full())
	for ; copyOf(fmt.Sprintf("copy-%d", n), 500) == nil; n++ {
		if s.sessionBytes() > s.cfg.MemoryLimit*31/32 {
			require.True(t, s.Full())
		}
	}
	err := copyOf("one more", 500)
	require.ErrorIs(t, err, ErrFull)
	require.Nil(t, s.Peek("one more"))
	require.Greater(t, s.sessionBytes(), s.cfg.MemoryLimit)
	require.LessOrEqual(t, s.sessionBytes(), s.cfg.MemoryLimit*21/20)
	require.EqualValues(t, 2, s.Stats().RefusedCopies)
	_, err = s.Merge(newTombstone("copy-0", stampAt(c.now().UnixMilli())+1, c.now().Add(time.Hour).UnixMilli()))
	require.NoError(t, err, "an end has always room")
	require.True(t, s.Peek("copy-0").Dead())
	require.NoError(t, copyOf("one more", 500))
	checkInvariants(t, s)

	for n, err = 0, nil; err == nil; n++ { // a disk may bring more, for a while
		stamp := stampAt(c.now().UnixMilli())
		_, err = s.Restore(newSession(fmt.Sprintf("kept-%d", n), stamp, stamp, Expiry{}, stamped(nil, sized(500), stamp)))
	}
	require.ErrorIs(t, err, ErrFull)
	require.Greater(t, s.sessionBytes(), s.cfg.MemoryLimit*6/5)
	require.LessOrEqual(t, s.sessionBytes(), s.cfg.MemoryLimit*5/4)
}

// Tombstones take what sessions leave free, and a tenth of the limit at least.
// Beyond that those go that would be the next to go, and sessions never wait
// for them.
func TestTombstonesHaveRoomOfTheirOwn(t *testing.T) {
	s, c := limitedStore(t, 1000)
	limit := s.cfg.MemoryLimit
	end := func(n int) {
		for i := range n {
			do(t, s, Op{Kind: Delete, Key: fmt.Sprintf("unknown-%d", i)})
			c.advance(time.Millisecond)
		}
	}
	end(3000)
	require.EqualValues(t, 3000, s.Stats().Tombstones, "there is room for all of them: no session takes it")
	end(10_000)
	require.LessOrEqual(t, s.Stats().Bytes, limit*11/10)
	require.Greater(t, s.Stats().Bytes, limit)
	require.NotZero(t, s.Stats().Dropped)
	require.Nil(t, s.Peek("unknown-1"), "an old one")
	require.True(t, s.Peek("unknown-9999").Dead(), "the newest")

	n := fillUp(t, s)
	require.Greater(t, n, 900, "tombstones have made way")
	require.LessOrEqual(t, s.Stats().Bytes, limit*11/10)
	require.LessOrEqual(t, s.Stats().Dead, limit/10)
	for i := range n {
		do(t, s, Op{Kind: Delete, Key: fmt.Sprintf("key-%d", i)})
		require.True(t, s.Peek(fmt.Sprintf("key-%d", i)).Dead(), "a logout leaves its tombstone")
		require.LessOrEqual(t, s.Stats().Bytes, limit*11/10)
		c.advance(time.Millisecond)
	}
	checkInvariants(t, s)
	s.Expire()
	checkInvariants(t, s)
}

// A flood of deletes under one tag takes the room of its own partition first.
func TestAFloodOfTombstonesLeavesMostOfOthers(t *testing.T) {
	s, c := limitedStore(t, 200)
	for i := range 400 {
		do(t, s, Op{Kind: Delete, Key: strings.Repeat("k", 1+i%4) + fmt.Sprint(i)})
		c.advance(time.Millisecond)
	}
	before := make([]int, 4)
	for p := range before {
		before[p] = s.Count(p)
	}
	for i := range 20_000 {
		do(t, s, Op{Kind: Delete, Key: fmt.Sprintf("{a}%d", i)})
		c.advance(time.Millisecond)
	}
	require.LessOrEqual(t, s.Stats().Bytes, s.cfg.MemoryLimit*11/10)
	for p := range before {
		if p != s.cfg.PartitionOf("{a}") {
			require.GreaterOrEqual(t, s.Count(p), before[p]*9/10, "of %d", before[p])
		}
	}
	checkInvariants(t, s)
}

// What one holder has dropped for want of room, others that compare their
// copies with it drop too, and nobody takes it back.
func TestDroppedTombstonesConverge(t *testing.T) {
	small, c := limitedStore(t, 20)
	large := testStoreWith(t, testConfig(c))
	for i := range 1000 {
		rec := do(t, small, Op{Kind: Delete, Key: fmt.Sprintf("unknown-%d", i)}).Record
		_, err := large.Merge(rec)
		require.NoError(t, err)
		c.advance(time.Millisecond)
	}
	require.NotEqual(t, small.Stats().Tombstones, large.Stats().Tombstones)
	for p := range 4 {
		require.NoError(t, large.RaiseFloor(p, small.Floor(p)))
		require.Equal(t, small.Digest(p), large.Digest(p))
	}
	require.Zero(t, large.Stats().Dropped, "it has room, and keeps what it can")
	require.Positive(t, large.Stats().Compacted)
	old := newTombstone("unknown-0", stampAt(c.now().UnixMilli()), small.Floor(small.cfg.PartitionOf("unknown-0")))
	changed, err := large.Merge(old)
	require.NoError(t, err)
	require.False(t, changed)

	// A floor that is ahead of the clock makes no delete worth nothing.
	put(t, large, "k")
	ahead := c.now().Add(100 * time.Hour).UnixMilli()
	require.NoError(t, large.RaiseFloor(large.cfg.PartitionOf("k"), ahead))
	do(t, large, Op{Kind: Delete, Key: "k"})
	large.Expire()
	require.True(t, large.Peek("k").Dead())
	require.ErrorIs(t, large.RaiseFloor(0, never), ErrMalformed)
	require.ErrorIs(t, large.RaiseFloor(0, -1), ErrMalformed)
	checkInvariants(t, large)
}

// A delete of what nobody has leaves nothing, and one of what is here, or was,
// a tombstone.
func TestDeleteOfWhatIsNowhere(t *testing.T) {
	s, c := testStore(t)
	res := do(t, s, Op{Kind: Delete, Key: "k", Nowhere: true})
	require.Equal(t, Result{}, res)
	require.Zero(t, s.Stats().Bytes)
	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrNotFound)

	put(t, s, "k")
	require.True(t, do(t, s, Op{Kind: Delete, Key: "k", Nowhere: true}).Record.Dead())
	require.Equal(t, []string{"k"}, do(t, s, Op{Kind: Delete, Key: "k", Nowhere: true}).Again)
	do(t, s, Op{Kind: Put, Key: "old", TTL: time.Second})
	c.advance(time.Minute)
	require.True(t, do(t, s, Op{Kind: Delete, Key: "old", Nowhere: true}).Record.Dead(), "a copy may know of a touch")
	_, err = s.Do(&Op{Kind: Delete, Key: "none", Nowhere: true, Exists: true})
	require.ErrorIs(t, err, ErrPrecondition)

	changes, err := s.Update(s.cfg.PartitionOf("tx"), func(tx *Tx) error {
		tx.NothingElsewhere()
		require.False(t, tx.Delete("tx"))
		require.NoError(t, tx.Put("tx", sized(1), nil))
		require.True(t, tx.Delete("tx"))
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, changes.Keys)
	require.True(t, s.Peek("tx").Dead())
	changes, err = s.Update(s.cfg.PartitionOf("ty"), func(tx *Tx) error { tx.Delete("ty"); return nil })
	require.NoError(t, err)
	require.Equal(t, []string{"ty"}, changes.Keys, "a Tx is not told what the one before was")
	checkInvariants(t, s)
}

// TestMemoryStaysBelowItsBound runs random writes, deletes and copies on a
// small store: all that it holds stays below 1.15 times the limit, sessions
// below 1.05 times, and what clients have grown below the limit.
func TestMemoryStaysBelowItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		cfg := testConfig(c)
		cfg.MemoryLimit = 20_000
		s, err := NewStore(cfg)
		require.NoError(t, err)
		for p := range cfg.Partitions {
			s.Open(p)
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			key := fmt.Sprintf("{a}%d", rapid.IntRange(0, 60).Draw(t, "key"))
			fields := sized(rapid.IntRange(0, 900).Draw(t, "size"))
			before := s.sessionBytes()
			var err error
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				_, err = s.Do(&Op{Kind: Put, Key: key, Revive: true, Fields: fields})
			case 1:
				_, err = s.Do(&Op{Kind: Patch, Key: key, Revive: true, Fields: fields})
			case 2:
				_, err = s.Do(&Op{Kind: Rotate, Key: key, NewKey: key + "long"})
			case 3:
				_, err = s.Do(&Op{Kind: Delete, Key: key})
				require.NoError(t, err)
			case 4:
				_, err = s.Update(s.cfg.PartitionOf(key), func(tx *Tx) error { return tx.Put(key, fields, nil) })
			case 5:
				stamp := stampAt(c.now().UnixMilli())
				_, err = s.Merge(newSession("{a}copy"+key, stamp, stamp, Expiry{}, stamped(nil, fields, stamp)))
				before = max(before, s.sessionBytes())
			case 6:
				_, err = s.Do(&Op{Kind: Delete, Key: fmt.Sprintf("{a}unknown%d", rapid.IntRange(0, 1<<30).Draw(t, "n"))})
				require.NoError(t, err)
			}
			if err == nil {
				require.LessOrEqual(t, s.sessionBytes(), max(before, cfg.MemoryLimit))
			}
			require.LessOrEqual(t, s.sessionBytes(), cfg.MemoryLimit*21/20)
			require.LessOrEqual(t, s.Stats().Bytes, cfg.MemoryLimit*23/20)
			c.advance(time.Millisecond)
		}
		checkInvariants(t, s)
	})
}
