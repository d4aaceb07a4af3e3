package ring

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/buraksezer/consistent"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// builder places partitions on a set of members, which it knows by their index
// in names. Placement must depend on the set alone; two things see to that:
// names is sorted, and no ring outlives the call that made it.
type builder struct {
	names  []string // sorted, distinct, at least one
	params Params
	sum    func([]byte) uint64 // xxhash; tests put in a poor hash instead
}

// placement is the index of one member for each partition.
type placement [Partitions]int

// place returns the owner and the first successor of each partition. With one
// member there is no first successor, and next is nil.
func (b builder) place() (owners, next *placement) {
	hash := &watchedHash{sum: b.sum, watching: true}
	circle := b.circle(hash, noMember)
	owners = read(circle)
	if len(b.names) == 1 {
		return owners, nil
	}

	// The first successors: for each member, the owners on a circle without it.
	// Taking the member out and putting it back is what the library does
	// fastest, and leaves no trace, since each change places all partitions
	// anew. Only where two points have one hash does the circle remember which
	// member came last, and it panics when that member goes; then each circle
	// is built afresh.
	distinct := hash.distinct()
	next = new(placement)
	for m, name := range b.names {
		var without *placement
		if distinct {
			circle.Remove(name)
			without = read(circle)
			circle.Add(&point{name, m})
		} else {
			without = read(b.circle(hash, m))
		}
		for p, owner := range owners {
			if owner == m {
				next[p] = without[p]
			}
		}
	}
	if planted.Is(planted.ClosestN) {
		next = closest(circle)
	}
	return owners, next
}

// noMember is the index of no member.
const noMember = -1

// circle builds the library's ring of all members but the one left out.
func (b builder) circle(hash consistent.Hasher, leftOut int) *consistent.Consistent {
	points := make([]consistent.Member, 0, len(b.names))
	for i, name := range b.names {
		if i != leftOut {
			points = append(points, &point{name, i})
		}
	}
	return consistent.New(points, consistent.Config{
		Hasher:            hash,
		PartitionCount:    Partitions,
		ReplicationFactor: b.params.VirtualNodes,
		Load:              b.params.Load,
	})
}

// closest is what planted.ClosestN takes for the first successors.
func closest(circle *consistent.Consistent) *placement {
	var next placement
	for p := range next {
		two, err := circle.GetClosestNForPartition(p, 2)
		if err != nil {
			panic(err)
		}
		next[p] = two[1].(*point).index
	}
	return &next
}

// read returns the owner of each partition on a ring that is not empty.
func read(circle *consistent.Consistent) *placement {
	var owners placement
	for p := range owners {
		owners[p] = circle.GetPartitionOwner(p).(*point).index
	}
	return &owners
}

// followers returns the n members that rank highest for partition p, those
// taken left out: rendezvous hashing (Thaler and Ravishankar 1998). When a
// member goes, the rest keep their rank, so that most copies stay where they
// are.
func (b builder) followers(p, n int, taken ...int) []int {
	type ranked struct {
		member int
		weight uint64
	}
	ranking := make([]ranked, 0, len(b.names))
	var key []byte
	for m, name := range b.names {
		if slices.Contains(taken, m) {
			continue
		}
		key = binary.BigEndian.AppendUint64(key[:0], uint64(p))
		key = append(key, name...)
		ranking = append(ranking, ranked{m, b.sum(key)})
	}
	slices.SortFunc(ranking, func(x, y ranked) int {
		return cmp.Or(cmp.Compare(y.weight, x.weight), cmp.Compare(x.member, y.member))
	})

	best := make([]int, n)
	for i := range best {
		best[i] = ranking[i].member
	}
	return best
}

// point is a member as the library sees it; it carries the index along.
type point struct {
	name  string
	index int
}

func (p *point) String() string { return p.name }

// watchedHash is the hash that a circle uses. While watching it keeps what it
// gave out, to tell whether two points of the circle met. For 100 members of
// 100 points the chance is n²/2⁶⁵ = 3 in a million million, but names come
// from outside and can be chosen to collide.
type watchedHash struct {
	sum      func([]byte) uint64
	watching bool
	given    []uint64
}

// Sum64 implements consistent.Hasher.
func (h *watchedHash) Sum64(b []byte) uint64 {
	sum := h.sum(b)
	if h.watching {
		h.given = append(h.given, sum)
	}
	return sum
}

// distinct says whether all hashes given out so far differ, and ends the watch.
func (h *watchedHash) distinct() bool {
	slices.Sort(h.given)
	n := len(h.given)
	all := len(slices.Compact(h.given)) == n
	h.watching, h.given = false, nil
	return all
}
