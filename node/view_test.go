package node

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

func TestCopyHoldersAreTheOtherHoldersBoots(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	v := n.see(t, membertest.Up("b", 3), membertest.Up("c", 2))
	boots := map[string]string{"b": membertest.ID("b", 3).String(), "c": membertest.ID("c", 2).String()}
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
	old := n.see(t, membertest.Up("b", 1))
	before := membertest.Up("b", 1)
	before.Up = false
	v := n.see(t, before, membertest.Up("b", 2))
	require.Same(t, old.Table, v.Table)
	require.Equal(t, []string{membertest.ID("b", 2).String()}, v.CopyHolders(0))
	require.NotSame(t, v.Table, n.see(t).Table)
}

// That a peer has a member's address makes nothing of what it says true: a
// member's host runs other programs too.
func TestAddressesOfMembersAreNotTrusted(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.Trust = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} })
	b := membertest.Up("b", 1)
	b.Gossip, b.HTTP = "127.0.0.1:84", "10.9.9.1:80"
	n.see(t, b)
	require.NoError(t, n.makePublic(""))
	for peer, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false, "127.0.0.1": false, "10.9.9.1": false,
	} {
		require.Equal(t, want, n.finder.Trust(netip.MustParseAddr(peer)), peer)
	}
	n = still(t, "a")
	require.NoError(t, n.makePublic(""))
	require.True(t, n.finder.Trust(netip.MustParseAddr("127.0.0.1")), "the default")
}
