package ring_test

import (
	"testing"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

// library is another implementation of the circle, which knows no weights. It
// placed the partitions of v0.2.0.
type library struct{ *consistent.Consistent }

type named string

func (n named) String() string { return string(n) }

type xxhash64 struct{}

func (xxhash64) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

func newLibrary(p ring.Params, names ...string) library {
	var members []consistent.Member
	for _, name := range names {
		members = append(members, named(name))
	}
	return library{consistent.New(members, consistent.Config{
		Hasher: xxhash64{}, PartitionCount: ring.Partitions, ReplicationFactor: p.VirtualNodes, Load: p.Load,
	})}
}

func (l library) owners() (owners [ring.Partitions]string) {
	for p := range owners {
		owners[p] = l.GetPartitionOwner(p).String()
	}
	return owners
}

// successors are the owners on the circles that lack one member each. Taking a
// member out and putting it back is what the library does fastest.
func (l library) successors() (next [ring.Partitions]string) {
	owners := l.owners()
	for _, m := range l.GetMembers() {
		l.Remove(m.String())
		after := l.owners()
		l.Add(m)
		for p, owner := range owners {
			if owner == m.String() {
				next[p] = after[p]
			}
		}
	}
	return next
}

func TestMembersOfOneWeightArePlacedAsTheLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := memberSets(2, 10).Draw(t, "members")
		table := build(t, someParams().Draw(t, "params"), members...)
		other := newLibrary(table.Params(), members...)
		owners, next := other.owners(), other.successors()
		for p := range ring.Partitions {
			if table.Owner(p) != owners[p] || table.FirstSuccessor(p) != next[p] {
				t.Fatalf("partition %d: owner %q, first successor %q; the library: %q, %q", p, table.Owner(p), table.FirstSuccessor(p), owners[p], next[p])
			}
		}
	})
}
