package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
