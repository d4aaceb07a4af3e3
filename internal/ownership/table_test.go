package ownership

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

// fewClaims draws from so few epochs, names and boots that equal ones are
// common.
var fewClaims = rapid.Custom(func(t *rapid.T) Claim {
	return Claim{rapid.Uint64Range(1, 3).Draw(t, "epoch"), id(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.IntRange(1, 2).Draw(t, "boot"))}
})

// Two members that know the same claims must agree on which is in force, so
// Newer must be a total order.
func TestClaimOrderIsTotal(t *testing.T) {
	claim := rapid.OneOf(rapid.Just(Claim{}), fewClaims, anyClaim)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := claim.Draw(t, "a"), claim.Draw(t, "b"), claim.Draw(t, "c")
		require.False(t, a.Newer(a))
		if a != b {
			require.NotEqual(t, a.Newer(b), b.Newer(a), "exactly one goes before the other")
		}
		if a.Newer(b) && b.Newer(c) {
			require.True(t, a.Newer(c))
		}
		if a.Epoch > b.Epoch {
			require.True(t, a.Newer(b), "the epoch counts before the name")
		}
	})
}

// hashOf is the hash of the claims in force, computed from scratch.
func hashOf(c *Core) (h uint64) {
	for p := range c.parts {
		h ^= c.parts[p].holder.hash(p)
	}
	return h
}

func TestClaimHashTellsClaimsApart(t *testing.T) {
	require.Zero(t, Claim{}.hash(5), "no claim adds nothing")
	rapid.Check(t, func(t *rapid.T) {
		a, b := fewClaims.Draw(t, "a"), fewClaims.Draw(t, "b")
		p, q := anyPartition.Draw(t, "p"), anyPartition.Draw(t, "q")
		require.Equal(t, a == b && p == q, a.hash(p) == b.hash(q))
	})
}

// only is a table of one claim.
func only(p int, c Claim) *Table {
	t := new(Table)
	t[p] = c
	return t
}

// exchange gives to the claims that from knows, in the answer of a heartbeat.
func exchange(t require.TestingT, from, to *tried) Todo {
	table, err := DecodeTable(from.Claims().Encode())
	require.NoError(t, err)
	return to.do(to.Ponged(to.now, to.now, from.self, "", table, false))
}

// Members that exchange tables in any order, any number of times, end with the
// newest claim of each partition everywhere, and with equal hashes only then.
func TestClaimsTablesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := []*tried{still("a"), still("b"), still("c")}
		want := make(map[int]Claim)
		for _, n := range members {
			for p, c := range rapid.MapOfN(rapid.OneOf(rapid.IntRange(0, 5), anyPartition), fewClaims, 0, 10).Draw(t, "claims") {
				n.setHolder(p, c)
				if c.Newer(want[p]) {
					want[p] = c
				}
			}
		}
		pick := rapid.IntRange(0, len(members)-1)
		for range rapid.IntRange(0, 6).Draw(t, "exchanges") {
			exchange(t, members[pick.Draw(t, "from")], members[pick.Draw(t, "to")])
		}
		for range 2 { // all have heard of everything after the second round
			for i := range members {
				exchange(t, members[i], members[(i+1)%len(members)])
			}
		}
		highest := uint64(0)
		for _, c := range want {
			highest = max(highest, c.Epoch)
		}
		for _, n := range members {
			for p := range n.parts {
				part := &n.parts[p]
				if part.holder != want[p] || part.holder.Newer(part.promised) {
					t.Fatalf("partition %d: %v is in force and %v agreed to at %s, want %v", p, part.holder, part.promised, n.self.Name, want[p])
				}
			}
			require.Equal(t, hashOf(n.Core), n.gate.ClaimsHash())
			require.Equal(t, members[0].gate.ClaimsHash(), n.gate.ClaimsHash())
			require.GreaterOrEqual(t, n.maxEpoch, highest, "the next claim made here goes before all known ones")
			before := n.Claims()
			require.Equal(t, Todo{}, exchange(t, members[0], n), "nothing new, nothing to do")
			require.Equal(t, before, n.Claims())
		}
	})
}

func TestClaimsTableHoldsManyClaimants(t *testing.T) {
	t.Parallel()
	n, other := still("a"), still("b")
	for p := range 254 {
		n.setHolder(p, Claim{uint64(p + 1), id("m", p)})
	}
	n.setHolder(ring.Partitions-1, Claim{1 << 30, id("last", 1)})
	exchange(t, n, other)
	require.Equal(t, n.gate.ClaimsHash(), other.gate.ClaimsHash())
	require.Equal(t, Claim{1 << 30, id("last", 1)}, other.parts[ring.Partitions-1].holder)

	n.setHolder(254, Claim{255, id("m", 254)})
	table, err := DecodeTable(n.Claims().Encode())
	require.NoError(t, err)
	require.Equal(t, Claim{255, id("m", 254)}, table[254])
	require.Equal(t, Claim{}, table[ring.Partitions-1], "of the 256th claimant it merely does not tell")
}

// A member that was out of touch stops serving what was claimed meanwhile, at
// the moment that it hears of it, and keeps serving the rest.
func TestMergeClaimsGivesUpWhatWasClaimed(t *testing.T) {
	t.Parallel()
	n, other := still("a"), still("b")
	for p := range 3 {
		n.serving(p, 5)
	}
	n.fetching(3, 5, other.self)
	other.setHolder(0, Claim{6, other.self})
	other.setHolder(1, Claim{4, other.self})
	other.setHolder(3, Claim{6, other.self})
	other.setHolder(4, Claim{6, other.self}) // this one was never served here
	other.setHolder(5, Claim{6, n.self})     // nor was this one, though its claim was made here once
	n.serving(6, 5)
	other.setHolder(6, Claim{6, n.self}) // this one is served here, by whichever claim
	require.Equal(t, Todo{Close: []int{0, 3}, Succeeded: 2, Round: true}, exchange(t, other, n))

	for _, p := range []int{0, 3} {
		require.Equal(t, Away, n.gate.Phase(p))
		require.False(t, n.open[p])
	}
	for _, p := range []int{1, 2, 6} {
		require.Equal(t, Warm, n.gate.Phase(p))
		require.True(t, n.open[p])
	}
	require.Equal(t, other.parts[4].holder, n.parts[4].holder)
	require.Equal(t, other.parts[5].holder, n.parts[5].holder)
}

// One frame must not use up the epochs: what is far above all that is known
// raises what this member claims next by a step, and counts for nothing else.
func TestFarEpochsDoNotCount(t *testing.T) {
	t.Parallel()
	far := Claim{math.MaxUint64, id("b", 1)}
	for name, hear := range map[string]func(t *testing.T, n *tried) Todo{
		"in a claim": func(t *testing.T, n *tried) Todo {
			j, todo := n.judge(t, far.By, Request{far.Epoch, n.view.Table.Fingerprint(), nil, []int{3}})
			require.Empty(t, j.Unsummed())
			a, _ := n.answer(t, j)
			require.Equal(t, Early, a[0].Status)
			require.Equal(t, n.maxEpoch, a[0].Epoch, "how far an epoch may be, so that an honest claimant knows")
			return todo
		},
		"in a table": func(t *testing.T, n *tried) Todo {
			todo := n.do(n.Ponged(n.now, n.now, far.By, "", &Table{3: far, 5: {6, far.By}}, false))
			require.Equal(t, Claim{6, far.By}, n.parts[5].holder, "the others of the table count")
			return todo
		},
		"in a refusal": func(t *testing.T, n *tried) Todo {
			p := membertest.OwnedBy(t, n.view, "a")
			require.NotEqual(t, 3, p)
			todo := n.settle(n.begin(t, p), []Answer{{Status: Early, Epoch: far.Epoch, Claimant: far.By.String()}})
			require.Equal(t, Claim{}, n.parts[p].holder)
			return todo
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.see(up("b", 1))
			n.serving(3, 4)
			require.True(t, hear(t, n).FarEpoch)
			part := n.parts[3]
			require.Equal(t, Claim{4, n.self}, part.holder)
			require.Equal(t, Claim{4, n.self}, part.promised)
			require.Equal(t, Warm, part.phase)
			require.True(t, n.open[3])
			require.LessOrEqual(t, n.maxEpoch, uint64(6+epochStep))
		})
	}
}

// A member that has just started knows of no claim, and one that was cut off of
// none since; both find together with a cluster that has come far, however far.
func TestMembersWhoseEpochsAreFarApartFindTogether(t *testing.T) {
	t.Parallel()
	n, other := still("a"), still("b")
	other.setHolder(3, Claim{1 << 31, other.self})
	require.False(t, exchange(t, other, n).FarEpoch)
	require.Equal(t, Claim{1 << 31, other.self}, n.parts[3].holder, "within a step at once")

	const steps = 5
	claim := Claim{1<<31 + steps*epochStep, other.self}
	other.setHolder(3, claim)
	for range steps - 1 {
		require.True(t, exchange(t, other, n).FarEpoch)
		require.NotEqual(t, claim, n.parts[3].holder)
	}
	require.False(t, exchange(t, other, n).FarEpoch)
	require.Equal(t, claim, n.parts[3].holder)
}
