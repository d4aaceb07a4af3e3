package replication

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/session"
)

// pair is two members with a store each, over one clock.
type pair struct {
	now          time.Time
	here, there  *session.Store
	a, b         *Replicator
	toB          *memory
	mergedAtHere map[string]int
}

// inPages has both sides list so many entries at a time.
func (p *pair) inPages(entries int) { p.a.pageEntries, p.b.pageEntries = entries, entries }

func newPair(t require.TestingT) *pair {
	p := &pair{now: time.Unix(1_700_000_000, 0), mergedAtHere: make(map[string]int)}
	now := func() time.Time { return p.now }
	p.here, p.there = newStore(t, now), newStore(t, now)
	p.a = New(Config{Store: p.here, Partitions: testPartitions, Merged: func(key string) { p.mergedAtHere[key]++ }})
	p.b = New(Config{Store: p.there, Partitions: testPartitions})
	p.toB = newMemory(p.b)
	return p
}

// drawPair is a pair with random copies: some sessions are equal, some were
// changed on one side or on both since they were, some are on one side only.
func drawPair(t *rapid.T) *pair {
	p := newPair(t)
	p.inPages(rapid.SampledFrom([]int{1, 2, 5, pageEntries}).Draw(t, "entries of a page"))
	p.toB.old = rapid.Bool().Draw(t, "older")
	for range rapid.IntRange(0, 30).Draw(t, "writes") {
		p.now = p.now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "ms")) * time.Millisecond)
		key := fmt.Sprint(rapid.IntRange(0, 19).Draw(t, "key"))
		store, other := p.here, p.there
		if rapid.Bool().Draw(t, "there") {
			store, other = p.there, p.here
		}
		value := session.Field{Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "field"), Value: fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "value"))}
		op := session.Op{Key: key, Revive: true, Fields: []session.Field{value}}
		switch rapid.IntRange(0, 4).Draw(t, "op") {
		case 0:
			op.Kind = session.Put
		case 1:
			op.Kind = session.Patch
		case 2:
			op.Kind, op.Revive = session.Delete, false
		case 3:
			op.Kind, op.TTL = session.Put, time.Hour
		case 4: // the other side has what this one has
			if rec := store.Peek(key); rec != nil {
				_, err := other.Merge(rec)
				require.NoError(t, err)
			}
			continue
		}
		_, err := store.Do(&op)
		require.NoError(t, err)
	}
	return p
}

// snapshot is the hash of every record of a store.
func snapshot(store *session.Store) map[string]uint64 {
	hashes := make(map[string]uint64)
	for p := range testPartitions {
		for _, rec := range store.Records(p) {
			hashes[rec.Key()] = rec.Hash()
		}
	}
	return hashes
}

// union is the hash of every record of the merge of both stores.
func (p *pair) union() map[string]uint64 {
	hashes := snapshot(p.there)
	for key := range snapshot(p.here) {
		hashes[key] = session.Merge(p.here.Peek(key), p.there.Peek(key)).Hash()
	}
	return hashes
}

var allPartitions = []int{0, 1, 2, 3}

// TestSync: both sides end with the merge of both, nothing is told twice, and a
// second comparison finds nothing to do.
func TestSync(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		before, want := snapshot(p.here), p.union()
		differ, err := p.a.Digests(context.Background(), p.toB, allPartitions)
		require.NoError(t, err)
		for _, part := range allPartitions {
			require.NoError(t, p.a.Sync(context.Background(), p.toB, part))
		}
		require.Equal(t, want, snapshot(p.here))
		require.Equal(t, want, snapshot(p.there))
		require.EqualValues(t, len(differ), p.a.Stats.Mended.Load())
		for key, hash := range want {
			changed := 0
			if before[key] != hash {
				changed = 1
			}
			require.Equal(t, changed, p.mergedAtHere[key], "Merged tells of each change, once")
		}

		calls := p.toB.calls[TypeRecords] + p.toB.calls[TypePull]
		for _, part := range allPartitions {
			require.NoError(t, p.a.Sync(context.Background(), p.toB, part))
		}
		require.Equal(t, calls, p.toB.calls[TypeRecords]+p.toB.calls[TypePull])
		differ, err = p.a.Digests(context.Background(), p.toB, allPartitions)
		require.NoError(t, err)
		require.Empty(t, differ)
	})
}

// TestPages: however much a partition holds, no list of it is longer than a
// page; and all of it is compared, with a member of an older version too.
func TestPages(t *testing.T) {
	const n, page = 100, 7
	for _, old := range []bool{false, true} {
		for name, compare := range map[string]func(p *pair) error{
			"sync":  func(p *pair) error { return p.a.Sync(t.Context(), p.toB, 1) },
			"offer": func(p *pair) error { return p.a.Offer(t.Context(), p.toB, 1) },
			"fetch": func(p *pair) error { return p.a.Fetch(t.Context(), p.toB, 1) },
		} {
			p := newPair(t)
			p.inPages(page)
			p.toB.old = old
			for i, key := range keys(1, n) {
				if i%2 == 0 {
					put(t, p.here, key, "1")
				} else {
					put(t, p.there, key, "1")
				}
			}
			longest, lists := 0, 0
			p.toB.answered = func(typ byte, answer []byte) {
				if typ == TypeList || typ == TypeListPage {
					longest, lists = max(longest, len(answer)), lists+1
				}
			}
			require.NoError(t, compare(p), name)
			if !old {
				require.LessOrEqual(t, longest, 16+16*page, name)
				require.GreaterOrEqual(t, lists, n/2/page, name)
			} else {
				require.Equal(t, 1, lists, name)
			}
			here, there := n, n
			if name == "offer" {
				here = n / 2
			}
			if name == "fetch" {
				there = n / 2
			}
			require.Equal(t, here, p.here.Count(1), name)
			require.Equal(t, there, p.there.Count(1), name)
		}
	}
}

// TestSyncSendsNothingBack: what was fetched and is then equal stays.
func TestSyncSendsNothingBack(t *testing.T) {
	p := newPair(t)
	for _, key := range keys(1, 20) {
		put(t, p.there, key, "1")
	}
	require.NoError(t, p.a.Sync(t.Context(), p.toB, 1))
	require.EqualValues(t, 20, p.a.Stats.Pulled.Load())
	require.Zero(t, p.a.Stats.Pushed.Load())
}

func TestDigests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		parts := rapid.Permutation(allPartitions).Draw(t, "order")
		differ, err := p.a.Digests(context.Background(), p.toB, parts)
		require.NoError(t, err)
		var want []int
		for _, part := range parts {
			if p.here.Digest(part) != p.there.Digest(part) {
				want = append(want, part)
			}
		}
		require.Equal(t, want, differ)
	})
	p := newPair(t)
	differ, err := p.a.Digests(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, differ, "nothing to ask")
}

// TestOffer: the other side has everything afterwards, and this one is as it
// was.
func TestOffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		mine, want := snapshot(p.here), p.union()
		for _, part := range allPartitions {
			require.NoError(t, p.a.Offer(context.Background(), p.toB, part))
		}
		require.Equal(t, mine, snapshot(p.here))
		require.Equal(t, want, snapshot(p.there))
		require.Zero(t, p.toB.calls[TypePull])
	})
}

// TestFetch: this side has everything afterwards, and the other is as it was.
func TestFetch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		theirs, want := snapshot(p.there), p.union()
		for _, part := range allPartitions {
			require.NoError(t, p.a.Fetch(context.Background(), p.toB, part))
		}
		require.Equal(t, want, snapshot(p.here))
		require.Equal(t, theirs, snapshot(p.there))
		require.Zero(t, p.toB.calls[TypeRecords])
	})
}

// TestFetchKeys changes one key and no other.
func TestFetchKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		key := fmt.Sprint(rapid.IntRange(0, 19).Draw(t, "key"))
		want, theirs, union := snapshot(p.here), snapshot(p.there), p.union()
		if hash, ok := union[key]; ok {
			want[key] = hash
		}
		require.NoError(t, p.a.FetchKeys(context.Background(), p.toB, partitionOf(key), key))
		require.Equal(t, want, snapshot(p.here))
		require.Equal(t, theirs, snapshot(p.there))
		require.Equal(t, map[byte]int{TypePull: 1}, p.toB.calls)
	})
}

// TestLargeRecordsTravelInChunks: however large the sessions, a frame ends at
// the first record that reaches its size, so it stays far below what a link
// carries.
func TestLargeRecordsTravelInChunks(t *testing.T) {
	const n, size = 8, 1<<20 - 1
	p := newPair(t)
	for i, key := range keys(2, 2*n) {
		store := p.here
		if i%2 == 0 {
			store = p.there
		}
		put(t, store, key, strings.Repeat("x", size))
	}
	require.NoError(t, p.a.Sync(t.Context(), p.toB, 2))
	require.Equal(t, 2*n, p.here.Count(2))
	require.Equal(t, p.here.Digest(2), p.there.Digest(2))
	require.Less(t, p.toB.largest, chunkBytes+size+100)
	require.Equal(t, n, p.toB.calls[TypePull])
	require.Equal(t, n, p.toB.calls[TypeRecords])
}

// TestManySmallRecords takes more keys than one pull asks for.
func TestManySmallRecords(t *testing.T) {
	p := newPair(t)
	for _, key := range keys(0, 2*pullKeys+5) {
		put(t, p.there, key, "x")
	}
	require.NoError(t, p.a.Fetch(t.Context(), p.toB, 0))
	require.Equal(t, p.there.Digest(0), p.here.Digest(0))
	require.LessOrEqual(t, p.toB.largest, chunkBytes+100)
	require.Equal(t, 2*pullKeys+5, p.here.Count(0))
}

// TestRefusedByComparison: a record of a clock that is far ahead makes the
// comparison fail, after everything else has been exchanged.
func TestRefusedByComparison(t *testing.T) {
	group := keys(3, 10)
	future, mine, theirs := group[0], group[1:5], group[5:]
	build := func(t *testing.T, ahead func(p *pair) *session.Store) *pair {
		p := newPair(t)
		p.now = p.now.Add(time.Hour)
		put(t, ahead(p), future, "1")
		p.now = p.now.Add(-time.Hour)
		for _, key := range mine {
			put(t, p.here, key, "1")
		}
		for _, key := range theirs {
			put(t, p.there, key, "1")
		}
		return p
	}
	aheadHere := func(p *pair) *session.Store { return p.here }
	aheadThere := func(p *pair) *session.Store { return p.there }

	t.Run("sync, refused there", func(t *testing.T) {
		p := build(t, aheadHere)
		require.ErrorIs(t, p.a.Sync(t.Context(), p.toB, 3), ErrClocks)
		require.Equal(t, 10, p.here.Count(3))
		require.Equal(t, 9, p.there.Count(3))
		require.Zero(t, p.a.Stats.Mended.Load())
		p.now = p.now.Add(time.Hour) // the other clock has caught up
		require.NoError(t, p.a.Sync(t.Context(), p.toB, 3))
		require.Equal(t, p.here.Digest(3), p.there.Digest(3))
	})
	t.Run("sync, refused here", func(t *testing.T) {
		p := build(t, aheadThere)
		require.ErrorIs(t, p.a.Sync(t.Context(), p.toB, 3), ErrClocks)
		require.Equal(t, 9, p.here.Count(3))
		require.Equal(t, 10, p.there.Count(3))
	})
	t.Run("offer", func(t *testing.T) {
		p := build(t, aheadHere)
		require.ErrorIs(t, p.a.Offer(t.Context(), p.toB, 3), ErrClocks)
		require.Equal(t, 9, p.there.Count(3))
		require.EqualValues(t, 1, p.a.Stats.Quarantined.Load())
	})
	t.Run("fetch", func(t *testing.T) {
		p := build(t, aheadThere)
		require.ErrorIs(t, p.a.Fetch(t.Context(), p.toB, 3), ErrClocks)
		require.Equal(t, 9, p.here.Count(3))
		require.ErrorIs(t, p.a.FetchKeys(t.Context(), p.toB, 3, future), ErrClocks)
		require.NoError(t, p.a.FetchKeys(t.Context(), p.toB, 3, theirs[0]))
		require.EqualValues(t, 2, p.a.Stats.Refused.Load())
	})
}

// TestBulkIsPaced: a comparison moves a burst at once, and from then on
// Config.BulkBytesPerSecond; a single key does not wait behind it.
func TestBulkIsPaced(t *testing.T) {
	const records, size = 40, 1 << 20
	for name, op := range map[string]func(r *Replicator, ctx context.Context, p Peer, part int) error{
		"offer": (*Replicator).Offer, "fetch": (*Replicator).Fetch,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				full, empty := newStore(t, time.Now), newStore(t, time.Now)
				for _, key := range keys(0, records) {
					put(t, full, key, strings.Repeat("x", size-100))
				}
				here, there := full, empty
				if name == "fetch" {
					here, there = empty, full
				}
				r := New(Config{Store: here, Partitions: testPartitions, BulkBytesPerSecond: 1 << 20})
				link := newMemory(New(Config{Store: there, Partitions: testPartitions}))
				start := time.Now()
				require.NoError(t, op(r, t.Context(), link, 0))
				took := time.Since(start)
				require.InDelta(t, (records - 32*1.0), took.Seconds(), 1.1, "all but the burst of 32 MiB at 1 MiB/s")

				start = time.Now()
				require.NoError(t, r.FetchKeys(t.Context(), link, 0, "key"))
				require.Zero(t, time.Since(start))

				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				there.Drop(0)
				if name == "offer" {
					require.Error(t, op(r, ctx, link, 0), "ctx ends the wait")
				}
			})
		})
	}
}

// TestComparisonFails names what was tried, and keeps the cause.
func TestComparisonFails(t *testing.T) {
	p := newPair(t)
	put(t, p.here, keys(1, 1)[0], "1")
	down := peerFunc(func(context.Context, byte, []byte) ([]byte, error) { return nil, errNoLink })
	_, err := p.a.Digests(t.Context(), down, []int{1})
	require.ErrorIs(t, err, errNoLink)
	require.ErrorIs(t, p.a.Sync(t.Context(), down, 1), errNoLink)
	require.ErrorIs(t, p.a.Offer(t.Context(), down, 1), errNoLink)
	require.ErrorIs(t, p.a.Fetch(t.Context(), down, 1), errNoLink)
	require.ErrorIs(t, p.a.FetchKeys(t.Context(), down, 1, "k"), errNoLink)

	listed := peerFunc(func(_ context.Context, typ byte, _ []byte) ([]byte, error) {
		if typ == TypeList {
			return make([]byte, 24), nil
		}
		return nil, errNoLink
	})
	require.ErrorIs(t, p.a.Sync(t.Context(), listed, 1), errNoLink)
	require.ErrorIs(t, p.a.Offer(t.Context(), listed, 1), errNoLink)
	require.ErrorIs(t, p.a.Fetch(t.Context(), listed, 1), errNoLink)
}
