package ownership

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// A member that has lost its place closes what it serves, claims nothing any
// more although the ring names it, and takes nothing back.
func TestResignedMemberServesNothing(t *testing.T) {
	b, c := id("b", 1), still("a")
	c.SetView(c.now, viewOf(c.self, cluster("ab")...))
	var mine []int
	for p := range c.parts {
		if c.view.Table.Owner(p) == "a" {
			c.Set(p, Warm, Claim{1, c.self}, false)
			mine = append(mine, p)
		}
	}
	yielded := mine[0]
	_, todo := c.Judge(c.now, b, Request{Epoch: 2, Ring: c.view.Table.Fingerprint(), Parts: []int{yielded}})
	require.Equal(t, []int{yielded}, todo.Close)
	require.Equal(t, mine[1:], c.Resign().Close)
	for p := range c.parts {
		require.Equal(t, Away, c.gate.Phase(p))
	}
	require.Empty(t, c.Core.GivenUp(c.now, b, Over{Epoch: 2, Parts: []int{yielded}}).Open, "it is on no ring")
	require.False(t, c.IsMissing())
	todo, complete := c.Core.Round(c.now)
	require.True(t, complete)
	require.Nil(t, todo.Claim)

	c.Resume()
	require.True(t, c.IsMissing())
	newer := up("a", 2)
	older := up("a", 1)
	older.Up = false
	c.SetView(c.now, viewOf(c.self, older, newer, up("b", 1)))
	require.False(t, c.IsMissing(), "the ring means the newer boot of its name")
}

// A member is in touch while at least half of the cluster answers it.
func TestInTouch(t *testing.T) {
	c := still("a")
	require.True(t, c.InTouch(c.now), "there is nobody else")
	c.SetView(c.now, viewOf(c.self, cluster("abcd")...))
	require.False(t, c.InTouch(c.now))
	c.Ponged(c.now, c.now, id("b", 1), "", nil, false)
	require.True(t, c.InTouch(c.now), "two of four")
	c.SetView(c.now, viewOf(c.self, up("a", 1), up("b", 1), dead("c", 1), dead("d", 1)))
	require.True(t, c.InTouch(c.now))
	c.pass(LeaseTime)
	require.False(t, c.InTouch(c.now), "one of four, though the view has two")
}

// What is served unverified is claimed anew when all who may have a copy can be
// asked, once.
func TestUnverifiedIsClaimedAnew(t *testing.T) {
	b, d := id("b", 1), id("d", 1)
	c := still("a")
	whole := viewOf(c.self, up("a", 1), up("b", 1), up("d", 1))
	away := up("d", 1)
	away.Up = false
	c.SetView(c.now, whole)
	c.SetView(c.now, viewOf(c.self, up("a", 1), up("b", 1), away))
	var mine []int
	for p := range c.parts {
		if whole.Table.Owner(p) == "a" {
			mine = append(mine, p)
		}
	}
	one, fetched, sure := mine[0], mine[1], mine[2]
	c.Set(one, Warm, Claim{1, c.self}, true)
	c.Set(fetched, Fetching, Claim{1, c.self}, true)
	c.parts[fetched].unreached = true
	c.Set(sure, Warm, Claim{1, c.self}, false)
	answer := func(who member.ID) { c.Ponged(c.now, c.now, who, "", nil, true) }
	answer(b)
	require.Empty(t, c.ClaimAnew(c.now), "d may be alive")
	c.SetView(c.now, whole)
	require.Empty(t, c.ClaimAnew(c.now), "d has not answered yet")
	answer(d)
	e := []Missing{{ID: id("e", 1), Since: c.now}}
	c.SetMissing(c.now, e)
	require.Empty(t, c.ClaimAnew(c.now), "e may be alive, which the others say")
	c.SetMissing(c.now, append(e[:0], Missing{ID: id("d", 1), Since: c.now}, Missing{ID: c.self, Since: c.now}, Missing{ID: id("f", 1), Since: c.now - missingFor}))
	require.Equal(t, Todo{Close: []int{one}, Round: true}, c.ClaimAnew(c.now))
	require.Equal(t, Away, c.gate.Phase(one))
	require.True(t, c.IsMissing())
	c.Set(one, Warm, Claim{2, c.self}, true)
	require.Empty(t, c.ClaimAnew(c.now), "it has been tried")
}
