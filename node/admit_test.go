package node

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/peer"
)

// identity is how a node introduces itself to others.
func (n *Node) identity() peer.Identity { return n.peerConfig().Self() }

// call connects to n's peer port from an address of this host as who.
func call(t testing.TB, n *Node, from string, who peer.Identity) (*peer.Link, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := hostNetwork{}.Dial(withSource(ctx, netip.MustParseAddr(from)), n.self().Peer)
	require.NoError(t, err)
	l, err := peer.Connect(ctx, conn, peer.Config{Self: func() peer.Identity { return who }})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func (g *gate) count(why refusal) int { return int(g.refused[why].Load()) }

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
		why  refusal
	}{
		"a stranger":                                {stranger, "127.0.0.1", refusedStranger},
		"another boot of a member":                  {otherBoot, "127.0.0.1", refusedStranger},
		"a member in another role":                  {router, "127.0.0.1", refusedStranger},
		"the member itself":                         {self, "127.0.0.1", refusedStranger},
		"a member's name from another address":      {elsewhere, "127.0.0.2", refusedAddress},
		"a stranger with a name of nobody's at all": {peer.Identity{Cluster: "guess"}, "127.0.0.1", refusedStranger},
	}
	for name, c := range cases {
		before := ada.gate.count(c.why)
		_, err := call(t, ada, c.from, c.who)
		require.ErrorIs(t, err, peer.ErrRefused, name)
		var told *peer.RemoteError
		require.ErrorAs(t, err, &told, name)
		require.Equal(t, "not admitted", told.Text, name)
		eventually(t, "it is counted: "+name, func() bool { return ada.gate.count(c.why) > before })
	}
	require.True(t, log.says("give it -peer with the address that it reaches others from"))
	differs := bob.identity()
	differs.Params = "copies=9"
	_, err := call(t, ada, "127.0.0.1", differs)
	require.ErrorContains(t, err, "copies=9 at bob", "a member hears what of it differs")
	eventually(t, "it is counted", func() bool { return ada.gate.count(refusedParams) == 1 })

	conn, err := net.Dial("tcp", ada.self().Peer)
	require.NoError(t, err)
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	conn.Close()
	eventually(t, "it is counted", func() bool { return ada.gate.count(refusedGreeting) == 1 })
	_, metrics := send(t, "GET", ada.office("/metrics"), "")
	require.Contains(t, metrics, `holdfast_peer_refused_total{reason="stranger"} `)
	require.Contains(t, metrics, `holdfast_peer_refused_total{reason="address"} 1`)

	l, err := call(t, ada, "127.0.0.1", bob.identity())
	require.NoError(t, err, "a member gets in")
	_, err = l.Call(t.Context(), typePing, bob.ping())
	require.NoError(t, err)
	for range maxPerMember {
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
	eventually(t, "more are refused than have a place", func() bool {
		ctx := withSource(t.Context(), netip.MustParseAddr("127.0.0.2"))
		for range 2 * maxStrangers {
			conn, err := hostNetwork{}.Dial(ctx, ada.self().Peer)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
		}
		return ada.gate.count(refusedMany) > 0
	})
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	require.Zero(t, bob.gate.count(refusedMany))
	eventually(t, "those that do not say who they are do not stay", func() bool {
		ada.gate.mu.Lock()
		defer ada.gate.mu.Unlock()
		return ada.gate.strangers == 0
	})
	require.GreaterOrEqual(t, ada.gate.count(refusedGreeting), maxStrangers/2)
}

// A frame over what its type needs is refused, and the connection goes on.
func TestFramesOfMembersAreBoundedByTheirType(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	l, err := call(t, ada, "127.0.0.1", bob.identity())
	require.NoError(t, err)
	for _, typ := range []byte{typePing, typeClaim, admin.TypeHolds, typeWait, admin.TypeStats, admin.TypeEvents, 0x11, 0x12, 0x13, 0x77} {
		_, err = l.Call(t.Context(), typ, make([]byte, 1<<20))
		require.ErrorContains(t, err, "1048576 bytes, want at most ", "type %#x", typ)
	}
	answer, err := l.Call(t.Context(), admin.TypeHolds, []byte("alice"))
	require.NoError(t, err)
	require.Len(t, answer, 17)
	resp, _ := send(t, "GET", ada.office("/readyz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddr
	node := func(peer, gossip string) heard {
		return heard{Meta: Meta{Role: RoleNode, Peer: peer}, Gossip: gossip, Alive: true}
	}
	frozen, left := node("10.0.0.1:83", "10.0.0.1:84"), node("10.0.0.1:83", "10.0.0.1:84")
	frozen.Alive = false
	left.Alive, left.Left = false, true
	router := heard{Meta: Meta{Role: RoleRouter}, Gossip: "10.0.0.1:84", Alive: true}
	for name, c := range map[string]struct {
		h    heard
		from string
		gone bool
		why  refusal
	}{
		"a node":                            {h: node("10.0.0.1:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"mapped into IPv6":                  {h: node("[::ffff:10.0.0.1]:83", ""), from: "10.0.0.1"},
		"whose peer port is elsewhere":      {h: node("10.1.0.1:83", "10.0.0.1:84"), from: "10.1.0.1"},
		"which gossips elsewhere":           {h: node("10.1.0.1:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"which advertises a name":           {h: node("ada.example:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"from nowhere that gossip tells":    {h: node("10.0.0.1:83", "10.0.0.1:84"), from: "10.0.0.2", why: refusedAddress},
		"a frozen one that goes on":         {h: frozen, from: "10.0.0.1"},
		"one that has ended":                {h: frozen, from: "10.0.0.1", gone: true, why: refusedEnded},
		"one that seemed to have ended":     {h: node("10.0.0.1:83", ""), from: "10.0.0.1", gone: true},
		"one that has said good-bye":        {h: left, from: "10.0.0.1", why: refusedEnded},
		"a router, which has no peer port":  {h: router, from: "10.0.0.1"},
		"a name that stands for no address": {h: node("ada.example:83", "ada.example:84"), from: "10.0.0.1", why: refusedAddress},
	} {
		t.Run(name, func(t *testing.T) {
			n := still(t, "z")
			who := id("a", 1)
			n.gossip = &gossip{heard: map[string]heard{who.String(): c.h}}
			if c.gone {
				n.members.gone[who] = "it refused"
			}
			require.Equal(t, c.why, n.admits(who, c.h.Meta.Role, at(c.from)))
			require.Equal(t, c.why != refusedAddress, n.gossip.hasAddress(at(c.from)))
			require.Equal(t, refusedStranger, n.admits(id("a", 2), c.h.Meta.Role, at(c.from)))
		})
	}
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
	_, err = l.Call(t.Context(), typeClaim, ownership.Request{Epoch: 1, Parts: []int{1}}.Encode())
	require.ErrorContains(t, err, "claim of a router")
	agree(t, ada)
}
