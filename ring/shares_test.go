package ring_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// The tables of docs/PERFORMANCE.md are printed by
//
//	go test ./ring -run Shares -v -sets 300
var sets = flag.Int("sets", 20, "how many sets of random names the tests of shares look at, for each row")

// spread is what rows of random names have in common: the least, the mean and
// the most of one figure.
type spread struct {
	least, sum, most float64
	n                int
}

func (s *spread) add(x float64) {
	if s.n == 0 {
		s.least, s.most = x, x
	}
	s.least, s.most = min(s.least, x), max(s.most, x)
	s.sum += x
	s.n++
}

func (s *spread) mean() float64 { return s.sum / float64(s.n) }

// randomNames draws names as hosts have them, of one cluster.
func randomNames(r *rand.Rand, n int) (names []string) {
	prefix := fmt.Sprintf("%x-", r.Uint32())
	for range n {
		names = append(names, fmt.Sprint(prefix, r.Uint32()))
	}
	return names
}

// shares returns how many partitions each member owns, as a multiple of its
// share by weight, and holds, as a multiple of the mean of all.
func shares(table *ring.Table, members []ring.Member) (owned, held []float64) {
	holds := make(map[string]float64)
	copies, weights := 0.0, 0.0
	for p := range ring.Partitions {
		for _, name := range table.Holders(p) {
			holds[name]++
			copies++
		}
	}
	for _, m := range members {
		weights += weightOf(m)
	}
	for _, m := range members {
		share := weightOf(m) / weights
		owned = append(owned, float64(table.Owned(m.Name))/(share*ring.Partitions))
		held = append(held, holds[m.Name]/(share*copies))
	}
	return owned, held
}

// weightOf is 1 for a member that states none.
func weightOf(m ring.Member) float64 {
	if m.Weight == 0 {
		return 1
	}
	return float64(m.Weight) / 100
}

// rounded is the most that a member of one of n equal shares may own, as a
// multiple of the mean: partitions are whole.
func rounded(n int, load float64) float64 {
	mean := ring.Partitions / float64(n)
	return math.Ceil(mean*load) / mean
}

// Members of one weight. The fullest is bounded by the load. The leanest is
// bounded by nothing but chance: over 1,000 sets of names the least was 0.80 of
// the mean with 3 members, 0.63 with 10 and 0.51 with 20.
func TestSharesOfMembersOfOneWeight(t *testing.T) {
	leastAllowed := map[int]float64{3: 0.75, 4: 0.70, 5: 0.65, 6: 0.60, 7: 0.60, 8: 0.60, 9: 0.55, 10: 0.55, 20: 0.45}
	for _, p := range []ring.Params{{VirtualNodes: 100, Load: 1.25}, {}} {
		t.Logf("load and points of %s", build(t, p).Params())
		t.Logf("| nodes | fullest, of the mean | leanest | held: fullest | leanest | a leave moves of others | a join |")
		for _, n := range []int{3, 4, 5, 6, 7, 8, 9, 10, 20} {
			var fullest, leanest, most, least, leave, join spread
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range *sets {
				names := randomNames(r, n)
				var members []ring.Member
				for _, name := range names {
					members = append(members, ring.Member{Name: name})
				}
				table := build(t, p, names...)
				owned, held := shares(table, members)
				fullest.add(slices.Max(owned))
				leanest.add(slices.Min(owned))
				most.add(slices.Max(held))
				least.add(slices.Min(held))
				fewer := build(t, p, names[1:]...)
				leave.add(movedOfOthers(table, fewer, names[0]))
				join.add(movedToOthers(fewer, table, names[0]))
			}
			t.Logf("| %d | %.2f to %.2f | %.2f to %.2f | %.2f | %.2f | %.2f %%, %.2f %% at most | %.2f %%, %.2f %% |", n, fullest.least, fullest.most,
				leanest.most, leanest.least, most.most, least.least, 100*leave.mean(), 100*leave.most, 100*join.mean(), 100*join.most)
			if p == (ring.Params{}) {
				require.LessOrEqual(t, fullest.most, rounded(n, 1.10)+1e-9, "%d members", n)
				require.GreaterOrEqual(t, leanest.least, leastAllowed[n], "%d members", n)
				require.LessOrEqual(t, leave.most, 0.10, "%d members", n)
				require.LessOrEqual(t, join.most, 0.10, "%d members", n)
			}
		}
	}
}

// movedToOthers returns which part of all partitions has another owner after a
// join who is not the one that joined.
func movedToOthers(before, after *ring.Table, joined string) float64 {
	moved := 0
	for p := range ring.Partitions {
		if owner := after.Owner(p); owner != joined && owner != before.Owner(p) {
			moved++
		}
	}
	return float64(moved) / ring.Partitions
}

// Members of different weights, each against its own share.
func TestSharesByWeight(t *testing.T) {
	t.Logf("| weights | fullest, of its share | leanest | held: fullest | leanest | a leave moves of others |")
	for _, weights := range [][]int{{100, 100, 50}, {100, 100, 200}, {100, 100, 100, 400}, {50, 100, 200, 400}, {100, 100, 100, 100, 100, 200}, {100, 100, 100, 100, 200, 200, 200, 200}} {
		var fullest, leanest, most, least, leave spread
		r := rand.New(rand.NewPCG(2, uint64(len(weights))))
		for set := range *sets {
			var members []ring.Member
			for i, name := range randomNames(r, len(weights)) {
				members = append(members, ring.Member{Name: name, Weight: weights[i]})
			}
			table := buildOf(t, ring.Params{}, members)
			owned, held := shares(table, members)
			fullest.add(slices.Max(owned))
			leanest.add(slices.Min(owned))
			most.add(slices.Max(held))
			least.add(slices.Min(held))
			i := set % len(members)
			gone := members[i].Name
			leave.add(movedOfOthers(table, buildOf(t, ring.Params{}, slices.Delete(members, i, i+1)), gone))
		}
		t.Logf("| %s | %.2f | %.2f | %.2f | %.2f | %.2f %%, %.2f %% at most |", texts(weights, func(w int) string { return fmt.Sprint(float64(w) / 100) }),
			fullest.most, leanest.least, most.most, least.least, 100*leave.mean(), 100*leave.most)
		require.LessOrEqual(t, fullest.most, 1.12, "%v", weights)
		require.GreaterOrEqual(t, leanest.least, 0.45, "%v", weights)
		require.LessOrEqual(t, leave.most, 0.10, "%v", weights)
	}
}

func texts[T any](list []T, text func(T) string) string {
	var all []string
	for _, x := range list {
		all = append(all, text(x))
	}
	return strings.Join(all, ", ")
}

// Two and three zones. What nodes own does not depend on zones; what they hold
// does: the members of a small zone hold the copies of a large one.
func TestSharesByZone(t *testing.T) {
	t.Logf("| nodes in each zone | copies | held: fullest, of the mean | leanest | held by a node of the last zone | without zones: in one zone |")
	for _, sizes := range [][]int{{1, 1}, {2, 1}, {2, 2}, {3, 2}, {4, 2}, {5, 5}, {9, 1}, {1, 1, 1}, {2, 1, 1}, {2, 2, 2}, {3, 2, 1}, {3, 3, 3}, {6, 3, 1}} {
		var copies, fullest, leanest, last, same spread
		r := rand.New(rand.NewPCG(3, uint64(len(sizes))))
		for range *sets {
			var members, plain []ring.Member
			for zone, n := range sizes {
				for _, name := range randomNames(r, n) {
					members = append(members, ring.Member{Name: name, Zone: fmt.Sprint("zone-", zone)})
					plain = append(plain, ring.Member{Name: name})
				}
			}
			table, unzoned, zones := buildOf(t, ring.Params{}, members), buildOf(t, ring.Params{}, plain), zonesOf(members)
			all, oneZone := 0, 0
			for p := range ring.Partitions {
				all += len(table.Holders(p))
				if len(zonesUsed(zones, unzoned.Holders(p))) == 1 {
					oneZone++
				}
				require.Equal(t, unzoned.Owner(p), table.Owner(p))
			}
			copies.add(float64(all) / ring.Partitions)
			same.add(float64(oneZone) / ring.Partitions)
			_, held := shares(table, members)
			fullest.add(slices.Max(held))
			leanest.add(slices.Min(held))
			last.add(slices.Max(held[len(held)-sizes[len(sizes)-1]:]))
		}
		t.Logf("| %s | %.2f | %.2f | %.2f | %.2f | %.0f %% |", texts(sizes, func(n int) string { return fmt.Sprint(n) }), copies.mean(), fullest.most,
			leanest.least, last.most, 100*same.mean())
		// The third copies are those whose two would lie in one zone, and hardly
		// any more.
		require.InDelta(t, 2+same.mean(), copies.mean(), 0.01, "%v", sizes)
	}
}
