package rediscluster

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// someKeys are keys all over the ring, many in one partition, in the order of
// SCAN.
func someKeys() (keys []string) {
	for i := range 1500 {
		keys = append(keys, fmt.Sprint("key-", i))
	}
	for i := range 60 {
		keys = append(keys, fmt.Sprint("{much}", i))
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(ring.Partition(a), ring.Partition(b)), cmp.Compare(command.PositionOf(a), command.PositionOf(b)))
	})
	return keys
}

// at is where a key stands.
func at(key string) redis.Cursor {
	return redis.Cursor{Partition: ring.Partition(key), Position: command.PositionOf(key)}
}

func before(a, b redis.Cursor) bool {
	return a.Partition < b.Partition || a.Partition == b.Partition && a.Position < b.Position
}

// One scan returns the keys from its cursor on, in order, about as many as it
// was to look at or all there are, and goes on where it has stopped. It takes
// each partition's page whole, and so may see nearly twice as many.
func TestScan(t *testing.T) {
	n := alone(t)
	all := someKeys()
	for _, key := range all {
		n.put(t, key)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := redis.ScanRequest{
			From:  redis.Cursor{Partition: rapid.IntRange(0, ring.Partitions).Draw(t, "from")},
			Count: rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 2000)).Draw(t, "count"),
			Match: rapid.SampledFrom([]string{"", "*", "key-1*", "{much}*"}).Draw(t, "match"),
		}
		if rapid.Bool().Draw(t, "at a key") {
			r.From = at(rapid.SampledFrom(all).Draw(t, "key"))
		}
		if rapid.Bool().Draw(t, "ends") {
			r.Until = rapid.IntRange(1, ring.Partitions).Draw(t, "until")
		}
		end := redis.Cursor{Partition: cmp.Or(r.Until, ring.Partitions)}
		var looked []string
		for _, key := range all {
			if !before(at(key), r.From) && before(at(key), end) {
				looked = append(looked, key)
			}
		}
		found, err := n.Scan(t.Context(), r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, found.Seen, min(r.Count, len(looked)))
		require.Less(t, found.Seen, 2*r.Count)
		require.LessOrEqual(t, found.Seen, len(looked))
		var want []string
		for _, key := range looked[:found.Seen] {
			if strings.HasPrefix(key, strings.TrimSuffix(r.Match, "*")) {
				want = append(want, key)
			}
		}
		require.Equal(t, want, found.Keys)
		if before(end, r.From) {
			require.Equal(t, r.From, found.Next)
			return
		}
		require.False(t, before(end, found.Next), "no further than it was to go")
		if found.Seen > 0 {
			require.True(t, before(at(looked[found.Seen-1]), found.Next), "not again")
		}
		if found.Seen < len(looked) {
			require.False(t, before(at(looked[found.Seen]), found.Next), "not passed over")
		}
		if found.Seen < r.Count {
			require.Equal(t, end, found.Next, "it went on to the end")
		}
	})
}

// A scan that goes on from page to page sees each key once.
func TestScanToTheEnd(t *testing.T) {
	t.Parallel()
	n := alone(t)
	all := someKeys()
	for _, key := range all {
		n.put(t, key)
	}
	for _, count := range []int{7, 100, 5000} {
		r := redis.ScanRequest{Count: count}
		var keys []string
		for r.From.Partition < ring.Partitions {
			found, err := n.Scan(t.Context(), r)
			require.NoError(t, err)
			require.True(t, before(r.From, found.Next))
			keys, r.From = append(keys, found.Keys...), found.Next
		}
		require.Equal(t, all, keys, "%d at a time", count)
	}
}

// What a scan need not look at it does not ask for: it may be much, or be served
// by nobody.
func TestScanAsksNoFurtherThanItMust(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", setting{})
	n.leaseUntil(math.MaxInt64)
	p := ring.Partition("{much}")
	n.serve(p)
	for i := range 20 {
		n.put(t, fmt.Sprint("{much}", i))
	}
	found, err := n.Scan(t.Context(), redis.ScanRequest{From: redis.Cursor{Partition: p}, Count: 10})
	require.NoError(t, err)
	require.Equal(t, 10, found.Seen)
}

func TestScanByType(t *testing.T) {
	t.Parallel()
	n := alone(t)
	for _, words := range [][]string{{"SET", "text", "v"}, {"HSET", "hash", "f", "v"}} {
		_, err := n.do(t.Context(), words...)
		require.NoError(t, err)
	}
	found, err := n.Scan(t.Context(), redis.ScanRequest{Count: 10, Type: "hash"})
	require.NoError(t, err)
	require.Equal(t, []string{"hash"}, found.Keys)
	require.Equal(t, 2, found.Seen)
}

// Local asks nobody else: their partitions are as if they were empty.
func TestLocalSweepsAskNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, "a", setting{})
		v := n.see(t, membertest.Up("b", 1))
		n.serveOwn()
		var ours, theirs []string
		for _, key := range someKeys() {
			n.put(t, key)
			if v.Table.Owner(ring.Partition(key)) == "a" {
				ours = append(ours, key)
			} else {
				theirs = append(theirs, key)
			}
		}
		begin := time.Now()
		found, err := n.Scan(t.Context(), redis.ScanRequest{Count: 1 << 20, Local: true})
		require.NoError(t, err)
		require.Equal(t, ours, found.Keys)
		require.Equal(t, redis.Cursor{Partition: ring.Partitions}, found.Next)
		count, err := n.Count(t.Context(), true)
		require.NoError(t, err)
		require.Equal(t, len(ours), count)

		require.NoError(t, n.Flush(t.Context(), true))
		for _, key := range ours {
			require.False(t, n.has(key))
			require.NotNil(t, n.cfg.Store.Peek(key), "a delete leaves a tombstone")
		}
		for _, key := range theirs {
			require.True(t, n.has(key))
		}
		require.Less(t, time.Since(begin), time.Minute, "copies are waited for, and no other owner")

		// Without it they fail where an owner does not answer, before they have
		// asked all of its partitions.
		begin = time.Now()
		_, err = n.Scan(t.Context(), redis.ScanRequest{Count: 1 << 20})
		require.ErrorIs(t, err, session.ErrUnavailable)
		_, err = n.Count(t.Context(), false)
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorIs(t, n.Flush(t.Context(), false), session.ErrUnavailable)
		require.Less(t, time.Since(begin), 15*time.Second)
	})
}

// All keys are those of all members, wherever it is asked.
func TestSweepsAskTheOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := together(t, 2)
		a, b := nodes[0], nodes[1]
		all := someKeys()
		var ours int
		for _, key := range all {
			for _, n := range nodes {
				if n.mine(ring.Partition(key)) {
					n.put(t, key)
				}
			}
			if a.mine(ring.Partition(key)) {
				ours++
			}
		}
		require.NotZero(t, ours)
		for _, n := range nodes {
			found, err := n.Scan(t.Context(), redis.ScanRequest{Count: 1 << 20})
			require.NoError(t, err)
			require.Equal(t, all, found.Keys)
			count, err := n.Count(t.Context(), false)
			require.NoError(t, err)
			require.Equal(t, len(all), count)
		}
		count, err := a.Count(t.Context(), true)
		require.NoError(t, err)
		require.Equal(t, ours, count)
		require.NoError(t, b.Flush(t.Context(), false))
		for _, key := range all {
			require.False(t, a.has(key) || b.has(key))
		}
	})
}

// What is no count of a partition does not pass for an empty one.
func TestCountOfAnotherShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := together(t, 2)
		a, b := nodes[0], nodes[1]
		b.hear = func(r *peer.Request) {
			// Which is answered with one number.
			r.Payload = bytes.Replace(r.Payload, []byte(command.Count), []byte(command.Flush), 1)
		}
		count, err := a.Count(t.Context(), false)
		require.ErrorIs(t, err, session.ErrMalformed, "%d keys", count)
		_, err = a.Count(t.Context(), true)
		require.NoError(t, err, "nobody else is asked")
	})
}

// What does not say how many keys were deleted does not pass for a partition
// that was emptied.
func TestFlushOfAnotherShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := together(t, 2)
		a, b := nodes[0], nodes[1]
		b.hear = func(r *peer.Request) {
			// Which is answered with two numbers.
			r.Payload = bytes.Replace(r.Payload, []byte(command.Flush), []byte(command.Count), 1)
		}
		require.ErrorIs(t, a.Flush(t.Context(), false), session.ErrMalformed)
		require.NoError(t, a.Flush(t.Context(), true), "nobody else is asked")
	})
}

// A partition with more keys than one look deletes is looked at again.
func TestFlushOfAFullPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := alone(t)
		for i := range 2*command.FlushPage + 1 {
			n.put(t, fmt.Sprint("{much}", i))
		}
		count, err := n.Count(t.Context(), false)
		require.NoError(t, err)
		require.Equal(t, 2*command.FlushPage+1, count)
		require.NoError(t, n.Flush(t.Context(), false))
		count, err = n.Count(t.Context(), false)
		require.NoError(t, err)
		require.Zero(t, count)
	})
}
