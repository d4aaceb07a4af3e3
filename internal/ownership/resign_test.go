package ownership

import (
	"testing"

	"github.com/stretchr/testify/require"
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
