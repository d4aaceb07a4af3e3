package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

func TestTagOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, tag string
		braced   bool
	}{
		{"alice", "alice", false}, {"{alice}", "alice", true}, {"{alice}:laptop", "alice", true}, {"x{alice}y{bob}", "alice", true},
		{"{}alice", "{}alice", false}, {"{alice", "{alice", false}, {"", "", false},
	} {
		tag, braced := tagOf(c.key)
		require.Equal(t, c.tag, tag, c.key)
		require.Equal(t, c.braced, braced, c.key)
	}
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
		fresh := samePartition(old)
		require.Equal(t, ring.Partition(old), ring.Partition(fresh))
		require.NotEqual(t, old, fresh)
		require.NotEqual(t, fresh, samePartition(old), "ids are random")
		require.GreaterOrEqual(t, len(fresh), 26, "130 random bits")
		if tag, braced := tagOf(old); braced {
			newTag, newBraced := tagOf(fresh)
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
	require.Equal(t, ring.Partition(old), ring.Partition(samePartition(old)))
	require.LessOrEqual(t, len(samePartition(old)), 512)
}

// A session made here is owned here, so that it needs no forward.
func TestNewSessionIDIsOwnedHere(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	v := n.see(t, up("b", 1), up("c", 1))
	for p := range ring.Partitions {
		if v.Table.Owner(p) == "a" {
			n.stand(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.id})
		}
	}
	seen := make(map[string]bool)
	for range 200 {
		id := n.newSessionID()
		require.Equal(t, ownership.Warm, n.owner.Gate().Phase(ring.Partition(id)))
		require.Regexp(t, `^[A-Z2-7]{26}$`, id)
		require.False(t, seen[id])
		seen[id] = true
	}
	require.Len(t, still(t, "cold").newSessionID(), 26, "one that owns nothing makes ids all the same")
}
