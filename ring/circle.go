package ring

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
)

// circle is the hash circle of a set of members: consistent hashing with
// bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016). Each member has
// points on it, as many as its weight and Params.VirtualNodes say. A partition
// goes to the first point at or behind its own hash whose member has room:
// Params.Load times its share of the partitions by weight, rounded up. The
// partitions take their turns in the order of their numbers.
//
// The circle is built once and read for many sets of members: owners leaves out
// those that are gone. What it then says is what the circle of the rest would
// say, for the points of the rest are in the same order on both.
//
// Where all weights are 100, each partition goes where
// github.com/buraksezer/consistent v1.0.0 with xxhash places it.
type circle struct {
	members []Member // by name
	load    float64
	points  []int32           // the member of each point, in the order of the points' hashes
	first   [Partitions]int32 // the first point at or behind each partition's hash
}

// hash64 is xxhash.Sum64; tests put in a poor hash instead.
type hash64 func([]byte) uint64

// placement is the index of one member for each partition.
type placement [Partitions]int32

func newCircle(members []Member, p Params, sum hash64) *circle {
	type point struct {
		hash   uint64
		member int32
	}
	c := &circle{members: members, load: p.Load}
	var points []point
	var key []byte
	for m, member := range members {
		// The index comes first, then a colon: a name that ends in digits
		// cannot be taken for another name and its index.
		for i := range pointsOf(member, p) {
			key = append(strconv.AppendInt(key[:0], int64(i), 10), ':')
			key = append(key, member.Name...)
			points = append(points, point{sum(key), int32(m)})
		}
	}
	// Points of one hash are in the order of their names, which does not change
	// with who else is there.
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.member, b.member))
	})
	c.points = make([]int32, len(points))
	for i, point := range points {
		c.points[i] = point.member
	}
	for part := range c.first {
		key = binary.LittleEndian.AppendUint64(key[:0], uint64(part))
		i, _ := slices.BinarySearchFunc(points, sum(key), func(p point, hash uint64) int { return cmp.Compare(p.hash, hash) })
		c.first[part] = int32(i % len(points))
	}
	return c
}

// pointsOf is the number of points of a member: its weight of VirtualNodes,
// rounded to the nearest, one at least.
func pointsOf(m Member, p Params) int {
	return max(1, (p.VirtualNodes*m.Weight+DefaultWeight/2)/DefaultWeight)
}

// owners returns the owner of each partition where the members that gone names
// are not there, of which some must be left. There is room for all partitions,
// for Load is at least 1 and each member's room is rounded up.
func (c *circle) owners(gone func(m int32) bool) *placement {
	room := c.room(gone)
	var owners placement
	for part := range owners {
		i := int(c.first[part])
		for room[c.points[i]] == 0 {
			if i++; i == len(c.points) {
				i = 0
			}
		}
		owners[part] = c.points[i]
		room[c.points[i]]--
	}
	return &owners
}

// room is how many partitions each member may own, by its index: none if it is
// gone. The order of the operations is part of the wire format: floats round.
func (c *circle) room(gone func(m int32) bool) []int {
	total := 0
	for i, m := range c.members {
		if !gone(int32(i)) {
			total += m.Weight
		}
	}
	room := make([]int, len(c.members))
	for i, m := range c.members {
		if !gone(int32(i)) {
			share := float64(Partitions*m.Weight) / float64(total)
			room[i] = int(min(Partitions, math.Ceil(share*c.load)))
		}
	}
	return room
}
