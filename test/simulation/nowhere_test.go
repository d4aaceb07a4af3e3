package simulation

import (
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

// tombstones counts those that all nodes hold.
func (c *Cluster) tombstones() (count int) {
	for _, h := range c.Running() {
		if n, _ := h.Node(); n != nil {
			for p := range ring.Partitions {
				for _, rec := range inspect.Of(n).Store.Records(p) {
					if rec.Dead() {
						count++
					}
				}
			}
		}
	}
	return count
}

func logOut(t *testing.T, n *node.Node, key string) session.Result {
	t.Helper()
	rep, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
	require.NoError(t, err)
	return rep.Result
}

// TestDeletesOfWhatNeverWasLeaveNothing: in a cluster that is well they cost no
// memory, at whatever node they come in, and after changes of the ring too.
// What there was leaves its tombstone.
func TestDeletesOfWhatNeverWasLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: nodes + 1})
				c.StartAll(nodes)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				time.Sleep(5 * time.Second)
				flood := func() {
					for i := range 200 {
						n, _ := c.Running()[i%len(c.Running())].Node()
						require.Nil(t, logOut(t, n, fmt.Sprintf("never-%d", i)).Record)
					}
				}
				flood()
				require.Zero(t, c.tombstones())

				n, _ := c.Hosts[0].Node()
				_, err := n.Sessions().Put(t.Context(), "was", fields(1), 0)
				require.NoError(t, err)
				require.True(t, logOut(t, n, "was").Record.Dead())
				logOut(t, n, "was")
				require.Equal(t, min(nodes, 2), c.tombstones())

				require.NoError(t, c.Hosts[nodes].Start())
				require.NoError(t, c.AwaitSettled(agreeWithin))
				time.Sleep(10 * time.Second)
				c.Hosts[0].Kill()
				time.Sleep(10 * time.Second)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				before := c.tombstones()
				flood()
				require.Equal(t, before, c.tombstones())
			})
		})
	}
}

// TestLogoutOfWhatAnotherMemberHas: a session that its owner knows nothing of
// is ended wherever it is: at a member that should not hold it any more and has
// not handed it over, or on the other side of a cut, however long that lasts.
func TestLogoutOfWhatAnotherMemberHas(t *testing.T) {
	t.Parallel()
	const key = "{ann}1"
	t.Run("left behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, owner := ownedCluster(t, key)
			time.Sleep(5 * time.Second)
			holders := owner.View().Table.Holders(ring.Partition(key))
			for _, h := range c.Hosts {
				other, _ := h.Node()
				if slices.Contains(holders, h.Name) {
					continue
				}
				_, err := inspect.Of(other).Store.Merge(sessionOf(t, key))
				require.NoError(t, err)
			}
			require.Nil(t, inspect.Of(owner).Store.Peek(key))
			require.NotNil(t, logOut(t, owner, key).Record)
			time.Sleep(10 * time.Second) // for the hand-over
			require.True(t, inspect.Of(owner).Store.Peek(key).Dead())
			_, err := owner.Sessions().Get(t.Context(), key)
			require.ErrorIs(t, err, session.ErrDeleted)
		})
	})
	for _, cut := range []time.Duration{5 * time.Second, 5 * time.Minute} {
		t.Run(fmt.Sprint("cut off for ", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3})
				c.StartAll(3)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				time.Sleep(5 * time.Second)
				here, _ := c.Hosts[0].Node()
				there, _ := c.Hosts[2].Node()
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				awaitAll(there)
				time.Sleep(3 * time.Second)
				rep, err := there.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, session.AckAsync)
				require.NoError(t, err)
				require.True(t, rep.Degraded)
				time.Sleep(cut)
				require.Nil(t, inspect.Of(here).Store.Peek(key))
				require.True(t, logOut(t, here, key).Record.Dead(), "it may be over there")
				require.NoError(t, c.rejoin())
				for _, n := range []*node.Node{here, there} {
					_, err := n.Sessions().Get(t.Context(), key)
					require.ErrorIs(t, err, session.ErrDeleted)
				}
				time.Sleep(10 * time.Second)
				before := c.tombstones()
				require.Nil(t, logOut(t, here, "never").Record, "all are back")
				require.Equal(t, before, c.tombstones())
			})
		})
	}
}

// TestLogoutAtAJoiner: a node that joins while another one is cut off has never
// seen that one. What it owns may be over there all the same, and a logout of
// it has to stick.
func TestLogoutAtAJoiner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 4})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		there, _ := c.Hosts[2].Node()
		c.Cut(c.Hosts[2:3], c.others(c.Hosts[2]))
		awaitAll(there)
		time.Sleep(3 * time.Second)
		require.NoError(t, c.Hosts[3].Start())
		joiner, _ := c.Hosts[3].Node()
		time.Sleep(10 * time.Second)
		key := ""
		for i := 0; key == ""; i++ {
			if k := fmt.Sprintf("{user-%d}", i); joiner.View().Table.Owner(ring.Partition(k)) == joiner.ID().Name {
				key = k
			}
		}
		_, err := there.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, session.AckAsync)
		require.NoError(t, err)
		rep, err := joiner.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
		require.NoError(t, err)
		require.NotNil(t, rep.Record, "broken: a logout leaves nothing though a member is cut off")
		require.NoError(t, c.rejoin())
		for _, n := range []*node.Node{joiner, there} {
			_, err := n.Sessions().Get(t.Context(), key)
			require.ErrorIs(t, err, session.ErrDeleted)
		}
	})
}

// sessionOf is a session as a member may hold it.
func sessionOf(t *testing.T, key string) *session.Record {
	store, err := session.NewStore(session.Config{Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false }})
	require.NoError(t, err)
	store.Open(0)
	res, err := store.Do(&session.Op{Kind: session.Put, Key: key, Fields: fields(1)})
	require.NoError(t, err)
	return res.Record
}
