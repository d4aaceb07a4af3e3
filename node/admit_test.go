package node

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

// identity is how a node introduces itself to others.
func (n *Node) identity() peer.Identity {
	who := n.meshConfig().Self
	who.Params = n.members.Params()
	return who
}

// call connects to n's peer port from an address of this host as who.
func call(t testing.TB, n *Node, from string, who peer.Identity) (*peer.Link, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := network.Host{}.Dial(network.WithSource(ctx, netip.MustParseAddr(from)), n.self().Peer)
	require.NoError(t, err)
	l, err := peer.Connect(ctx, conn, peer.Config{Self: func() peer.Identity { return who }})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

// turnedAway counts the connections that n has refused for a reason.
func (n *Node) turnedAway(why member.Refusal) int { return int(n.mesh.Refusals()[string(why)]) }

// Whoever is no member by name, boot and address is refused at the peer port,
// told nothing, and counted. Members get in, and go on.
func TestPeerPortTakesMembersAlone(t *testing.T) {
	t.Parallel()
	var log journal
	cfg := loopbackConfig("ada")
	logTo(&log)(&cfg)
	ada := begin(t, cfg)
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)

	stranger, otherBoot, elsewhere, router := bob.identity(), bob.identity(), bob.identity(), bob.identity()
	stranger.Name = "thief"
	otherBoot.Boot = "ffffffffffff00000000"
	router.Role = string(RoleRouter)
	self := ada.identity()
	cases := map[string]struct {
		who  peer.Identity
		from string
		why  member.Refusal
	}{
		"a stranger":                                {stranger, "127.0.0.1", member.Stranger},
		"another boot of a member":                  {otherBoot, "127.0.0.1", member.Stranger},
		"a member in another role":                  {router, "127.0.0.1", member.Stranger},
		"the member itself":                         {self, "127.0.0.1", member.Stranger},
		"a member's name from another address":      {elsewhere, "127.0.0.2", member.OtherAddress},
		"a stranger with a name of nobody's at all": {peer.Identity{Cluster: "guess"}, "127.0.0.1", member.Stranger},
	}
	for name, c := range cases {
		before := ada.turnedAway(c.why)
		_, err := call(t, ada, c.from, c.who)
		require.ErrorIs(t, err, peer.ErrRefused, name)
		var told *peer.RemoteError
		require.ErrorAs(t, err, &told, name)
		require.Equal(t, "not admitted", told.Text, name)
		eventually(t, "it is counted: "+name, func() bool { return ada.turnedAway(c.why) > before })
	}
	require.True(t, log.says("give it -peer with the address that it reaches others from"))
	differs := bob.identity()
	differs.Params = "copies=9"
	_, err := call(t, ada, "127.0.0.1", differs)
	require.ErrorContains(t, err, "copies=9 at bob", "a member hears what of it differs")
	eventually(t, "it is counted", func() bool { return ada.turnedAway("parameters") == 1 })

	conn, err := net.Dial("tcp", ada.self().Peer)
	require.NoError(t, err)
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	conn.Close()
	eventually(t, "it is counted", func() bool { return ada.turnedAway("greeting") == 1 })
	_, metrics := send(t, "GET", ada.office("/metrics"), "")
	require.Contains(t, metrics, `holdfast_peer_refused_total{reason="stranger"} `)
	require.Contains(t, metrics, `holdfast_peer_refused_total{reason="address"} 1`)

	l, err := call(t, ada, "127.0.0.1", bob.identity())
	require.NoError(t, err, "a member gets in")
	_, err = l.Call(t.Context(), mesh.TypeHolds, []byte("alice"))
	require.NoError(t, err)
	const perMember = 8 // connections that one may have
	for range perMember {
		_, err = call(t, ada, "127.0.0.1", bob.identity())
		require.NoError(t, err)
	}
	<-l.Done() // the oldest gives way

	agree(t, ada, bob)
	put(t, bob, "alice", "here")
}

// Silent strangers use up their own places and no member's.
func TestStrangersKeepNoMemberOut(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	agree(t, ada)
	const strangers = 64 // that may be about to say who they are
	eventually(t, "more are refused than have a place", func() bool {
		ctx := network.WithSource(t.Context(), netip.MustParseAddr("127.0.0.2"))
		for range 2 * strangers {
			conn, err := network.Host{}.Dial(ctx, ada.self().Peer)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
		}
		return ada.turnedAway("too-many") > 0
	})
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	require.Zero(t, bob.turnedAway("too-many"))
	eventually(t, "those that do not say who they are do not stay", func() bool { return ada.turnedAway("greeting") >= strangers })
}

// A frame over what its type needs is refused, and the connection goes on.
func TestFramesOfMembersAreBoundedByTheirType(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	l, err := call(t, ada, "127.0.0.1", bob.identity())
	require.NoError(t, err)
	for _, typ := range []byte{mesh.TypeBeat, mesh.TypeClaim, mesh.TypeHolds, mesh.TypeWait, mesh.TypeStats, mesh.TypeEvents, 0x11, 0x12, 0x13, 0x77} {
		_, err = l.Call(t.Context(), typ, make([]byte, 1<<20))
		require.ErrorContains(t, err, "1048576 bytes, want at most ", "type %#x", typ)
	}
	answer, err := l.Call(t.Context(), mesh.TypeHolds, []byte("alice"))
	require.NoError(t, err)
	require.Len(t, answer, 17)
	resp, _ := send(t, "GET", ada.office("/readyz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// Routers own nothing, so none claims.
func TestClaimOfARouterIsRefused(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	cfg := loopbackConfig("gate", ada)
	cfg.Role, cfg.Peer, cfg.Demo = RoleRouter, "", false
	router := begin(t, cfg)
	eventually(t, "the router is known", func() bool { return ada.View().Named("gate") != nil })
	l, err := call(t, ada, "127.0.0.1", router.identity())
	require.NoError(t, err)
	_, err = l.Call(t.Context(), mesh.TypeClaim, ownership.Request{Epoch: 1, Parts: []int{1}}.Encode())
	require.ErrorContains(t, err, "claim of a router")
	agree(t, ada)
}

// A node that would serve alone does not join those that count on a majority.
func TestNodeWithAnotherModeDoesNotStart(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	cfg := loopbackConfig("bob", ada)
	cfg.PartitionMode = PartitionMajority
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "parameters differ: -partition-mode ")
	cfg.PartitionMode = PartitionAvailable
	agree(t, ada, begin(t, cfg))
}
