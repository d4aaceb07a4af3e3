package repair

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Sessions do not grow where another holder has no room, as its heartbeat says,
// and do again when it has, or is not one of the holders any more.
func TestAFullHolder(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a", 0), membertest.Up("b", 1)
	n.openAll()
	v := n.see(t, b, membertest.Up("c", 1))
	key := func(with bool) string {
		for i := range 1000 {
			k := string(rune('a'+i%26)) + string(rune('a'+i/26))
			holds := false
			for _, id := range v.CopyHolders(ring.Partition(k)) {
				holds = holds || id == b.ID.String()
			}
			if holds == with {
				return k
			}
		}
		t.Fatal("no such key")
		return ""
	}
	mine, other := key(true), key(false)
	put := func(key string) error {
		_, err := n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: key, Revive: true, Fields: []session.Field{{Name: "f", Value: "1"}}})
		return err
	}
	say := func(full bool) {
		require.Equal(t, []byte{0}, n.RoomSection().Ask())
		said := map[bool][]byte{false: {0}, true: {1}}[full]
		_, err := n.RoomSection().Asked(b.ID, said)
		require.NoError(t, err)
	}
	say(true)
	require.ErrorIs(t, put(mine), session.ErrFull)
	require.NoError(t, put(other))
	say(false)
	require.NoError(t, put(mine))
	say(true)
	require.NoError(t, put(mine), "it grows no further")
	_, err := n.cfg.Store.Do(&session.Op{Kind: session.Delete, Key: mine})
	require.NoError(t, err)
	require.ErrorIs(t, put(mine), session.ErrFull)
	n.see(t, membertest.Up("c", 1))
	require.NoError(t, put(mine))
}

// A node tells others that it is full.
func TestTheHeartbeatSaysWhetherThereIsRoom(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", 2000)
	n.openAll()
	full := func() bool {
		return n.RoomSection().Ask()[0] == 1
	}
	require.False(t, full())
	_, err := n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: "k", Fields: []session.Field{{Name: "f", Value: string(make([]byte, 1750))}}})
	require.NoError(t, err)
	require.True(t, full())
	told := n.TellFull(-FullAgain)
	require.GreaterOrEqual(t, told, time.Duration(0))
	require.Equal(t, told, n.TellFull(told), "it is not said again at once")
	_, err = n.cfg.Store.Do(&session.Op{Kind: session.Delete, Key: "k"})
	require.NoError(t, err)
	require.False(t, full())
	require.Equal(t, -FullAgain, n.TellFull(-FullAgain))
}

// What is heard late, of a member that is gone for good, is not kept.
func TestFullMembersAreForgottenWithTheView(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a", 0), membertest.Up("b", 1)
	n.see(t, b)
	_, err := n.RoomSection().Asked(b.ID, []byte{1})
	require.NoError(t, err)
	require.Contains(t, n.room.full, b.ID)
	n.see(t)
	require.Empty(t, n.room.full)
}
