package session

import (
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
