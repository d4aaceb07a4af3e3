package member

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

// id is the given boot of a member: a later one has the larger number.
func id(name string, boot int) ID { return ID{name, fmt.Sprintf("%012x%08x", boot, 7)} }

// up is a ready node as another one sees it.
func up(name string, boot int) *Member {
	return &Member{ID: id(name, boot), Meta: Meta{Role: RoleNode, State: StateReady, HTTP: name + ":80", Peer: name + ":83"}, Gossip: "10.0.0.1:84", Up: true}
}

var params = ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}

// A view depends on the facts and not on the order in which they came.
func TestViewDependsOnTheSetOfMembersOnly(t *testing.T) {
	self := id("a", 1)
	state := rapid.SampledFrom([]State{StateJoining, StateReady, StateReady, StateLeaving})
	rapid.Check(t, func(t *rapid.T) {
		var members []*Member
		for i := range rapid.IntRange(1, 4).Draw(t, "names") {
			name := string(rune('a' + i))
			boots := rapid.IntRange(1, 3).Draw(t, "boots")
			takesPart := rapid.IntRange(1, 4).Draw(t, "up")
			for boot := 1; boot <= boots; boot++ {
				m := up(name, boot)
				m.Up, m.State = boot == takesPart, state.Draw(t, "state")
				m.Role = rapid.SampledFrom([]Role{RoleNode, RoleNode, RoleNode, RoleRouter}).Draw(t, "role")
				m.HTTP = rapid.SampledFrom([]string{"x:1", "x:2", "x:3"}).Draw(t, "http")
				members = append(members, m)
			}
		}
		shuffled := rapid.Permutation(members).Draw(t, "order")
		one, err := NewView(self, members, params, nil)
		require.NoError(t, err)
		two, err := NewView(self, shuffled, params, nil)
		require.NoError(t, err)
		require.Equal(t, one.Members, two.Members)
		require.Equal(t, one.nodes, two.nodes)
		require.Equal(t, one.lost, two.lost)
		require.Equal(t, one.copies, two.copies)
		require.Equal(t, one.Table.Fingerprint(), two.Table.Fingerprint())

		upAt, elsewhere := map[string]bool{}, map[string]bool{}
		var serving []string
		for _, m := range members {
			require.Same(t, m, one.Member(m.ID))
			if m.Up {
				require.Same(t, m, one.Named(m.Name))
				upAt[m.HTTP] = true
			} else {
				elsewhere[m.HTTP] = true
			}
			if m.Serves() {
				serving = append(serving, m.Name)
			}
		}
		require.Equal(t, one.Table.Members(), serving, "the ring has the nodes that are up and ready, and no others")
		for address := range elsewhere {
			require.Equal(t, !upAt[address], one.lost[address], "%s is lost unless a member that is up has it", address)
		}
		require.Len(t, one.Nodes(), len(serving))
	})
}

// HasEnded speaks of processes: a member that gossip merely holds for dead may
// be frozen, and come back.
func TestHasEnded(t *testing.T) {
	t.Parallel()
	frozen, refused, left, old := up("b", 1), up("c", 1), up("d", 1), up("e", 1)
	for _, m := range []*Member{frozen, refused, left, old} {
		m.Up = false
	}
	frozen.Gone, refused.Gone, refused.Ended, left.Gone, left.Left = true, true, true, true, true
	v, err := NewView(id("a", 1), []*Member{up("a", 1), frozen, refused, left, old, up("e", 2), up("f", 1)}, params, nil)
	require.NoError(t, err)
	for id, want := range map[ID]bool{
		frozen.ID: false, refused.ID: true, left.ID: true, old.ID: true, id("e", 2): false, id("f", 1): false, id("unknown", 1): true,
	} {
		require.Equal(t, want, v.HasEnded(id), "%s", id)
	}
	require.False(t, v.Up(frozen.ID))
	require.True(t, v.Up(id("f", 1)))
}

// seen is the view of a, which has seen the last one before.
func seen(t *testing.T, last *View, others ...*Member) *View {
	t.Helper()
	v, err := NewView(id("a", 1), append([]*Member{up("a", 1)}, others...), params, last)
	require.NoError(t, err)
	return v
}

func TestCopyHoldersAreTheOtherHoldersBoots(t *testing.T) {
	t.Parallel()
	v := seen(t, nil, up("b", 3), up("c", 2))
	boots := map[string]string{"b": id("b", 3).String(), "c": id("c", 2).String()}
	for p := range ring.Partitions {
		var want []string
		for _, name := range v.Table.Holders(p) {
			if name != "a" {
				want = append(want, boots[name])
			}
		}
		require.Equal(t, want, v.CopyHolders(p), "partition %d", p)
	}
}

// The table is taken over where the names are the same: what compares tables
// by pointer must see a restart as no change of placement, and still send
// copies to the new boot.
func TestRestartKeepsTheTableAndMovesTheCopies(t *testing.T) {
	t.Parallel()
	old := seen(t, nil, up("b", 1))
	before := up("b", 1)
	before.Up = false
	v := seen(t, old, before, up("b", 2))
	require.Same(t, old.Table, v.Table)
	require.Equal(t, []string{id("b", 2).String()}, v.CopyHolders(0))
	require.NotSame(t, v.Table, seen(t, v).Table)
}

func viewOf(t *testing.T, last *View, members ...*Member) *View {
	v, err := NewView(members[0].ID, members, params, last)
	require.NoError(t, err)
	return v
}

// Who knows nothing of weights and zones would build another ring, so they
// count only where everybody who takes part knows: a router too, and a member
// that is still joining.
func TestWeightsAndZonesCountOnceEveryMemberKnowsOfThem(t *testing.T) {
	stated := func() []*Member {
		a, b, c := up("a", 1), up("b", 1), up("c", 1)
		a.Weight, a.Zone, b.Zone, c.Zone = 300, "x", "x", "y"
		return []*Member{a, b, c}
	}
	plain := viewOf(t, nil, up("a", 1), up("b", 1), up("c", 1))
	counted := viewOf(t, nil, stated()...)
	require.False(t, counted.Uniform)
	require.Greater(t, counted.Table.Owned("a"), plain.Table.Owned("a")+100)
	for p := range ring.Partitions {
		require.Contains(t, counted.Table.Holders(p), "c", "the only one of its zone")
	}

	for what, change := range map[string]func(old *Member){
		"a node": func(*Member) {}, "a router": func(old *Member) { old.Role = RoleRouter },
		"one that joins": func(old *Member) { old.State = StateJoining }, "one that leaves": func(old *Member) { old.State = StateLeaving },
	} {
		old := up("d", 1)
		old.Older = WirePlacement - 1
		change(old)
		v := viewOf(t, counted, append(stated(), old)...)
		require.True(t, v.Uniform, what)
		if !old.Serves() {
			require.Equal(t, plain.Table.Fingerprint(), v.Table.Fingerprint(), what)
			require.Equal(t, plain.Table, v.Table, what)
		}

		old.Up = false
		v = viewOf(t, v, append(stated(), old)...)
		require.False(t, v.Uniform, "%s that has gone", what)
		require.Equal(t, counted.Table.Fingerprint(), v.Table.Fingerprint(), what)
	}
}

// What counts for nothing makes no new table: others take a new one for a
// change of the ring.
func TestTheTableIsKeptWhileItsMembersStateTheSame(t *testing.T) {
	a, b := up("a", 1), up("b", 1)
	first := viewOf(t, nil, a, b)
	again := up("b", 2) // a new boot that states a zone, which a does not
	again.Zone, again.Weight = "x", 100
	b.Up = false
	second := viewOf(t, first, a, b, again)
	require.Same(t, first.Table, second.Table)

	heavy := up("b", 3)
	heavy.Weight = 200
	again.Up = false
	require.NotSame(t, first.Table, viewOf(t, second, a, b, again, heavy).Table)
}
