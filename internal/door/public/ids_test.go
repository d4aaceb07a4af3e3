package public

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// bracedTag is the tag of a key, and whether it is in braces.
func bracedTag(key string) (tag string, braced bool) {
	tag = ring.Tag(key)
	return tag, len(tag) < len(key)
}

// A rotated session stays in its partition, so that both ids change under one
// lock, and with its user's other sessions.
func TestSamePartitionKeepsPartitionAndTag(t *testing.T) {
	key := rapid.OneOf(
		rapid.StringN(1, 40, 400),
		rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%s{%s}%s", rapid.StringN(0, 5, 20).Draw(t, "before"), rapid.StringN(0, 30, 90).Draw(t, "tag"), rapid.StringN(0, 30, 90).Draw(t, "after"))
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		old := key.Draw(t, "key")
		fresh := SamePartition(old)
		require.Equal(t, ring.Partition(old), ring.Partition(fresh))
		require.NotEqual(t, old, fresh)
		require.NotEqual(t, fresh, SamePartition(old), "ids are random")
		require.GreaterOrEqual(t, len(fresh), 26, "130 random bits")
		if tag, braced := bracedTag(old); braced {
			newTag, newBraced := bracedTag(fresh)
			require.Equal(t, tag, newTag)
			require.True(t, newBraced)
		}
	})
}

// The new id of a session whose tag is as long as a key may be must itself be
// one that can be used.
func TestSamePartitionOfALongTagIsNotTooLong(t *testing.T) {
	t.Parallel()
	old := "{" + strings.Repeat("u", 510) + "}"
	require.Equal(t, ring.Partition(old), ring.Partition(SamePartition(old)))
	require.LessOrEqual(t, len(SamePartition(old)), 512)
}

// A session made here is owned here, so that it needs no forward.
func TestNewIDIsOwnedHere(t *testing.T) {
	t.Parallel()
	view := viewOf(t, up("a"), up("b"), up("c"))
	ours := func(p int) bool { return view.Table.Owner(p) == "a" && p%2 == 0 }
	decide := func(p int) ownership.Decision {
		switch {
		case view.Table.Owner(p) != "a":
			return ownership.Decision{Verdict: ownership.Forward, Owner: membertest.ID(view.Table.Owner(p), 1)}
		default:
			return ownership.Decision{Verdict: ownership.Serve, Unverified: !ours(p)}
		}
	}
	seen := make(map[string]bool)
	for range 200 {
		id := NewID(decide)
		require.True(t, ours(ring.Partition(id)))
		require.Regexp(t, `^[A-Z2-7]{26}$`, id)
		require.False(t, seen[id])
		seen[id] = true
	}
	cold := func(int) ownership.Decision { return ownership.Decision{} }
	require.Len(t, NewID(cold), 26, "one that owns nothing makes ids all the same")
}
