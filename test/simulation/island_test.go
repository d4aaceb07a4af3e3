package simulation

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// islands are clusters that are filled and then cut: what a side has no copy of
// it takes over, and must not answer for.

// fill writes sessions, and returns their keys.
func fill(t *testing.T, c *Cluster, count int) (keys []string) {
	n, _ := c.Hosts[0].Node()
	for i := range count {
		key := fmt.Sprintf("{user-%d}", i)
		_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, session.AckReplica)
		require.NoError(t, err)
		keys = append(keys, key)
	}
	time.Sleep(2 * time.Second)
	return keys
}

// elsewhere picks the keys that only others than those hosts hold by n's ring.
func elsewhere(n *node.Node, keys []string, hosts ...*Host) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		holders := n.View().Table.Holders(ring.Partition(key))
		return slices.ContainsFunc(hosts, func(h *Host) bool { return slices.Contains(holders, h.Name) })
	})
}

// awaitAll waits until n, on its own, serves everything, warm or not.
func awaitAll(n *node.Node) {
	for {
		serving := inspect.Of(n).Serving()
		if !slices.Contains(serving[:], false) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// missing counts the keys that n says there is no session under.
func missing(t *testing.T, n *node.Node, keys []string) (missed int) {
	require.NotEmpty(t, keys)
	for _, key := range keys {
		if _, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Get, Key: key}, session.AckDefault); errors.Is(err, session.ErrNotFound) {
			missed++
		}
	}
	return missed
}

// island starts a cluster, fills it, and returns the keys.
func island(t *testing.T, o Options, nodes, count int) (*Cluster, []string) {
	c := New(t, o)
	c.StartAll(nodes)
	_, err := c.Agree(agreeWithin)
	require.NoError(t, err)
	keys := fill(t, c, count)
	time.Sleep(3 * time.Second)
	return c, keys
}

// TestIslandSaysWhatItCannotKnow asks a lone node for a session that it has no
// copy of, in every way whose answer depends on whether there is one.
func TestIslandSaysWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 3}, 3, 100)
		n, _ := c.Hosts[2].Node()
		key := elsewhere(n, keys, c.Hosts[2])[0]
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		awaitAll(n)
		for _, op := range []session.Op{
			{Kind: session.Get}, {Kind: session.Patch, Fields: fields(2)}, {Kind: session.Touch}, {Kind: session.Rotate, NewKey: key + "2"},
			{Kind: session.Put, Fields: fields(2), Exists: true}, {Kind: session.Put, Fields: fields(2), Create: true},
			{Kind: session.Put, Fields: fields(2), IfVersion: 1}, {Kind: session.Delete, Exists: true}, {Kind: session.List}, {Kind: session.DeleteAll},
		} {
			op.Key = key
			reply, err := n.Sessions().Do(t.Context(), &op, session.AckDefault)
			require.ErrorContains(t, err, "no member that held the partition can be reached", "%+v", op)
			require.True(t, reply.Degraded)
		}
		_, err := n.Sessions().Get(t.Context(), key)
		require.ErrorContains(t, err, "no member that held the partition can be reached")

		other, _ := c.Hosts[0].Node()
		_, err = other.Sessions().Do(t.Context(), &session.Op{Kind: session.Patch, Key: key, Fields: []session.Field{{Name: "b", Value: "2"}}}, session.AckReplica)
		require.NoError(t, err)
		require.NoError(t, c.rejoin())
		rec, err := n.Sessions().Get(t.Context(), key)
		require.NoError(t, err)
		for _, name := range []string{valueField, "b"} {
			_, ok := rec.Value(name)
			require.True(t, ok, name)
		}
	})
}

// TestIslandLosesItsSecond: of an island of two one stands still, and the other
// has nobody left to ask for a lease.
func TestIslandLosesItsSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 5}, 5, 300)
		n, _ := c.Hosts[0].Node()
		foreign := elsewhere(n, keys, c.Hosts[:2]...)
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		claimed := -1 // one that the island has taken over
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			serving := inspect.Of(n).Serving()
			if claimed = slices.IndexFunc(foreign, func(key string) bool { return serving[ring.Partition(key)] }); claimed >= 0 {
				break
			}
		}
		require.GreaterOrEqual(t, claimed, 0, "it has taken over nothing in 20 s")
		c.Hosts[1].Pause()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			require.Zero(t, missing(t, n, foreign[claimed:][:1]), "a session with live copies was answered as missing")
		}
		c.Hosts[1].Resume()
		require.NoError(t, c.rejoin())
	})
}

// TestIslandAfterMove cuts nodes off just when they have handed copies over to
// others that have joined.
func TestIslandAfterMove(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, keys := island(t, Options{Hosts: 2*size + 1}, size+1, 300)
				for _, h := range c.Hosts[size+1:] {
					require.NoError(t, h.Start())
				}
				n, _ := c.Hosts[0].Node()
				for len(n.View().Table.Members()) < len(c.Hosts) {
					time.Sleep(time.Millisecond)
				}
				_, err := c.Agree(agreeWithin) // copies are where they should be
				require.NoError(t, err)
				foreign := elsewhere(n, keys, c.Hosts[:size]...)
				c.Cut(c.Hosts[:size], c.Hosts[size:])
				for range 30 {
					time.Sleep(500 * time.Millisecond)
					require.Zero(t, missing(t, n, foreign), "sessions with live copies were answered as missing")
				}
				require.NoError(t, c.rejoin())
			})
		})
	}
}

// TestIslandWhileFetching cuts a node off that has joined and is fetching what
// it has claimed, and lets it back.
func TestIslandWhileFetching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 4}, 3, 2000)
		for _, o := range c.Hosts[:3] {
			for _, way := range [][2]*Host{{o, c.Hosts[3]}, {c.Hosts[3], o}} {
				c.Net.Change(way[0].Address, way[1].Address, func(p *Path) { p.Delay = 5 * time.Millisecond })
			}
		}
		require.NoError(t, c.Hosts[3].Start())
		n, _ := c.Hosts[3].Node()
		var owned []string
		for ; len(owned) == 0; time.Sleep(time.Millisecond) {
			serving := inspect.Of(n).Serving()
			owned = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !serving[ring.Partition(key)] })
		}
		require.NotZero(t, inspect.Of(n).Cold())
		c.Cut(c.Hosts[:3], c.Hosts[3:])
		awaitAll(n)
		require.Zero(t, missing(t, n, owned), "sessions with live copies were answered as missing")
		require.NoError(t, c.rejoin())
		for _, key := range owned {
			_, err := n.Sessions().Get(t.Context(), key)
			require.NoError(t, err, "after the cut")
		}
	})
}

// TestIslandOfOneSaysSo: once gossip has given up everybody else, a lone node
// has a lease without asking, and still says that it is on its own.
func TestIslandOfOneSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 3}, 3, 10)
		n, _ := c.Hosts[2].Node()
		foreign := elsewhere(n, keys, c.Hosts[2]) // those it would mark as degraded all the same
		own := slices.DeleteFunc(keys, func(key string) bool { return slices.Contains(foreign, key) })[0]
		get := func() bool {
			reply, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: own, Fields: fields(2)}, session.AckDefault)
			require.NoError(t, err)
			return reply.Degraded
		}
		require.False(t, get())
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		awaitAll(n)
		time.Sleep(5 * time.Second)
		require.True(t, get())
		require.NoError(t, c.rejoin())
		require.False(t, get())

		for _, h := range c.Hosts[:2] {
			h.Kill()
		}
		time.Sleep(time.Second)
		require.False(t, get(), "the others have ended, and write nothing")
	})
}
