package ownership

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// What an owner is not sure of is known to the others as long as it says so, and
// as long as it is the owner.
func TestDoubtsAreHeard(t *testing.T) {
	t.Parallel()
	a, b := still("a"), still("b")
	require.Nil(t, a.Doubts())
	for _, p := range []int{0, 9, ring.Partitions - 1} {
		a.Set(p, Warm, Claim{3, a.self}, true)
		b.Set(p, Away, Claim{3, a.self}, false)
	}
	a.Set(10, Warm, Claim{3, a.self}, false)
	a.Set(11, Away, Claim{3, b.self}, true)
	b.Set(9, Away, Claim{4, id("c", 1)}, false)
	bits := a.Doubts()
	require.Len(t, bits, ring.Partitions/8)
	doubted := func() (ps []int) {
		for p := range b.parts {
			if b.parts[p].isDoubted() {
				ps = append(ps, p)
			}
		}
		return ps
	}
	require.NoError(t, b.HearDoubts(a.self, bits))
	require.Equal(t, []int{0, ring.Partitions - 1}, doubted(), "9 is c's by now")
	require.NoError(t, b.HearDoubts(id("c", 1), nil))
	require.Equal(t, []int{0, ring.Partitions - 1}, doubted(), "c says nothing of them")
	b.Set(0, Away, Claim{5, a.self}, false)
	require.Equal(t, []int{ring.Partitions - 1}, doubted(), "a has claimed it anew")
	require.NoError(t, b.HearDoubts(a.self, nil))
	require.Empty(t, doubted())

	require.ErrorContains(t, b.HearDoubts(a.self, bits[1:]), "127 bytes of doubts, none or 128 are accepted")
}
