package dispatch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// Who vanished without having ended may come back, until its place is taken or
// what it could bring has ended by itself.
func TestAbsent(t *testing.T) {
	t.Parallel()
	self := membertest.ID("a", 1)
	n := begin(t, "a")
	view := func(members ...*member.Member) *member.View { return n.see(t, members...) }
	gone := func(m *member.Member, how func(*member.Member)) *member.Member {
		copied := *m
		copied.Up = false
		how(&copied)
		return &copied
	}
	silent := func(m *member.Member) { m.Gone = true }
	vanish := func(how func(*member.Member)) *absent {
		var a absent
		b := membertest.Up("b", 1)
		with, last := view(b), view(gone(b, how))
		a.viewChanged(with, last, self, time.Second)
		require.False(t, a.any(), "the view has it")
		a.viewChanged(last, view(), self, 2*time.Second)
		return &a
	}
	require.True(t, vanish(silent).any())
	require.False(t, vanish(func(m *member.Member) { m.Ended = true }).any(), "its process has ended")
	require.False(t, vanish(func(m *member.Member) { m.Left = true }).any(), "it said good-bye")
	router := vanish(func(m *member.Member) { m.Gone, m.Role = true, member.RoleRouter })
	require.False(t, router.any(), "it holds nothing")

	for name, back := range map[string]*member.View{"itself": view(membertest.Up("b", 1)), "a newer boot": view(membertest.Up("b", 2))} {
		a := vanish(silent)
		a.viewChanged(view(), back, self, 3*time.Second)
		require.False(t, a.any(), name)
	}
	a := vanish(silent)
	a.viewChanged(view(), view(membertest.Up("c", 1)), self, keepAbsent)
	require.True(t, a.any())
	a.viewChanged(view(), view(), self, keepAbsent+3*time.Second)
	require.False(t, a.any(), "what it has is too old to be taken")
}
