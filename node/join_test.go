package node

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// freePorts are n loopback addresses, each another, at which nobody listens and
// which nobody takes meanwhile: the tests of other packages run beside these
// and are given ports of 127.0.0.1, so this process has a host of its own where
// the system lets it (all of 127.0.0.0/8 is the loopback of Linux).
func freePorts(t *testing.T, n int) (list []string) {
	pid := os.Getpid()
	own := fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
	for range n {
		l, err := net.Listen("tcp", own)
		if err != nil {
			l, err = net.Listen("tcp", "127.0.0.1:0")
		}
		require.NoError(t, err)
		defer l.Close() // all at the end: none is given twice
		list = append(list, l.Addr().String())
	}
	return list
}

// A member that was told whom to join does not serve alone: others may hold
// what it would answer for. It says so, and joins when it can.
func TestUnreachableSeed(t *testing.T) {
	t.Parallel()
	var log journal
	cfg := loopbackConfig("ada")
	seed := freePorts(t, 1)[0]
	cfg.Join = []string{seed}
	logTo(&log)(&cfg)
	n := begin(t, cfg)
	resp, body := send(t, "GET", n.office("/readyz"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, seed)
	resp, _ = get(t, n, "k")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "not 404: the session may be elsewhere")
	eventually(t, "a warning", func() bool { return log.says("no seed answers") })
	require.True(t, log.says(seed), "the warning names the seed")

	late := loopbackConfig("bob")
	late.Gossip = seed
	agree(t, n, begin(t, late))
	put(t, n, "k", "v")
	resp, _ = send(t, "GET", n.office("/readyz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// Nodes that all have the same list of whom to join found one cluster, when
// more than half of those listed are there.
func TestSameSeedsForAll(t *testing.T) {
	t.Parallel()
	seeds := freePorts(t, 3)
	start := func(i int) *Node {
		cfg := loopbackConfig([]string{"ada", "bob", "cyd"}[i])
		cfg.Gossip, cfg.Join = seeds[i], seeds
		return begin(t, cfg)
	}
	ada := start(0)
	require.Equal(t, StateJoining, ada.members.State(), "one of three")
	bob := start(1)
	agree(t, ada, bob)
	put(t, ada, "k", "v")
	cyd := start(2)
	agree(t, ada, bob, cyd)
	_, got := get(t, cyd, "k")
	require.Equal(t, "v", got)
}

// A member with another key can neither read nor be heard.
func TestWrongGossipKey(t *testing.T) {
	t.Parallel()
	key := func(b byte) [][]byte { return [][]byte{{15: b}} }
	one := loopbackConfig("ada")
	one.GossipKeys = key(1)
	ada := begin(t, one)

	var log journal
	two := loopbackConfig("bob", ada)
	two.GossipKeys = key(2)
	logTo(&log)(&two)
	bob := begin(t, two)

	right := loopbackConfig("cyd", ada)
	right.GossipKeys = append(key(3), key(1)...) // the first encrypts, all decrypt
	right.GossipKeys[0], right.GossipKeys[1] = right.GossipKeys[1], right.GossipKeys[0]
	cyd := begin(t, right)

	agree(t, ada, cyd)
	eventually(t, "a warning", func() bool { return log.says("no seed answers") })
	require.Equal(t, StateJoining, bob.members.State())
	require.Nil(t, ada.View().Named("bob"))
	require.Nil(t, cyd.View().Named("bob"))
	eventually(t, "what has another key is counted", func() bool { return ada.members.Refused()["key"] > 0 })
}

// A member of another cluster is refused, and both sides say why it may be.
func TestWrongCluster(t *testing.T) {
	t.Parallel()
	var first, second journal
	one := loopbackConfig("ada")
	logTo(&first)(&one)
	ada := begin(t, one)
	two := loopbackConfig("bob", ada)
	two.Cluster = "staging"
	logTo(&second)(&two)
	begin(t, two)
	eventually(t, "a warning of the joiner", func() bool {
		return second.says("is it a -gossip address, and are -cluster and -gossip-key-file the same there?")
	})
	require.True(t, first.says("a member of another cluster tried to join"), "the other one says it too")
	require.Positive(t, ada.members.Refused()["cluster"], "and counts it")
	require.True(t, first.says("cluster=holdfast theirs=staging address=127.0.0.1:"))
	require.Nil(t, ada.View().Named("bob"))
}

// A router owns nothing and passes everything on.
func TestRouter(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	agree(t, ada)
	cfg := loopbackConfig("gate", ada)
	cfg.Role, cfg.Peer = RoleRouter, ""
	gate := begin(t, cfg)
	eventually(t, "the router knows the node", func() bool { return len(gate.View().Nodes()) == 1 })
	for i := range 5 {
		put(t, gate, fmt.Sprint("k", i), "v")
		resp, got := get(t, gate, fmt.Sprint("k", i))
		require.Equal(t, "v", got)
		require.Equal(t, "ada", resp.Header.Get("Holdfast-Node"))
	}
	rec, err := gate.Sessions().Get(t.Context(), "k1")
	require.NoError(t, err)
	require.Equal(t, "k1", rec.Key())

	resp, body := send(t, "POST", gate.office("/admin/drain"), "")
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	require.Contains(t, body, "A router holds nothing")
	resp, _ = send(t, "GET", gate.office("/readyz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, gate.Shutdown(t.Context()))
}

// A process that is killed and back within a moment is another member: it is
// empty, and what it owns again must come from the copies.
func TestRestartAtOnceLosesNothing(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	for i := range 40 {
		put(t, ada, fmt.Sprint("k", i), fmt.Sprint(i))
	}
	again := loopbackConfig("bob", ada)
	again.HTTP, again.Admin, again.Peer = bob.self().HTTP, bob.self().Admin, bob.self().Peer
	bob.cancel(nil) // as a crash: no good-bye
	<-bob.Done()
	bob2 := begin(t, again)
	for i := range 40 {
		for _, n := range []*Node{ada, bob2} {
			resp, got := get(t, n, fmt.Sprint("k", i))
			require.Equal(t, http.StatusOK, resp.StatusCode, got)
			require.Equal(t, fmt.Sprint(i), got)
		}
	}
	agree(t, ada, bob2)
}

// A router that was told of no member serves nobody; it says what is missing.
func TestRouterWithoutJoin(t *testing.T) {
	t.Parallel()
	var log journal
	cfg := loopbackConfig("gate")
	cfg.Role, cfg.Peer = RoleRouter, ""
	logTo(&log)(&cfg)
	gate := begin(t, cfg)

	var later journal
	known := loopbackConfig("door")
	known.Role, known.Peer = RoleRouter, ""
	logTo(&later)(&known)
	door := begin(t, known)
	ada := loopbackConfig("ada", door)
	ada.Expect = 1
	begin(t, ada)
	eventually(t, "the router knows the node", func() bool { return len(door.View().Nodes()) == 1 })

	resp, _ := send(t, "GET", gate.public("/"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	eventually(t, "a warning", func() bool { return log.says("no node is known") })
	require.True(t, log.says("-join"))
	time.Sleep(time.Second / 2)
	require.False(t, later.says("no node is known"), "a node has joined it")
}
