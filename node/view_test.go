package node

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

// A view depends on the facts and not on the order in which they came.
func TestViewDependsOnTheSetOfMembersOnly(t *testing.T) {
	params := ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}
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
		one, err := newView(self, members, params, nil)
		require.NoError(t, err)
		two, err := newView(self, shuffled, params, nil)
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
			if m.serves() {
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

func TestCopyHoldersAreTheOtherHoldersBoots(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	v := n.see(t, up("b", 3), up("c", 2))
	boots := map[string]string{"b": id("b", 3).String(), "c": id("c", 2).String()}
	for p := range ring.Partitions {
		var want []string
		for _, name := range v.Table.Holders(p) {
			if name != "a" {
				want = append(want, boots[name])
			}
		}
		require.Equal(t, want, v.copyHolders(p), "partition %d", p)
	}
}

// The table is taken over where the names are the same: what compares tables
// by pointer must see a restart as no change of placement, and still send
// copies to the new boot.
func TestRestartKeepsTheTableAndMovesTheCopies(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	old := n.see(t, up("b", 1))
	before := up("b", 1)
	before.Up = false
	v := n.see(t, before, up("b", 2))
	require.Same(t, old.Table, v.Table)
	require.Equal(t, []string{id("b", 2).String()}, v.copyHolders(0))
	require.NotSame(t, v.Table, n.see(t).Table)
}

// That a peer has a member's address makes nothing of what it says true: a
// member's host runs other programs too.
func TestAddressesOfMembersAreNotTrusted(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.Trust = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} })
	b := up("b", 1)
	b.Gossip, b.HTTP = "127.0.0.1:84", "10.9.9.1:80"
	n.see(t, b)
	for peer, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false, "127.0.0.1": false, "10.9.9.1": false,
	} {
		require.Equal(t, want, n.trusts(netip.MustParseAddr(peer)), peer)
	}
	n = still(t, "a")
	require.True(t, n.trusts(netip.MustParseAddr("127.0.0.1")), "the default")
}

// unheard is a network on which gossip finds nobody.
type unheard struct{ hostNetwork }

func (unheard) Gossip(string) (memberlist.Transport, error) {
	var network memberlist.MockNetwork
	return network.NewTransport("alone"), nil
}

// gossiping is a still member that has a gossip in which the test speaks.
func gossiping(t *testing.T, name string) *Node {
	t.Helper()
	n := still(t, name, func(c *Config) { c.Network, c.Gossip, c.VirtualNodes, c.Load = unheard{}, "127.0.0.1:1", 5, 1.5 })
	own := Meta{Role: RoleNode, State: StateReady, Params: n.cfg.ringParams().String()}
	var err error
	n.gossip, err = startGossip(n.cfg, n.id, own, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(n.gossip.shutdown)
	n.members.gossip = n.gossip
	return n
}

func (n *Node) hear(id ID, alive, left bool) {
	n.gossip.mu.Lock()
	defer n.gossip.mu.Unlock()
	n.gossip.heard[id.String()] = heard{ID: id, Meta: Meta{Role: RoleNode, State: StateReady}, Alive: alive, Left: left, Since: time.Now()}
}

// One boot of each name takes part at most: the newest that gossip knows as
// alive and whose address has not refused a connection.
func TestNewestBootThatIsNotGoneTakesPart(t *testing.T) {
	n := gossiping(t, "a")
	rapid.Check(t, func(t *rapid.T) {
		clear(n.gossip.heard)
		clear(n.members.gone)
		want := map[string]int{"a": 1}
		type fact struct{ alive, left, gone bool }
		facts := make(map[ID]fact)
		for _, name := range []string{"a", "b", "c"} {
			for boot := 1; boot <= 3; boot++ {
				if name == "a" && boot == 1 || rapid.Bool().Draw(t, "unknown") {
					continue
				}
				f := fact{rapid.Bool().Draw(t, "alive"), rapid.Bool().Draw(t, "left"), rapid.Bool().Draw(t, "gone")}
				facts[id(name, boot)] = f
				n.hear(id(name, boot), f.alive, f.left)
				if f.gone {
					n.members.gone[id(name, boot)] = "refused"
				}
				if name != "a" && f.alive && !f.gone {
					want[name] = boot
				}
			}
		}
		v, err := newView(n.id, n.members.collect(), n.cfg.ringParams(), n.View())
		require.NoError(t, err)
		for _, name := range []string{"a", "b", "c"} {
			if want[name] == 0 {
				require.Nil(t, v.Named(name))
				continue
			}
			require.Equal(t, id(name, want[name]), v.Named(name).ID)
		}
		for id, f := range facts {
			m := v.Member(id)
			require.Equal(t, f.gone || !f.alive, m.Gone, "%s", id)
			require.Equal(t, f.gone, m.Refused)
			require.Equal(t, f.left && !f.alive, m.Left)
			require.Equal(t, want[id.Name] == boot(id), m.Up, "%s", id)
		}
	})
}

func boot(id ID) (n int) {
	_, _ = fmt.Sscanf(id.Boot[:12], "%x", &n)
	return n
}

// States only go forward, whichever way the news takes.
func TestNewerStateCounts(t *testing.T) {
	t.Parallel()
	n := gossiping(t, "a")
	b := id("b", 1)
	n.hear(b, true, false)
	see := func() State {
		n.members.update()
		return n.View().Member(b).State
	}
	require.Equal(t, StateReady, see())
	n.members.setTold(b, StateJoining)
	require.Equal(t, StateReady, see())
	n.members.setTold(b, StateLeaving)
	require.Equal(t, StateLeaving, see())
	require.Empty(t, n.View().copyHolders(0), "a leaving node owns nothing")

	n.gossip.mu.Lock()
	delete(n.gossip.heard, b.String())
	n.gossip.mu.Unlock()
	n.members.setGone(b, "refused")
	n.members.update()
	require.Empty(t, n.members.told, "what gossip has forgotten is forgotten here")
	require.Empty(t, n.members.gone)
	n.cancel(nil)
	n.group.Wait()
}

// The order of the map in which gossip is kept is random; views must not be.
func TestSnapshotOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	n := gossiping(t, "a")
	for i := range 20 {
		n.hear(id(fmt.Sprint("m", i%7), rand.IntN(9)+1), i%3 != 0, false)
	}
	first, err := newView(n.id, n.members.collect(), n.cfg.ringParams(), nil)
	require.NoError(t, err)
	for range 5 {
		again, err := newView(n.id, n.members.collect(), n.cfg.ringParams(), nil)
		require.NoError(t, err)
		require.Equal(t, first.Members, again.Members)
		require.Equal(t, first.Table.Fingerprint(), again.Table.Fingerprint())
	}
}

// hasEnded speaks of processes: a member that gossip merely holds for dead may
// be frozen, and come back.
func TestHasEnded(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	frozen, refused, left, old := up("b", 1), up("c", 1), up("d", 1), up("e", 1)
	for _, m := range []*Member{frozen, refused, left, old} {
		m.Up = false
	}
	frozen.Gone, refused.Gone, refused.Refused, left.Gone, left.Left = true, true, true, true, true
	n.see(t, frozen, refused, left, old, up("e", 2), up("f", 1))
	for id, want := range map[ID]bool{
		frozen.ID: false, refused.ID: true, left.ID: true, old.ID: true, id("e", 2): false, id("f", 1): false, id("unknown", 1): true,
	} {
		require.Equal(t, want, n.hasEnded(id), "%s", id)
	}
	require.True(t, n.ended(frozen.ID))
	require.False(t, n.ended(id("f", 1)))
}
