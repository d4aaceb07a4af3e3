package ring

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// builder decides who holds each partition. It knows the members by their index
// in members. Placement must depend on the set of members alone; two things see
// to that: members is sorted, and no circle outlives the call that made it.
type builder struct {
	members []Member // in normal form, at least one
	params  Params
	sum     hash64
}

// plan is who holds each partition.
type plan struct {
	owners *placement
	// next has the first successors: for each partition its owner on the circle
	// without the owner that it has. nil if there is one member.
	next *placement
	// afar has the zone successors: for each partition its owner on the circle
	// without the whole zone of the owner that it has. nil if no zones count.
	afar *placement
}

// place reads one circle for the set of all members and for each set that lacks
// one member, or one zone.
func (b builder) place() plan {
	circle := newCircle(b.members, b.params, b.sum)
	all := plan{owners: circle.owners(func(int32) bool { return false })}
	if len(b.members) == 1 {
		return all
	}
	all.next = new(placement)
	for m := range int32(len(b.members)) {
		all.next.succeed(circle, all.owners, func(other int32) bool { return other == m })
	}
	if planted.Is(planted.ClosestN) {
		all.next = b.closest(all.owners)
	}
	if b.members[0].Zone != "" && !planted.Is(planted.SuccessorInZone) {
		all.afar = new(placement)
		for _, zone := range b.zones() {
			all.afar.succeed(circle, all.owners, func(other int32) bool { return b.members[other].Zone == zone })
		}
	}
	return all
}

// succeed takes down who owns the partitions of members that are gone.
func (successors *placement) succeed(c *circle, owners *placement, gone func(m int32) bool) {
	after := c.owners(gone)
	for p, owner := range owners {
		if gone(owner) {
			successors[p] = after[p]
		}
	}
}

// zones returns the zones of the members, each once.
func (b builder) zones() []string {
	var zones []string
	for _, m := range b.members {
		zones = append(zones, m.Zone)
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// closest is what planted.ClosestN takes for the first successors: the next
// member on a circle that has one point of each.
func (b builder) closest(owners *placement) *placement {
	order := make([]int32, len(b.members))
	for m := range order {
		order[m] = int32(m)
	}
	slices.SortFunc(order, func(x, y int32) int {
		return cmp.Compare(b.sum([]byte(b.members[x].Name)), b.sum([]byte(b.members[y].Name)))
	})
	var next placement
	for p, owner := range owners {
		next[p] = order[(slices.Index(order, owner)+1)%len(order)]
	}
	return &next
}

// further appends further members to the holders of partition p until there are
// n: those that rank highest in weighted rendezvous hashing (Thaler and
// Ravishankar 1998; Schindelhauer and Schomaker 2005), one of a zone that has no
// holder yet first. When a member goes, the rest keep their rank, so that most
// copies stay where they are.
func (b builder) further(p, n int, holders []int32) []int32 {
	if len(holders) >= n {
		return holders
	}
	type ranked struct {
		member int32
		cost   uint64 // the lowest comes first
		hash   uint64
	}
	ranking := make([]ranked, 0, len(b.members))
	var key []byte
	for m, member := range b.members {
		key = binary.BigEndian.AppendUint64(key[:0], uint64(p))
		key = append(key, member.Name...)
		hash := b.sum(key)
		ranking = append(ranking, ranked{int32(m), costOf(hash, member.Weight), hash})
	}
	slices.SortFunc(ranking, func(x, y ranked) int {
		return cmp.Or(cmp.Compare(x.cost, y.cost), cmp.Compare(y.hash, x.hash), cmp.Compare(x.member, y.member))
	})

	zoned := b.members[0].Zone != ""
	for _, anyZone := range []bool{!zoned, true} {
		for _, r := range ranking {
			holds := func(h int32) bool {
				return h == r.member || !anyZone && b.members[h].Zone == b.members[r.member].Zone
			}
			if len(holders) < n && !slices.ContainsFunc(holders, holds) {
				holders = append(holders, r.member)
			}
		}
	}
	return holders
}

// costOf is -log2(hash/2⁶⁴) divided by the weight, the cost by which weighted
// rendezvous hashing ranks, in units of 2⁻⁵⁸. Members of different processors
// must agree on every bit, which math.Log2 does not promise.
func costOf(hash uint64, weight int) uint64 {
	return (64<<logBits - log2(max(1, hash))) << (58 - logBits) / uint64(weight)
}

// logBits is how many bits of log2 are behind the point.
const logBits = 32

// log2 returns the binary logarithm of x > 0 in units of 2⁻³², rounded down. It
// squares a number from 1 to 2 again and again: each time that the square is 2
// or more, the next bit of the logarithm is 1.
func log2(x uint64) uint64 {
	whole := bits.Len64(x) - 1
	x <<= 63 - whole // from here on x is a fraction of 2⁶³
	log := uint64(whole)
	for range logBits {
		log <<= 1
		square, _ := bits.Mul64(x, x)
		if square >= 1<<63 {
			log |= 1
			x = square
		} else {
			x = square << 1
		}
	}
	return log
}
