package node

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// That a peer has a member's address makes nothing of what it says true: a
// member's host runs other programs too.
func TestAddressesOfMembersAreNotTrusted(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.Trust = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} })
	b := membertest.Up("b", 1)
	b.Gossip, b.HTTP = "127.0.0.1:84", "10.9.9.1:80"
	n.see(t, b)
	for peer, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false, "127.0.0.1": false, "10.9.9.1": false,
	} {
		require.Equal(t, want, n.endpoint.Finder().Trust(netip.MustParseAddr(peer)), peer)
	}
	n = still(t, "a")
	require.True(t, n.endpoint.Finder().Trust(netip.MustParseAddr("127.0.0.1")), "the default")
}

// It is asked in every request.
func TestTrustAllocatesNothing(t *testing.T) {
	trust := still(t, "a").endpoint.Finder().Trust
	peer := netip.MustParseAddr("127.0.0.1")
	require.True(t, trust(peer))
	require.Zero(t, testing.AllocsPerRun(100, func() { trust(peer) }))
}

// Nobody waits for the copies of a member that died.
func TestNothingIsOwedToTheDead(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	ctx, die := context.WithCancel(context.Background())
	defer die()
	bob, err := Start(ctx, loopbackConfig("bob", ada))
	require.NoError(t, err)
	agree(t, ada, bob)
	owed := func() int {
		ada.replicator.Mark([]string{bob.id.String()}, "alice") // passed over where nothing is shipped to bob
		n, _ := ada.replicator.LagOf(bob.id.String())
		return n
	}
	put(t, ada, "alice", "a session to ship")
	eventually(t, "a copy is owed to bob", func() bool { return owed() > 0 })
	die()
	<-bob.Done()
	eventually(t, "nothing is owed to bob", func() bool { return owed() == 0 })
}
