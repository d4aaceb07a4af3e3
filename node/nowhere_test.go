package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Who vanished without having ended may come back, until its place is taken or
// what it could bring has ended by itself.
func TestAbsent(t *testing.T) {
	t.Parallel()
	self := id("a", 1)
	n := still(t, "a")
	view := func(members ...*Member) *View { return n.see(t, members...) }
	gone := func(m *Member, how func(*Member)) *Member {
		copied := *m
		copied.Up = false
		how(&copied)
		return &copied
	}
	silent := func(m *Member) { m.Gone = true }
	vanish := func(how func(*Member)) *absent {
		var a absent
		b := up("b", 1)
		with, last := view(b), view(gone(b, how))
		a.viewChanged(with, last, self, time.Second)
		require.False(t, a.any(), "the view has it")
		a.viewChanged(last, view(), self, 2*time.Second)
		return &a
	}
	require.True(t, vanish(silent).any())
	require.False(t, vanish(func(m *Member) { m.Refused = true }).any(), "its process has ended")
	require.False(t, vanish(func(m *Member) { m.Left = true }).any(), "it said good-bye")
	router := vanish(func(m *Member) { m.Gone, m.Role = true, RoleRouter })
	require.False(t, router.any(), "it holds nothing")

	for name, back := range map[string]*View{"itself": view(up("b", 1)), "a newer boot": view(up("b", 2))} {
		a := vanish(silent)
		a.viewChanged(view(), back, self, 3*time.Second)
		require.False(t, a.any(), name)
	}
	a := vanish(silent)
	a.viewChanged(view(), view(up("c", 1)), self, keepAbsent)
	require.True(t, a.any())
	a.viewChanged(view(), view(), self, keepAbsent+3*time.Second)
	require.False(t, a.any(), "what it has is too old to be taken")
}

// Sessions do not grow where another holder has no room, as its heartbeat says,
// and do again when it has, or is not one of the holders any more.
func TestAFullHolder(t *testing.T) {
	t.Parallel()
	n := serving(t)
	b := up("b", 1)
	v := n.see(t, b, up("c", 1))
	l := n.link(b)
	key := func(with bool) string {
		for i := range 1000 {
			k := string(rune('a'+i%26)) + string(rune('a'+i/26))
			holds := false
			for _, id := range v.CopyHolders(partitionOf(line("GET " + k).Batch)) {
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
		_, err := n.store.Do(&session.Op{Kind: session.Put, Key: key, Revive: true, Fields: []session.Field{{Name: "f", Value: "1"}}})
		return err
	}
	say := func(full bool) {
		require.Equal(t, []byte{0}, n.roomSection().Ask(l.ID()))
		said := map[bool][]byte{false: {0}, true: {1}}[full]
		_, err := n.roomSection().Asked(l.ID(), said)
		require.NoError(t, err)
	}
	say(true)
	require.ErrorIs(t, put(mine), session.ErrFull)
	require.NoError(t, put(other))
	say(false)
	require.NoError(t, put(mine))
	say(true)
	require.NoError(t, put(mine), "it grows no further")
	_, err := n.store.Do(&session.Op{Kind: session.Delete, Key: mine})
	require.NoError(t, err)
	require.ErrorIs(t, put(mine), session.ErrFull)
	n.see(t, up("c", 1))
	n.setCrowded()
	require.NoError(t, put(mine))
}

// A node tells others that it is full.
func TestTheHeartbeatSaysWhetherThereIsRoom(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.MemoryLimit = 2300 })
	for p := range ring.Partitions {
		n.store.Open(p)
	}
	full := func() bool {
		return n.roomSection().Ask(n.id)[0] == 1
	}
	require.False(t, full())
	_, err := n.store.Do(&session.Op{Kind: session.Put, Key: "k", Fields: []session.Field{{Name: "f", Value: string(make([]byte, 1750))}}})
	require.NoError(t, err)
	require.True(t, full())
	require.True(t, n.operator.Stats().Full)
	told := n.tellFull(-fullAgain)
	require.GreaterOrEqual(t, told, time.Duration(0))
	require.Equal(t, told, n.tellFull(told), "it is not said again at once")
	_, err = n.store.Do(&session.Op{Kind: session.Delete, Key: "k"})
	require.NoError(t, err)
	require.False(t, full())
	require.Equal(t, -fullAgain, n.tellFull(-fullAgain))
}
