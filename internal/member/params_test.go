package member

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// node is a ready node that has run since a time, by the parameters that it
// states, and whose operator wants others.
func node(name, boot string, states, wants ring.Params) *Member {
	return &Member{ID: ID{Name: name, Boot: boot}, Up: true, Meta: Meta{Role: RoleNode, State: StateReady, Params: states.String(), Wants: wants}}
}

var (
	before = ring.Params{VirtualNodes: 10, Load: 1.5, Copies: 2}
	three  = ring.Params{VirtualNodes: 10, Load: 1.5, Copies: 3}
	none   = ring.Params{}
)

func placed(t *testing.T, members ...*Member) *View {
	t.Helper()
	v, err := NewView(ID{Name: "me", Boot: "9"}, members, ring.Params{VirtualNodes: 7}, nil)
	require.NoError(t, err)
	return v
}

// The eldest ready node says by which parameters the ring is placed.
func TestRingIsPlacedByTheEldest(t *testing.T) {
	t.Parallel()
	require.Equal(t, 7, placed(t).Table.Params().VirtualNodes, "nobody says more")
	elder, younger := node("b", "1", before, none), node("a", "2", three, three)
	require.Equal(t, before, placed(t, younger, elder).Table.Params())
	require.Equal(t, 2, placed(t, younger, elder).Target())

	elder.State = StateLeaving
	require.Equal(t, three, placed(t, younger, elder).Table.Params(), "who leaves is not on the ring")
	elder.State, elder.Unfit = StateReady, true
	require.Equal(t, three, placed(t, younger, elder).Table.Params())
	elder.Unfit, elder.Params = false, "copies=none"
	require.Equal(t, 7, placed(t, younger, elder).Table.Params().VirtualNodes, "what cannot be read counts for nothing")

	same := placed(t, node("b", "1", before, none))
	again, err := NewView(ID{Name: "me", Boot: "9"}, []*Member{node("b", "1", before, none)}, none, same)
	require.NoError(t, err)
	require.Same(t, same.Table, again.Table, "what has not changed is not computed")
	changed, err := NewView(ID{Name: "me", Boot: "9"}, []*Member{node("b", "1", three, none)}, none, same)
	require.NoError(t, err)
	require.Equal(t, three, changed.Table.Params())
}

// A value changes once all want the same one.
func TestParametersChangeWhenAllWantThat(t *testing.T) {
	t.Parallel()
	agreed := func(wants ...ring.Params) ring.Params {
		var members []*Member
		for i, w := range wants {
			members = append(members, node(string(rune('a'+i)), "1", before, w))
		}
		return placed(t, members...).Agreed()
	}
	require.Equal(t, before, agreed(none, none))
	require.Equal(t, before, agreed(ring.Params{Copies: 3}, none), "one has not been asked yet")
	require.Equal(t, before, agreed(ring.Params{Copies: 3}, ring.Params{Copies: 4}))
	require.Equal(t, three, agreed(ring.Params{Copies: 3}, ring.Params{Copies: 3}))
	require.Equal(t, ring.Params{VirtualNodes: 10, Load: 1.2, Copies: 2}, agreed(ring.Params{Copies: 3, Load: 1.2}, ring.Params{Load: 1.2, VirtualNodes: 5}), "each by itself")

	joining := node("j", "2", before, none)
	joining.State = StateJoining
	older := node("o", "0", before, none)
	older.Older = WireParams - 1
	all := []*Member{node("a", "1", before, three), node("b", "1", before, three)}
	require.Equal(t, three, placed(t, append(all, joining)...).Agreed(), "it follows when it is ready")
	require.Equal(t, before, placed(t, append(all, older)...).Agreed(), "who cannot follow wants what it states")
	older.Role = RoleRouter
	require.Equal(t, before, placed(t, append(all, older)...).Agreed(), "a router as well: it sends users by its ring")
	older.Up = false
	require.Equal(t, three, placed(t, append(all, older)...).Agreed())
}

func TestCheckParamsNamesParameterAndBothValues(t *testing.T) {
	t.Parallel()
	ours := ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}
	for _, c := range []struct {
		theirs ring.Params
		want   string
	}{
		{ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 3}, "copies=2 here, copies=3 at b"},
		{ring.Params{VirtualNodes: 50, Load: 1.25, Copies: 2}, "vnodes=100 here, vnodes=50 at b"},
		{ring.Params{VirtualNodes: 100, Load: 1.5, Copies: 2}, "load=1.25 here, load=1.5 at b"},
	} {
		require.NoError(t, CheckParams(ours.String(), c.theirs.String(), "b", false), "one follows the other")
		err := CheckParams(ours.String(), c.theirs.String(), "b", true)
		require.ErrorContains(t, err, c.want)
		require.True(t, IsMismatch(err), "a join that fails with it is not tried again")
	}
	require.NoError(t, CheckParams(ours.String(), ours.String(), "b", true))
	require.ErrorContains(t, CheckParams(ours.String(), ours.String()+" new=1", "b", true), "parameters differ")
	require.ErrorContains(t, CheckParams(ours.String(), "partitions=8 vnodes=100", "b", false), "partitions=1024 here, partitions=8 at b")
	for _, older := range []bool{false, true} {
		require.ErrorContains(t, CheckParams(ours.String(), "", "b", older), "parameters differ")
	}
}
