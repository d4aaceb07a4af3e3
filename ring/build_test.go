package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

// poorHash has so few values that points of the circle meet, which with 64
// bits no test would live to see.
func poorHash(b []byte) uint64 { return xxhash.Sum64(b) & 0xfff }

func TestSuccessorsAreRightThoughPointsCollide(t *testing.T) {
	for _, n := range []int{2, 3, 6} {
		var members []Member
		for i := range n {
			members = append(members, Member{Name: fmt.Sprint("n", i), Weight: 50 + 50*i, Zone: fmt.Sprint("z", i%3)})
		}
		place := func(without func(Member) bool) (rest []Member, p plan) {
			rest = slices.DeleteFunc(slices.Clone(members), without)
			return rest, builder{rest, Params{}.withDefaults(), poorHash}.place()
		}
		_, before := place(func(Member) bool { return false })
		for m := range members {
			check := func(successors *placement, without func(Member) bool) {
				require.NotNil(t, successors)
				rest, after := place(without)
				for p := range Partitions {
					if before.owners[p] == int32(m) {
						require.Equal(t, rest[after.owners[p]], members[successors[p]], "partition %d without %v", p, members[m])
					}
				}
			}
			check(before.next, func(other Member) bool { return other.Name == members[m].Name })
			check(before.afar, func(other Member) bool { return other.Zone == members[m].Zone })
		}
	}
}

func TestPointsFollowTheWeight(t *testing.T) {
	for _, c := range []struct{ virtualNodes, weight, points int }{
		{400, 100, 400}, {400, 50, 200}, {400, 400, 1600}, {1000, 1000, 10_000},
		{1, 10, 1},  // one at least
		{1, 149, 1}, // to the nearest
		{1, 150, 2},
	} {
		require.Equal(t, c.points, pointsOf(Member{Weight: c.weight}, Params{VirtualNodes: c.virtualNodes}), "%+v", c)
	}
}

func TestLog2IsThatOfMath(t *testing.T) {
	for _, x := range []uint64{1, 2, 3, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64, 12_345_678_901_234_567} {
		require.InDelta(t, math.Log2(float64(x)), float64(log2(x))/(1<<logBits), 1e-9, "%d", x)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		x, y := r.Uint64(), r.Uint64()
		require.InDelta(t, math.Log2(float64(x)), float64(log2(x))/(1<<logBits), 1e-9, "%d", x)
		require.Equal(t, x < y, log2(x) < log2(y), "%d, %d", x, y)
	}
}
