package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTouchesAreCoalesced(t *testing.T) {
	s, c := testStore(t)
	rec := do(t, s, Op{Kind: Put, Key: "k", TTL: 100 * time.Second}).Record
	records := 0
	for range 1000 { // a touch a second, ten idle times long
		c.advance(time.Second)
		res := do(t, s, Op{Kind: Touch, Key: "k"})
		require.Equal(t, c.t.Add(100*time.Second).UnixMilli(), res.Until, "the owner's end is exact")
		require.Equal(t, res.Record != rec, res.Changed)
		if res.Changed {
			records++
			rec = res.Record
			require.Equal(t, res.Until, rec.Expiry().At)
		}
	}
	require.Equal(t, 100, records, "ten an idle time")
	c.advance(100*time.Second - time.Millisecond)
	_, err := s.Get("k")
	require.NoError(t, err)
	c.advance(time.Millisecond)
	_, err = s.Get("k")
	require.ErrorIs(t, err, ErrNotFound)
}

// TestExplicitTouchIsCopied: one that sets times is not a mere slide.
func TestExplicitTouchIsCopied(t *testing.T) {
	s, c := testStore(t)
	do(t, s, Op{Kind: Put, Key: "k", TTL: 100 * time.Second})
	c.advance(time.Second)
	for _, op := range []Op{{TTL: 50 * time.Second}, {MaxAge: 40 * time.Second}, {TTL: -1}, {MaxAge: -1}, {TTL: time.Second}} {
		op.Kind, op.Key = Touch, "k"
		res := do(t, s, op)
		require.True(t, res.Changed, op)
		require.Equal(t, res.Until, res.Record.Expiry().At)
	}
}

func TestDeadline(t *testing.T) {
	s, c := testStore(t)
	res := do(t, s, Op{Kind: Put, Key: "k", TTL: time.Minute, MaxAge: 90 * time.Second})
	deadline := c.t.Add(90 * time.Second).UnixMilli()
	require.Equal(t, deadline, res.Record.Expiry().Deadline)
	c.advance(59 * time.Second)
	require.Equal(t, deadline, do(t, s, Op{Kind: Touch, Key: "k"}).Until, "never beyond the deadline")
	c.advance(30 * time.Second)
	require.Equal(t, deadline, do(t, s, Op{Kind: Put, Key: "k"}).Until, "a write keeps it")
	require.Equal(t, deadline, do(t, s, Op{Kind: Put, Key: "k", TTL: -1}).Until, "endless idling too")
	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Minute})
}

// TestEndsAreOfTheClock: stamps may be ahead of it after a succession, ends are
// not.
func TestEndsAreOfTheClock(t *testing.T) {
	s, c := testStore(t)
	s.Admit(s.PartitionOf("k"))
	end := c.t.Add(time.Minute).UnixMilli()
	e := do(t, s, Op{Kind: Put, Key: "k", TTL: -1, MaxAge: time.Minute}).Record.Expiry()
	require.True(t, e.Stamp.Time().After(c.t.Add(time.Second)))
	require.Equal(t, end, e.Deadline)
	require.Equal(t, end, e.At)
	require.Equal(t, end, do(t, s, Op{Kind: Touch, Key: "k", TTL: time.Minute}).Until)

	do(t, s, Op{Kind: Put, Key: "{k}2"})
	from := func(begin time.Time) {
		t.Helper()
		for _, kind := range []Kind{Touch, Put, Patch} {
			require.Equal(t, begin.Add(time.Minute).UnixMilli(), do(t, s, Op{Kind: kind, Key: "{k}2", MaxAge: time.Minute}).Record.Expiry().Deadline)
		}
	}
	from(c.t)
	began := c.t.Add(Lead)
	c.advance(Lead - time.Millisecond)
	from(c.t)
	c.advance(time.Second)
	from(began) // by its stamp: nothing else tells when
}

// TestTombstoneOutlivesDeadlines: on the other side of a cut the deadline may
// have been moved, so a logout is remembered for as long as that of any other
// session.
func TestTombstoneOutlivesDeadlines(t *testing.T) {
	a, clock := testStore(t)
	b, err := NewStore(a.cfg)
	require.NoError(t, err)
	for p := range a.cfg.Partitions {
		b.Open(p)
	}
	_, err = b.Merge(do(t, a, Op{Kind: Put, Key: "k", TTL: time.Minute, MaxAge: time.Minute}).Record)
	require.NoError(t, err)
	do(t, a, Op{Kind: Delete, Key: "k"})
	moved := do(t, b, Op{Kind: Touch, Key: "k", TTL: time.Hour, MaxAge: 8 * time.Hour}).Record
	clock.advance(10 * time.Minute)
	a.Expire()
	_, err = a.Merge(moved)
	require.NoError(t, err)
	_, err = a.Get("k")
	require.ErrorIs(t, err, ErrDeleted)

	gone := do(t, a, Op{Kind: Put, Key: "long", TTL: -1, MaxAge: 48 * time.Hour, Create: true}).Record
	gone = do(t, a, Op{Kind: Delete, Key: gone.Key()}).Record
	require.Equal(t, clock.t.Add(48*time.Hour).UnixMilli()+tombstoneSlack, gone.Expiry().At)
}

// TestDeleteAfterTheDeadline: a deadline can be set that has passed, and copies
// may not know of it yet; the tombstone must outlive what is on its way.
func TestDeleteAfterTheDeadline(t *testing.T) {
	s, c := testStore(t)
	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Hour})
	c.advance(10 * time.Minute)
	do(t, s, Op{Kind: Touch, Key: "k", MaxAge: time.Minute})
	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrNotFound)
	gone := do(t, s, Op{Kind: Delete, Key: "k"}).Record
	require.Equal(t, c.t.Add(24*time.Hour).UnixMilli()+tombstoneSlack, gone.Expiry().At)
}

// TestForgottenVersionIsNotGivenAgain: a write can end its session at once, and
// the next one may be of the same millisecond.
func TestForgottenVersionIsNotGivenAgain(t *testing.T) {
	s, c := testStore(t)
	do(t, s, Op{Kind: Put, Key: "k"})
	c.advance(10 * time.Minute)
	ended := do(t, s, Op{Kind: Put, Key: "k", MaxAge: time.Minute}).Record
	s.Expire()
	again := do(t, s, Op{Kind: Put, Key: "k"})
	require.True(t, again.Created)
	require.Greater(t, again.Record.Version(), ended.Version())

	do(t, s, Op{Kind: Put, Key: "k", TTL: -1, MaxAge: time.Millisecond})
	c.advance(time.Millisecond)
	s.Expire()
	require.Zero(t, s.Stats().Sessions, "it is forgotten all the same")
}

func TestShortTTLIsNotNone(t *testing.T) {
	s, c := testStore(t)
	require.Equal(t, c.t.UnixMilli()+1, do(t, s, Op{Kind: Put, Key: "k", TTL: 1}).Until)
}

// TestCopyOutlivesAnUncopiedTouch: the owner's last touch was not worth
// copying, and then it died.
func TestCopyOutlivesAnUncopiedTouch(t *testing.T) {
	owner, c := testStore(t)
	successor := testStoreWith(t, owner.cfg)
	rec := do(t, owner, Op{Kind: Put, Key: "k", TTL: 100 * time.Second}).Record
	_, err := successor.Merge(rec)
	require.NoError(t, err)
	c.advance(10*time.Second - time.Millisecond)
	res := do(t, owner, Op{Kind: Touch, Key: "k"})
	require.False(t, res.Changed)

	c.t = time.UnixMilli(res.Until - 1)
	for _, s := range []*Store{owner, successor} {
		_, err = s.Get("k")
		require.NoError(t, err)
	}
	c.advance(time.Millisecond) // expired for the owner, and held as long as the copy
	_, err = owner.Get("k")
	require.ErrorIs(t, err, ErrNotFound)
	require.Zero(t, owner.Expire()+successor.Expire())
	require.Equal(t, owner.Digest(3), successor.Digest(3))

	c.advance(time.Millisecond)
	_, err = successor.Get("k")
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, 1, owner.Expire())
	changed, err := owner.Merge(rec)
	require.ErrorIs(t, err, ErrPast)
	require.False(t, changed, "a slow copy does not bring it back")
	require.Equal(t, 1, successor.Expire())
	require.Equal(t, uint64(1), successor.Stats().Expired)
}

// TestMergeKeepsKnownTouches: a copy that brings news of fields says nothing of
// the end; one that brings a new end counts.
func TestMergeKeepsKnownTouches(t *testing.T) {
	s, c := testStore(t)
	rec := do(t, s, Op{Kind: Put, Key: "k", TTL: 100 * time.Second, Fields: []Field{{Name: "a", Value: "1"}}}).Record
	c.advance(9 * time.Second)
	until := do(t, s, Op{Kind: Touch, Key: "k"}).Until

	patched := *rec
	patched.body = pack("", []Field{{Name: "a", Value: "2", Stamp: rec.Version() + 1}}, rec.base)
	changed, err := s.Merge(&patched)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, until, do(t, s, Op{Kind: Get, Key: "k"}).Until)

	shortened := *rec
	shortened.expiry = Expiry{At: c.t.UnixMilli() + 1000, Idle: 1000, Stamp: rec.Version() + 2}
	_, err = s.Merge(&shortened)
	require.NoError(t, err)
	require.Equal(t, c.t.UnixMilli()+1100, do(t, s, Op{Kind: Get, Key: "k"}).Until)
}

func TestTombstoneEnds(t *testing.T) {
	s, c := testStore(t)
	put(t, s, "k")
	gone := do(t, s, Op{Kind: Delete, Key: "k"}).Record
	c.advance(24 * time.Hour)
	require.False(t, do(t, s, Op{Kind: Delete, Key: "k"}).Changed)
	require.Zero(t, s.Expire())
	c.advance(time.Minute)
	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrNotFound, "before it is reaped")
	changed, err := s.Merge(gone)
	require.ErrorIs(t, err, ErrPast, "it is not held for long")
	require.False(t, changed)
	require.Equal(t, 1, s.Expire())
	require.Zero(t, s.Count(3))
	require.Equal(t, uint64(1), s.Stats().Forgotten)
	changed, err = s.Merge(gone)
	require.ErrorIs(t, err, ErrPast)
	require.False(t, changed)
}

// What has ended by this clock is taken where it replaces what is held, and
// forgotten soon; whoever sent it must not hear that it is held.
func TestMergeOfWhatHasEnded(t *testing.T) {
	s, c := testStore(t)
	end := c.now().Add(time.Second)
	rec := newSession("k", StampAt(c.now()), StampAt(c.now()), Expiry{At: end.UnixMilli()}, nil)
	c.advance(time.Second)
	require.True(t, s.Ended(rec))
	changed, err := s.Merge(rec)
	require.ErrorIs(t, err, ErrPast)
	require.False(t, changed)
	require.Nil(t, s.Peek("k"))

	put(t, s, "k")
	held := s.Peek("k")
	require.False(t, s.Ended(held))
	later := newSession("k", held.Rank(), held.Base()+1, Expiry{At: end.UnixMilli(), Stamp: held.Expiry().Stamp + 1}, nil)
	c.advance(time.Millisecond)
	for range 2 { // it is the same when it comes again
		_, err = s.Merge(later)
		require.ErrorIs(t, err, ErrPast)
		require.Equal(t, later.Base(), s.Peek("k").Base(), "a later version, that shall not come back")
	}
	require.Equal(t, 1, s.Expire())
	require.Nil(t, s.Peek("k"))
}

// The writes to a partition that was just admitted are later than those of any
// clock that is right.
func TestAdmittedPartitionWritesAhead(t *testing.T) {
	s, c := testStore(t)
	s.Shut(3)
	before := StampAt(c.now().Add(Lead - time.Millisecond))
	s.Admit(3)
	for _, write := range []func() Stamp{
		func() Stamp { return put(t, s, "k").Version() },
		func() Stamp {
			return do(t, s, Op{Kind: Patch, Key: "k", Fields: []Field{{Name: "f"}}}).Record.Version()
		},
		func() Stamp { return do(t, s, Op{Kind: Rotate, Key: "k", NewKey: "{k}2"}).Record.Version() },
		func() Stamp { return do(t, s, Op{Kind: Delete, Key: "{k}2"}).Record.Version() },
		func() Stamp {
			update(t, s, "k3", func(tx *Tx) error { return tx.Put("k3", nil, nil) })
			return s.Peek("k3").Version()
		},
	} {
		require.Greater(t, write(), before)
	}
	c.advance(2 * Lead)
	require.Equal(t, c.now().UnixMilli(), put(t, s, "klater3").Version().Time().UnixMilli())
}

func TestExpireInBatches(t *testing.T) {
	s, c := testStore(t)
	const n = 3*reapBatch + 10
	for i := range n {
		do(t, s, Op{Kind: Put, Key: fmt.Sprintf("%dk", i), TTL: time.Duration(1+rand.IntN(1000)) * time.Second})
	}
	p := &s.partitions[s.cfg.PartitionOf("k")]
	c.advance(time.Hour)
	var r reaped
	require.True(t, p.reapLocked(c.t.UnixMilli(), &r), "there is more")
	require.Equal(t, reapBatch, r.sessions)
	s.bytes.Store(p.bytes)
	require.Equal(t, n-reapBatch, s.Expire())
	require.Zero(t, s.Stats().Bytes)
	checkInvariants(t, s)
}

// TestHeapStaysSmall: whatever is done to one key, its heap does not grow, and
// the key still goes when its time comes.
func TestHeapStaysSmall(t *testing.T) {
	s, c := testStore(t)
	p := &s.partitions[s.cfg.PartitionOf("k")]
	for i := range 1000 {
		ttl := time.Duration(2000-i) * time.Second
		do(t, s, Op{Kind: Put, Key: "k", TTL: ttl, Create: i%10 == 1})
		do(t, s, Op{Kind: Touch, Key: "k", TTL: -1})
		do(t, s, Op{Kind: Touch, Key: "k", TTL: ttl})
		if i%10 == 0 {
			do(t, s, Op{Kind: Delete, Key: "k"})
		}
		require.LessOrEqual(t, len(p.liveDue), 2+minTrim)
		require.LessOrEqual(t, len(p.deadDue), 2+minTrim)
	}
	c.advance(2000 * time.Second)
	require.Equal(t, 1, s.Expire())
	c.advance(48 * time.Hour)
	s.Expire()
	require.Empty(t, p.liveDue)
	require.Empty(t, p.deadDue)
}

func TestHeapOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOf(rapid.Int64Range(0, 20)).Draw(t, "times")
		var pushed, built dueHeap[string]
		for _, at := range times {
			pushed.push(due[string]{at: at})
			built = append(built, due[string]{at: at})
		}
		built.build()
		slices.Sort(times)
		for i, at := range times {
			require.Equal(t, at, pushed[0].at)
			require.Equal(t, at, built[0].at)
			pushed.pop()
			if i%2 == 0 {
				built.pop()
			} else {
				last := built[len(built)-1]
				built = built[:len(built)-1]
				if len(built) > 0 {
					built.replace(last)
				}
			}
		}
		require.Empty(t, pushed)
		require.Empty(t, built)
	})
}

// TestMemoryIsGivenBack: after most of a partition has gone, so have the maps
// and the heap that held it.
func TestMemoryIsGivenBack(t *testing.T) {
	s, c := testStore(t)
	const n = 50_000
	before := heapInUse()
	for i := range n {
		do(t, s, Op{Kind: Put, Key: fmt.Sprintf("%dk", i), TTL: time.Minute})
	}
	put(t, s, "stays-k")
	full := heapInUse() - before
	c.advance(2 * time.Minute)
	require.Equal(t, n, s.Expire())
	require.Less(t, heapInUse()-before, full/20)
	_, err := s.Get("stays-k")
	require.NoError(t, err)
	runtime.KeepAlive(s)
}

// TestMemoryAccounting holds the constants of liveCost, deadCost and
// compactCost against the heap, at about the fill of a partition that a million
// sessions give: Go's maps are then half full, which is nearly their worst.
func TestMemoryAccounting(t *testing.T) {
	if testing.Short() {
		t.Skip("fills 100 MB")
	}
	const partitions, n = 128, 125_000
	cfg := Config{Partitions: partitions, TagOf: braceTag,
		PartitionOf: func(key string) int { return int(xxhash.Sum64String(key) % partitions) }}
	keys := benchKeys(n)
	before := heapInUse()
	s := testStoreWith(t, cfg)
	value := strings.Repeat("v", 300)
	for _, key := range keys {
		do(t, s, Op{Kind: Put, Key: key, Fields: []Field{{Value: value}}})
	}
	require.InEpsilon(t, heapInUse()-before, s.Stats().Bytes, 0.1)

	for _, key := range keys {
		do(t, s, Op{Kind: Delete, Key: key})
	}
	s.Expire()
	require.InEpsilon(t, heapInUse()-before, s.Stats().Bytes, 0.1)

	whole := s.Stats().Bytes
	compactAll(s)
	s.Expire()
	require.Equal(t, n, s.Stats().Compacted)
	require.Less(t, s.Stats().Bytes, whole/2)
	require.InEpsilon(t, heapInUse()-before, s.Stats().Bytes, 0.15)
	runtime.KeepAlive(s)
	runtime.KeepAlive(keys)
}

// Who has to end elsewhere what has ended here hears of copies and tombstones
// too.
func TestSweepAllListsWhatIsForgotten(t *testing.T) {
	s, c := testStore(t)
	do(t, s, Op{Kind: Put, Key: "served", TTL: time.Minute})
	do(t, s, Op{Kind: Put, Key: "deleted"})
	do(t, s, Op{Kind: Delete, Key: "deleted"})
	closed := "copy"
	for i := 0; s.PartitionOf(closed) == s.PartitionOf("served"); i++ {
		closed = fmt.Sprint("copy", i)
	}
	do(t, s, Op{Kind: Put, Key: closed, TTL: time.Minute})
	do(t, s, Op{Kind: Put, Key: "stays", TTL: -1})
	s.Close(s.PartitionOf(closed))
	c.advance(2 * time.Minute)
	ended, forgotten := s.SweepAll(10)
	require.Equal(t, []string{"served"}, ended)
	require.ElementsMatch(t, []string{"served", closed}, forgotten)
	c.advance(25 * time.Hour)
	ended, forgotten = s.SweepAll(10)
	require.Empty(t, ended)
	require.Equal(t, []string{"deleted"}, forgotten)
	_, n := s.Sweep(10)
	require.Zero(t, n)
}
