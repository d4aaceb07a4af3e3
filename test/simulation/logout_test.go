package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// TestLogoutAskedAgain: who asks again after an answer that no copy had
// confirmed is not told that the logout is done, while it still is at its
// owner alone.
func TestLogoutAskedAgain(t *testing.T) {
	const key = "{ann}1"
	for name, op := range map[string]session.Op{
		"one session": {Kind: session.Delete, Key: key},
		"all of them": {Kind: session.DeleteAll, Key: "{ann}"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, n := ownedCluster(t, key)
				do := func(op session.Op) (confirmed bool) {
					rep, err := n.Sessions().Do(t.Context(), &op, session.AckReplica)
					require.NoError(t, err)
					require.Equal(t, n.ID().Name, rep.Node)
					return !rep.Unconfirmed
				}
				do(session.Op{Kind: session.Put, Key: key, Fields: fields(1)})
				c.shape(func(p *Path) { p.Delay = 300 * time.Millisecond })
				require.False(t, do(op), "no copy can have come by then")
				tombstone := inspect.Of(n).Store.Peek(key)
				require.True(t, tombstone.Dead())
				if do(op) {
					require.True(t, c.copied(n.ID().Name, tombstone), "broken: the logout was confirmed, and no copy has it")
				}
				c.Heal()
				require.True(t, do(op))
				require.True(t, c.copied(n.ID().Name, tombstone))
			})
		})
	}
}

// TestRotationEndsTheOldID: when a session has been given a new id, the end of
// the old one does not hang on its owner's life, even where writes are not
// waited for.
func TestRotationEndsTheOldID(t *testing.T) {
	const was, is = "{ann}1", "{ann}2"
	synctest.Test(t, func(t *testing.T) {
		c, n := ownedCluster(t, was)
		_, err := n.Sessions().Put(t.Context(), was, fields(1), 0)
		require.NoError(t, err)
		_, err = n.Sessions().Do(t.Context(), &session.Op{Kind: session.Rotate, Key: was, NewKey: is}, session.AckAsync)
		require.NoError(t, err)
		for _, key := range []string{was, is} {
			rec := inspect.Of(n).Store.Peek(key)
			require.Equal(t, key == was, rec.Dead())
			require.True(t, c.copied(n.ID().Name, rec), "no copy knows of the change of %s", key)
		}
	})
}

// ownedCluster starts a cluster, and returns the node that owns key too.
func ownedCluster(t *testing.T, key string) (*Cluster, *node.Node) {
	c := New(t, Options{Hosts: 3})
	c.StartAll(3)
	require.NoError(t, c.AwaitSettled(agreeWithin))
	for _, h := range c.Hosts {
		n, _ := h.Node()
		if n.View().Table.Owner(ring.Partition(key)) == n.ID().Name {
			return c, n
		}
	}
	t.Fatalf("nobody owns %s", key)
	return nil, nil
}
