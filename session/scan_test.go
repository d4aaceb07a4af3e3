package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// scanAll reads a partition page by page and returns its keys and the number
// of pages.
func scanAll(t *testing.T, s *Store) (keys []string, pages int) {
	t.Helper()
	for after := ""; ; pages++ {
		res, err := s.Do(&Op{Kind: Scan, Key: "any", NewKey: after})
		require.NoError(t, err)
		if len(res.Records) == 0 {
			return keys, pages
		}
		for _, rec := range res.Records {
			keys = append(keys, rec.Key())
		}
		after = keys[len(keys)-1]
	}
}

func onePartition(t *testing.T, now func() time.Time) *Store {
	t.Helper()
	s, err := NewStore(Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 },
		TagOf: func(key string) (string, bool) { return key, false }, Now: now,
	})
	require.NoError(t, err)
	s.Open(0)
	return s
}

// A scan gives every live session once, in order, in more than one page.
func TestScanGivesEachLiveSessionOnce(t *testing.T) {
	clock := time.UnixMilli(1_000_000)
	s := onePartition(t, func() time.Time { return clock })
	var want []string
	for i := range 2*scanRecords + 10 {
		key := fmt.Sprint("key-", i)
		op := Op{Kind: Put, Key: key, Fields: []Field{{Name: "f", Value: "1"}}, TTL: time.Hour}
		switch i % 10 {
		case 0:
			op.TTL = time.Second // will have expired
		case 1:
		default:
			want = append(want, key)
		}
		_, err := s.Do(&op)
		require.NoError(t, err)
		if i%10 == 1 {
			_, err = s.Do(&Op{Kind: Delete, Key: key})
			require.NoError(t, err)
		}
	}
	clock = clock.Add(time.Minute)
	slices.Sort(want)
	keys, pages := scanAll(t, s)
	require.Equal(t, want, keys)
	require.Equal(t, 2, pages, "1608 sessions make two pages of up to 1000")
}

// Large sessions make short pages, so that an answer stays small, and one that
// is larger than a page still comes.
func TestScanPagesAreBoundedInBytes(t *testing.T) {
	s := onePartition(t, nil)
	value := strings.Repeat("x", scanBytes)
	for _, key := range []string{"a", "b", "c"} {
		_, err := s.Do(&Op{Kind: Put, Key: key, Fields: []Field{{Name: "f", Value: value}}})
		require.NoError(t, err)
	}
	keys, pages := scanAll(t, s)
	require.Equal(t, []string{"a", "b", "c"}, keys)
	require.Equal(t, 3, pages)
}

func TestScanOfAClosedPartition(t *testing.T) {
	s := onePartition(t, nil)
	s.Close(0)
	_, err := s.Do(&Op{Kind: Scan, Key: "any"})
	require.ErrorIs(t, err, ErrNotServed)
}

// listAll reads the sessions of a tag page by page.
func listAll(t *testing.T, s *Store, key string, do func(op *Op) Result) (keys []string, pages, most int) {
	t.Helper()
	op := &Op{Kind: List, Key: key, NewKey: FirstPage}
	for op.NewKey != "" {
		res := do(op)
		most = max(most, len(res.Append(nil)))
		var records []*Record
		records, op.NewKey = op.Page(res)
		for _, rec := range records {
			keys = append(keys, rec.Key())
		}
		pages++
	}
	return keys, pages, most
}

// A list gives every live session of its tag once, in order, and no page of it
// is larger than a frame may be, by number and by size.
func TestListInPages(t *testing.T) {
	c := newClock()
	cfg := testConfig(c)
	cfg.MaxSession = 4 << 20
	s, err := NewStore(cfg)
	require.NoError(t, err)
	for p := range cfg.Partitions {
		s.Open(p)
	}
	do := func(op *Op) Result {
		res, err := s.Do(op)
		require.NoError(t, err)
		return res
	}
	keys, pages, _ := listAll(t, s, "{a}", do)
	require.Empty(t, keys)
	require.Equal(t, 1, pages)

	var want []string
	for i := range 2*listRecords + 10 {
		key := fmt.Sprint("{a}", i)
		if i%3 == 0 {
			key = fmt.Sprint(i, "{a}") // a tag may stand anywhere
		}
		do(&Op{Kind: Put, Key: key})
		do(&Op{Kind: Put, Key: fmt.Sprint("a", i%100)}) // of the same partition
		want = append(want, key)
	}
	do(&Op{Kind: Delete, Key: want[7]})
	want = slices.Delete(want, 7, 8)
	slices.Sort(want)
	keys, pages, _ = listAll(t, s, "{a}", do)
	require.Equal(t, want, keys)
	require.Equal(t, 3, pages)
	whole := do(&Op{Kind: List, Key: "{a}"})
	require.Len(t, whole.Records, len(want), "an older version asks for all at once")

	// An owner of an older version answers each time with the whole list.
	keys, pages, _ = listAll(t, s, "{a}", func(op *Op) Result { return do(&Op{Kind: List, Key: op.Key}) })
	require.Equal(t, want, keys)
	require.Equal(t, 2, pages)

	want = nil
	for i := range 10 {
		key := fmt.Sprint("{b}", i)
		do(&Op{Kind: Put, Key: key, Fields: []Field{{Name: "x", Value: strings.Repeat("x", 3<<20)}}})
		want = append(want, key)
	}
	keys, pages, most := listAll(t, s, "{b}", do)
	require.Equal(t, want, keys)
	require.Equal(t, 6, pages, "two of 3 MiB are more than 4 MiB")
	require.Less(t, most, listBytes+4<<20)
}

// Whatever there is, pages are what sorting gives.
func TestPageIsTheFirstOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := propertyStore(t, newClock())
		var want []string
		for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`\{a\}[a-z]{1,3}`), 0, 40, rapid.ID).Draw(t, "keys") {
			_, err := s.Do(&Op{Kind: Put, Key: key})
			require.NoError(t, err)
			want = append(want, key)
		}
		slices.Sort(want)
		records := rapid.IntRange(1, 5).Draw(t, "records")
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := s.partition("{a}").page(after, s.nowMillis(), func(string) bool { return true }, records, 1<<20)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), records)
			for _, rec := range page {
				got = append(got, rec.Key())
			}
			if len(page) == 0 {
				break
			}
		}
		require.Equal(t, want, got)
	})
}

// deleteAllPaged ends the sessions of a tag page by page, and returns the keys
// of the tombstones that it left, and of those that were there before.
func deleteAllPaged(t *testing.T, s *Store, key string) (ended, again []string, pages int) {
	t.Helper()
	for {
		op := &Op{Kind: DeleteAll, Key: key, NewKey: FirstPage}
		if pages > 0 {
			op.NewKey = LaterPage(pages)
		}
		res, err := s.Do(op)
		require.NoError(t, err)
		require.LessOrEqual(t, len(res.Records), deletePage)
		require.Equal(t, len(res.Records) > 0, res.Changed)
		for _, rec := range res.Records {
			ended = append(ended, rec.Key())
		}
		again = append(again, res.Again...)
		pages++
		if res.Record == nil {
			return ended, again, pages
		}
		require.True(t, res.Record.Dead())
		require.Empty(t, res.Again, "they come once, with the last page")
		_, _, err = DecodeResult(res.Append(nil))
		require.NoError(t, err)
	}
}

// All sessions of a tag are ended, some with each page, and no others are.
func TestDeleteAllInPages(t *testing.T) {
	s := testStoreWith(t, testConfig(newClock()))
	ended, again, pages := deleteAllPaged(t, s, "{a}")
	require.Empty(t, ended)
	require.Empty(t, again)
	require.Equal(t, 1, pages)

	var want []string
	for i := range 2*deletePage + 10 {
		key := fmt.Sprint("{a}", i)
		do(t, s, Op{Kind: Put, Key: key})
		do(t, s, Op{Kind: Put, Key: fmt.Sprint("a", i%100)}) // some are of the same partition
		want = append(want, key)
	}
	do(t, s, Op{Kind: Delete, Key: want[7]})
	do(t, s, Op{Kind: Delete, Key: "a9"})
	before := want[7]
	want = slices.Delete(want, 7, 8)
	slices.Sort(want)
	ended, again, pages = deleteAllPaged(t, s, "{a}")
	slices.Sort(ended)
	require.Equal(t, want, ended)
	require.Equal(t, 3, pages)
	require.Contains(t, again, before)
	require.NotContains(t, again, "a9")
	require.Empty(t, do(t, s, Op{Kind: List, Key: "{a}"}).Records)
	_, err := s.Get("a5")
	require.NoError(t, err, "another tag's")

	// What is left is what the next page ends, after half of it too.
	for _, key := range want[:10] {
		do(t, s, Op{Kind: Put, Key: key, Create: true})
	}
	ended, again, _ = deleteAllPaged(t, s, "{a}")
	require.ElementsMatch(t, want[:10], ended)
	require.Len(t, again, len(want)+1-10)
}

// Pages of entries are, together, the list, each in order and not too long.
func TestListPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := propertyStore(t, newClock())
		for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`\{a\}[a-z]{1,3}`), 0, 40, rapid.ID).Draw(t, "keys") {
			_, err := s.Do(&Op{Kind: Put, Key: key})
			require.NoError(t, err)
			if rapid.Bool().Draw(t, "ended") {
				_, err := s.Do(&Op{Kind: Delete, Key: key})
				require.NoError(t, err)
			}
		}
		part := s.PartitionOf("{a}")
		most := rapid.IntRange(1, 9).Draw(t, "most")
		var all []Entry
		for from, more := uint64(0), true; more; {
			page, next := s.ListPage(part, from, most)
			require.LessOrEqual(t, len(page), most)
			require.ElementsMatch(t, page, s.ListRange(part, from, next))
			all = append(all, page...)
			more = next != 0
			require.True(t, !more || next > from)
			from = next
		}
		require.ElementsMatch(t, s.List(part), all)
		require.True(t, slices.IsSortedFunc(all, func(a, b Entry) int { return cmp.Compare(a.KeyHash, b.KeyHash) }))
	})
}

// Whatever is added, the lowest are kept, and those of one place together.
func TestLowest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.Uint64Range(0, 20)).Draw(t, "values")
		l := lowest[uint64]{most: rapid.IntRange(1, 5).Draw(t, "most"), place: func(v uint64) uint64 { return v }}
		for _, v := range values {
			if l.takes(v) {
				l.add(v)
			}
		}
		l.cut()
		slices.Sort(values)
		n := min(l.most, len(values))
		for n > 0 && n < len(values) && values[n] == values[n-1] {
			n++
		}
		require.Equal(t, values[:n], append([]uint64{}, l.kept...))
		require.Equal(t, n < len(values), l.full)
		if l.full {
			require.Equal(t, values[n], l.next)
		}
	})
}

// A walk over a large partition lets go of its lock, and finds what is there
// all the time though the table moves to another array meanwhile.
func TestWalkAmongWrites(t *testing.T) {
	s := onePartition(t, nil)
	const n = 3 * walkSlots
	for i := range n {
		do(t, s, Op{Kind: Put, Key: fmt.Sprint("key-", i)})
	}
	p := &s.partitions[0]
	before := p.live.array.Load()
	seen, looks := make(map[string]int), 0
	err := p.walk(func(some []held) bool {
		looks++
		for i := range n { // waits for ever if the walk has the lock
			do(t, s, Op{Kind: Put, Key: fmt.Sprint("new-", looks, "-", i)})
		}
		for _, h := range some {
			seen[h.rec.key]++
			require.LessOrEqual(t, len(some), walkSlots)
		}
		return true
	})
	require.NoError(t, err)
	require.NotEqual(t, before, p.live.array.Load(), "the test is to have it move")
	require.Greater(t, looks, 1)
	for i := range n {
		require.Equal(t, 1, seen[fmt.Sprint("key-", i)])
	}

	for i := range 3 * walkTombs {
		do(t, s, Op{Kind: Delete, Key: fmt.Sprint("key-", i)})
	}
	require.Len(t, p.graves(), 3*walkTombs)
}

// A page of a small partition is as long as was asked for, and one of a large
// partition a part of it.
func TestTxPage(t *testing.T) {
	s := onePartition(t, nil)
	pages := func(most int) (keys []string, pages int) {
		for from, more := uint64(0), true; more; pages++ {
			require.NoError(t, s.View(0, func(tx *Tx) error {
				records, next, isMore := tx.Page(from, most, KeyHash)
				for _, rec := range records {
					require.GreaterOrEqual(t, KeyHash(rec.key), from)
					keys = append(keys, rec.key)
				}
				from, more = next, isMore
				return nil
			}))
		}
		return keys, pages
	}
	var want []string
	put := func(n int) {
		for i := len(want); i < n; i++ {
			want = append(want, fmt.Sprint("key-", i))
			do(t, s, Op{Kind: Put, Key: want[i]})
		}
		slices.SortFunc(want, func(a, b string) int { return cmp.Compare(KeyHash(a), KeyHash(b)) })
	}
	put(20)
	keys, n := pages(10)
	require.Equal(t, want, keys)
	require.Equal(t, 2, n)
	put(20_000)
	keys, n = pages(10)
	require.Equal(t, want, keys)
	require.LessOrEqual(t, n, walkPages)
	_, n = pages(7000)
	require.Equal(t, 3, n)
	s.Close(0)
	require.ErrorIs(t, s.View(0, func(tx *Tx) error { tx.Page(0, 1, KeyHash); return nil }), ErrNotServed)
}
