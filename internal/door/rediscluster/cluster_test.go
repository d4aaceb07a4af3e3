package rediscluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

// Clients are told that the cluster is down where an owner refuses for want of
// a majority, and of nothing else.
func TestDoTellsOfAClusterThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, "a", setting{mode: ownership.Majority})
		b, c := membertest.Up("b", 1), membertest.Up("c", 1)
		v := n.see(t, b, c)
		n.cfg.Mesh.AddIdle(b.ID, b.Peer)
		n.cfg.Mesh.AddIdle(c.ID, c.Peer)
		n.serveOwn()
		key := membertest.KeyIn(membertest.OwnedBy(t, v, "a"))
		answer, err := n.do(t.Context(), "GET", key)
		require.NoError(t, err)
		require.Equal(t, "$-1\r\n", answer)

		n.leaseUntil(0)
		_, err = n.do(t.Context(), "GET", key)
		require.ErrorIs(t, err, redis.ErrClusterDown)
		require.ErrorIs(t, err, owner.ErrNoMajority)
		_, err = n.Watch(t.Context(), key)
		require.ErrorIs(t, err, redis.ErrClusterDown)

		_, err = n.do(t.Context(), "GET", membertest.KeyIn(membertest.OwnedBy(t, v, "b")))
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.NotErrorIs(t, err, redis.ErrClusterDown, "an owner that does not answer")
	})
}

// What is asked of every command is made once for each view.
func TestTopologyIsMadeOncePerView(t *testing.T) { // alone, since it counts allocations
	n := begin(t, "a", setting{})
	b, joining := membertest.Up("b", 1), membertest.Up("c", 1)
	b.RESP, joining.State = "10.0.0.2:6379", 0
	v := n.see(t, b, joining)
	shown := n.Topology()
	require.Equal(t, redis.Topology{Table: v.Table, Self: "a", Members: []redis.Member{{Name: "a"}, {Name: "b", RESP: "10.0.0.2:6379"}}}, shown)
	require.Same(t, &shown.Members[0], &n.Topology().Members[0])
	require.Zero(t, testing.AllocsPerRun(10, func() { n.Topology() }))

	moved := membertest.Up("b", 2)
	moved.RESP = "10.0.0.3:6379"
	require.Same(t, v.Table, n.see(t, moved).Table, "names are the same")
	require.Equal(t, "10.0.0.3:6379", n.Topology().Members[1].RESP)
	n.see(t)
	require.Len(t, n.Topology().Members, 1)
}

// A key that is watched changes with what is done to it.
func TestWatch(t *testing.T) {
	t.Parallel()
	n := alone(t)
	seen := make(map[uint64]bool)
	for range 2 {
		w, err := n.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "k", w.Key)
		seen[w.Token] = true
	}
	require.Len(t, seen, 1)
	_, err := n.do(t.Context(), "SET", "k", "v")
	require.NoError(t, err)
	w, err := n.Watch(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, seen[w.Token])
}

// Keys that are held as copies are not counted: their owner counts them.
func TestInfo(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", setting{})
	v := n.see(t, membertest.Up("b", 1))
	n.serveOwn()
	ours := membertest.KeyIn(membertest.OwnedBy(t, v, "a"))
	n.put(t, membertest.KeyIn(membertest.OwnedBy(t, v, "b")))
	n.put(t, ours)
	for _, words := range [][]string{{"SET", "{" + ours + "}1", "v", "EX", "100"}, {"SET", "{" + ours + "}2", "v"}, {"SET", "{" + ours + "}3", "v"}, {"DEL", "{" + ours + "}3"}} {
		_, err := n.do(t.Context(), words...)
		require.NoError(t, err)
	}
	info := n.Info()
	require.Equal(t, 3, info.Keys)
	require.Equal(t, 2, info.Expires, "the session that was put ends too")
	require.EqualValues(t, 1<<30, info.MemoryLimit)
	require.Positive(t, info.Memory)
	require.GreaterOrEqual(t, info.Uptime, time.Second)
	require.NotEmpty(t, info.Version)
}

// A client that asks for the ring waits until its nodes have answered since, or
// are off it, for a short time.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(n *still) time.Duration {
			begin := time.Now()
			n.Confirm(t.Context())
			return time.Since(begin)
		}
		require.Zero(t, took(begin(t, "solo", setting{})))
		a := together(t, 2)[0]
		heard := a.cfg.Mesh.Links()[0].LastHeard()
		time.Sleep(10 * time.Millisecond)
		require.Less(t, took(a), 10*time.Millisecond, "it is asked out of turn")
		require.Greater(t, a.cfg.Mesh.Links()[0].LastHeard(), heard)

		n := begin(t, "solo", setting{})
		b, c := membertest.Up("b", 1), membertest.Up("c", 1)
		n.cfg.Mesh.AddIdle(b.ID, b.Peer)
		n.see(t, c)
		require.Equal(t, confirmTopology, took(n), "there is no link to it")
		n.see(t, b)
		require.Equal(t, confirmTopology, took(n), "it does not answer")
		time.AfterFunc(300*time.Millisecond, func() {
			n.members.See(t)
			n.cfg.Pulse.Beat()
		})
		require.Equal(t, 300*time.Millisecond, took(n))
	})
}
