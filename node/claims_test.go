package node

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

// fewClaims draws from so few epochs, names and boots that equal ones are common.
var fewClaims = rapid.Custom(func(t *rapid.T) claimRef {
	return claimRef{rapid.Uint64Range(1, 3).Draw(t, "epoch"), id(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.IntRange(1, 2).Draw(t, "boot"))}
})

// Two members that know the same claims must agree on which is in force, so
// newer must be a total order.
func TestClaimOrderIsTotal(t *testing.T) {
	claim := rapid.OneOf(rapid.Just(claimRef{}), fewClaims, anyClaimRef)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := claim.Draw(t, "a"), claim.Draw(t, "b"), claim.Draw(t, "c")
		require.False(t, a.newer(a))
		if a != b {
			require.NotEqual(t, a.newer(b), b.newer(a), "exactly one goes before the other")
		}
		if a.newer(b) && b.newer(c) {
			require.True(t, a.newer(c))
		}
		if a.epoch > b.epoch {
			require.True(t, a.newer(b), "the epoch counts before the name")
		}
	})
}

// claimsHash as it is from scratch.
func hashOf(o *ownership) (h uint64) {
	for p := range o.parts {
		h ^= o.parts[p].holder.hash(p)
	}
	return h
}

func TestClaimHashTellsClaimsApart(t *testing.T) {
	require.Zero(t, claimRef{}.hash(5), "no claim adds nothing")
	rapid.Check(t, func(t *rapid.T) {
		a, b := fewClaims.Draw(t, "a"), fewClaims.Draw(t, "b")
		p, q := anyPartition.Draw(t, "p"), anyPartition.Draw(t, "q")
		require.Equal(t, a == b && p == q, a.hash(p) == b.hash(q))
	})
}

func exchange(t require.TestingT, from, to *ownership) {
	table, err := decodeClaims(from.encodeClaims())
	require.NoError(t, err)
	to.mergeClaims(from.node.id.Name, &table)
}

// Members that exchange tables in any order, any number of times, end with the
// newest claim of each partition everywhere, and with equal hashes only then.
func TestClaimsTablesConverge(t *testing.T) {
	nodes := []*Node{still(t, "a"), still(t, "b"), still(t, "c")}
	rapid.Check(t, func(t *rapid.T) {
		tables := make([]*ownership, len(nodes))
		want := make(map[int]claimRef)
		for i, n := range nodes {
			tables[i] = newOwnership(n)
			for p, c := range rapid.MapOfN(rapid.OneOf(rapid.IntRange(0, 5), anyPartition), fewClaims, 0, 10).Draw(t, "claims") {
				tables[i].setHolderLocked(p, c)
				if c.newer(want[p]) {
					want[p] = c
				}
			}
		}
		pick := rapid.IntRange(0, len(tables)-1)
		for range rapid.IntRange(0, 6).Draw(t, "exchanges") {
			exchange(t, tables[pick.Draw(t, "from")], tables[pick.Draw(t, "to")])
		}
		for range 2 { // everybody has heard of everything after the second round
			for i := range tables {
				exchange(t, tables[i], tables[(i+1)%len(tables)])
			}
		}
		highest := uint64(0)
		for _, c := range want {
			highest = max(highest, c.epoch)
		}
		for _, o := range tables {
			for p := range o.parts {
				part := &o.parts[p]
				if part.holder != want[p] || part.holder.newer(part.promised) {
					t.Fatalf("partition %d: %v is in force and %v agreed to at %s, want %v", p, part.holder, part.promised, o.node.id.Name, want[p])
				}
			}
			require.Equal(t, hashOf(o), o.claimsHash.Load())
			require.Equal(t, tables[0].claimsHash.Load(), o.claimsHash.Load())
			require.GreaterOrEqual(t, o.maxEpoch, highest, "the next claim made here goes before all known ones")
			before := o.encodeClaims()
			exchange(t, tables[0], o)
			require.Equal(t, before, o.encodeClaims(), "nothing new changes nothing")
		}
	})
}

func TestClaimsTableHoldsManyClaimants(t *testing.T) {
	t.Parallel()
	o, other := newOwnership(still(t, "a")), newOwnership(still(t, "b"))
	for p := range 254 {
		o.setHolderLocked(p, claimRef{uint64(p + 1), id("m", p)})
	}
	o.setHolderLocked(ring.Partitions-1, claimRef{1 << 30, id("last", 1)})
	exchange(t, o, other)
	require.Equal(t, o.claimsHash.Load(), other.claimsHash.Load())
	require.Equal(t, claimRef{1 << 30, id("last", 1)}, other.parts[ring.Partitions-1].holder)
}

// A member that was out of touch stops serving what was claimed meanwhile, at
// the moment that it hears of it, and keeps serving the rest.
func TestMergeClaimsGivesUpWhatWasClaimed(t *testing.T) {
	t.Parallel()
	n, other := still(t, "a"), newOwnership(still(t, "b"))
	for p := range 3 {
		n.owner.setHolderLocked(p, claimRef{5, n.id})
		n.owner.setPhaseLocked(p, warm)
		n.store.Open(p)
	}
	other.setHolderLocked(0, claimRef{6, other.node.id})
	other.setHolderLocked(1, claimRef{4, other.node.id})
	exchange(t, other, n.owner)

	require.Equal(t, away, n.owner.phaseOf(0))
	require.False(t, n.store.IsOpen(0))
	for p := 1; p <= 2; p++ {
		require.Equal(t, warm, n.owner.phaseOf(p))
		require.True(t, n.store.IsOpen(p))
	}
	require.EqualValues(t, 1, n.stats.succeeded.Load())
}

// One frame must not use up the epochs: what is far above all that is known
// raises what this member claims next by a step, and counts for nothing else.
func TestFarEpochsDoNotCount(t *testing.T) {
	t.Parallel()
	far := claimRef{math.MaxUint64, id("b", 1)}
	for name, hear := range map[string]func(t *testing.T, n *Node, fp string){
		"in a claim": func(t *testing.T, n *Node, fp string) {
			a := ask(t, n, far.by, far.epoch, fp, 3)
			require.Equal(t, claimEarly, a.status)
			require.Equal(t, n.owner.maxEpoch, a.epoch, "how far an epoch may be, so that an honest claimant knows")
		},
		"in a table": func(t *testing.T, n *Node, _ string) {
			var table [ring.Partitions]claimRef
			table[3], table[5] = far, claimRef{6, far.by}
			n.owner.mergeClaims("b", &table)
			require.Equal(t, claimRef{6, far.by}, n.owner.parts[5].holder, "the others of the table count")
		},
		"in a refusal": func(_ *testing.T, n *Node, _ string) {
			n.owner.refusedLocked(3, claimAnswer{status: claimEarly, epoch: far.epoch, claimant: far.by.String()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := still(t, "a")
			fp := n.see(t, up("b", 1)).Table.Fingerprint()
			n.serving(t, 3, 4)
			hear(t, n, fp)
			part := n.owner.parts[3]
			require.Equal(t, claimRef{4, n.id}, part.holder)
			require.Equal(t, claimRef{4, n.id}, part.promised)
			require.Equal(t, warm, part.phase)
			require.True(t, n.store.IsOpen(3))
			require.LessOrEqual(t, n.owner.maxEpoch, uint64(6+epochStep))
			require.EqualValues(t, 1, n.stats.farEpochs.Load())
		})
	}
}

// A member that has just started knows of no claim, and one that was cut off of
// none since; both find together with a cluster that has come far, however far.
func TestMembersWhoseEpochsAreFarApartFindTogether(t *testing.T) {
	t.Parallel()
	n, other := still(t, "a"), newOwnership(still(t, "b"))
	other.setHolderLocked(3, claimRef{1 << 31, other.node.id})
	exchange(t, other, n.owner)
	require.Equal(t, claimRef{1 << 31, other.node.id}, n.owner.parts[3].holder, "within a step at once")

	const steps = 5
	claim := claimRef{1<<31 + steps*epochStep, other.node.id}
	other.setHolderLocked(3, claim)
	for range steps - 1 {
		exchange(t, other, n.owner)
		require.NotEqual(t, claim, n.owner.parts[3].holder)
	}
	exchange(t, other, n.owner)
	require.Equal(t, claim, n.owner.parts[3].holder)
}
