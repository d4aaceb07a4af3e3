package ring_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

func build(t require.TestingT, p ring.Params, members ...string) *ring.Table {
	table, err := ring.New(members, p)
	require.NoError(t, err)
	return table
}

// nodes returns the names node-1 to node-n.
func nodes(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i+1)
	}
	return names
}

// without returns a copy of members that lacks one of them.
func without(members []string, gone string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m == gone })
}

func TestNobodyOwnsAnythingInAnEmptyTable(t *testing.T) {
	table := build(t, ring.Params{})
	for p := range ring.Partitions {
		require.Empty(t, table.Owner(p))
		require.Empty(t, table.FirstSuccessor(p))
		require.Nil(t, table.Holders(p))
		require.Empty(t, table.Successors(p))
	}
	require.Empty(t, table.Members())
	require.False(t, table.Has(""))
	require.Zero(t, table.Owned(""))
	require.Len(t, table.Fingerprint(), 16)
}

func TestOneMemberOwnsEverythingAndHasNoSuccessor(t *testing.T) {
	table := build(t, ring.Params{Copies: 3}, "alone")
	for p := range ring.Partitions {
		require.Equal(t, "alone", table.Owner(p))
		require.Empty(t, table.FirstSuccessor(p))
		require.Equal(t, []string{"alone"}, table.Holders(p))
		require.Empty(t, table.Successors(p))
	}
	require.Equal(t, ring.Partitions, table.Owned("alone"))
	require.Zero(t, table.Owned("stranger"))
	require.True(t, table.Has("alone"))
	require.False(t, table.Has("stranger"))
}

func TestTheFirstSuccessorIsKnownWhateverTheNumberOfCopies(t *testing.T) {
	one := build(t, ring.Params{Copies: 1}, nodes(3)...)
	two := build(t, ring.Params{Copies: 2}, nodes(3)...)
	for p := range ring.Partitions {
		require.Empty(t, one.Successors(p))
		require.NotEmpty(t, one.FirstSuccessor(p))
		require.Equal(t, two.FirstSuccessor(p), one.FirstSuccessor(p))
	}
}

func TestMembersAreRefusedThatNoRingCanHold(t *testing.T) {
	_, err := ring.New([]string{"b", "a", "b"}, ring.Params{})
	require.EqualError(t, err, `build ring: member "b" given twice: each name is accepted once`)
	_, err = ring.New([]string{"a", ""}, ring.Params{})
	require.EqualError(t, err, `build ring: member "": a name of at least one byte is accepted`)
}

func TestParamsOutOfRangeAreRefused(t *testing.T) {
	for want, p := range map[string]ring.Params{
		"build ring: virtual nodes -1: 1 to 1000 are accepted":              {VirtualNodes: -1},
		"build ring: virtual nodes 1001: 1 to 1000 are accepted":            {VirtualNodes: 1001},
		"build ring: load 0.99: a finite number of at least 1 is accepted":  {Load: 0.99},
		"build ring: load -1.25: a finite number of at least 1 is accepted": {Load: -1.25},
		"build ring: load NaN: a finite number of at least 1 is accepted":   {Load: math.NaN()},
		"build ring: load +Inf: a finite number of at least 1 is accepted":  {Load: math.Inf(1)},
		"build ring: copies -1: at least 1 is accepted":                     {Copies: -1},
	} {
		_, err := ring.New(nodes(2), p)
		require.EqualError(t, err, want)
		_, err = ring.New(nil, p)
		require.EqualError(t, err, want, "an empty set is no excuse")
	}
}

func TestZeroParamsAreTheDefaults(t *testing.T) {
	defaults := ring.Params{VirtualNodes: 400, Load: 1.10, Copies: 2}
	require.Equal(t, "partitions=1024 vnodes=400 load=1.1 copies=2", ring.Params{}.String())
	require.Equal(t, ring.Params{}.String(), defaults.String())
	require.Equal(t, "partitions=1024 vnodes=7 load=2 copies=1", ring.Params{VirtualNodes: 7, Load: 2, Copies: 1}.String())
	require.Equal(t, defaults, build(t, ring.Params{}).Params())
	require.Equal(t, build(t, defaults, "a").Fingerprint(), build(t, ring.Params{}, "a").Fingerprint())
}

func TestTheCallersSliceStaysTheCallers(t *testing.T) {
	members := []string{"c", "a", "b"}
	table := build(t, ring.Params{}, members...)
	require.Equal(t, []string{"c", "a", "b"}, members)
	members[0] = "x"
	require.Equal(t, []string{"a", "b", "c"}, table.Members())
	require.False(t, table.Has("x"))
}

// A caller that appends to what it was given must not write over the holders
// of the next partition.
func TestAppendingToASharedSliceCopiesIt(t *testing.T) {
	table := build(t, ring.Params{}, nodes(3)...)
	next := slices.Clone(table.Holders(1))
	_ = append(table.Holders(0), "x")
	_ = append(table.Successors(0), "x")
	require.Equal(t, next, table.Holders(1))
}

func TestAPartitionOutOfRangeIsABugOfTheCaller(t *testing.T) {
	for _, table := range []*ring.Table{build(t, ring.Params{}), build(t, ring.Params{}, "a", "b")} {
		for _, p := range []int{-1, ring.Partitions} {
			require.Panics(t, func() { table.Owner(p) })
			require.Panics(t, func() { table.FirstSuccessor(p) })
			require.Panics(t, func() { table.Holders(p) })
			require.Panics(t, func() { table.Successors(p) })
		}
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	table := build(t, ring.Params{Copies: 3}, nodes(5)...)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		p := ring.Partition("{alice}:laptop")
		table.Owner(p)
		table.FirstSuccessor(p)
		table.Holders(p)
		table.Successors(p)
		table.Members()
		table.Has("node-1")
		table.Owned("node-1")
		table.Fingerprint()
	}))
}
