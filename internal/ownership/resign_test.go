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
}
