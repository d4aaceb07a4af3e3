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

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

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
		require.Equal(t, want, v.CopyHolders(p), "partition %d", p)
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
	require.Equal(t, []string{id("b", 2).String()}, v.CopyHolders(0))
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
		v, err := member.NewView(n.id, n.members.collect(), n.cfg.ringParams(), n.View())
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
	require.Empty(t, n.View().CopyHolders(0), "a leaving node owns nothing")

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
	first, err := member.NewView(n.id, n.members.collect(), n.cfg.ringParams(), nil)
	require.NoError(t, err)
	for range 5 {
		again, err := member.NewView(n.id, n.members.collect(), n.cfg.ringParams(), nil)
		require.NoError(t, err)
		require.Equal(t, first.Members, again.Members)
		require.Equal(t, first.Table.Fingerprint(), again.Table.Fingerprint())
	}
}
