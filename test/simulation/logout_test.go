package simulation

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	t.Parallel()
	const key = "{ann}1"
	for name, op := range map[string]session.Op{
		"one session": {Kind: session.Delete, Key: key},
		"all of them": {Kind: session.DeleteAll, Key: "{ann}"},
		"all, paged":  {Kind: session.DeleteAll, Key: "{ann}", NewKey: session.FirstPage},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, n := ownedCluster(t, key)
				do := func(op session.Op) (confirmed bool) {
					rep, err := n.Sessions().Do(t.Context(), &op, session.AckReplica)
					require.NoError(t, err)
					require.Equal(t, n.ID().Name, rep.Node)
					require.Empty(t, rep.Records, "they may be more than a frame holds")
					return !rep.Unconfirmed
				}
				do(session.Op{Kind: session.Put, Key: key, Fields: fields(1)})
				c.shape(func(p *Path) { p.Delay = 300 * time.Millisecond })
				require.False(t, do(op), "no copy can have come by then")
				tombstone := inspect.Of(n).Store.Peek(key)
				require.True(t, tombstone.Dead())
				if do(op) {
					require.True(t, c.copied(n.ID().Name, allOf(tombstone)), "broken: the logout was confirmed, and no copy has it")
				}
				c.Heal()
				require.True(t, do(op))
				require.True(t, c.copied(n.ID().Name, allOf(tombstone)))
			})
		})
	}
}

// TestRotationEndsTheOldID: when a session has been given a new id, the end of
// the old one does not hang on its owner's life, even where writes are not
// waited for.
func TestRotationEndsTheOldID(t *testing.T) {
	t.Parallel()
	const was, is = "{ann}1", "{ann}2"
	synctest.Test(t, func(t *testing.T) {
		c, n := ownedCluster(t, was)
		time.Sleep(session.Lead) // after which its stamps are those of its clock
		_, err := n.Sessions().Put(t.Context(), was, fields(1), 0)
		require.NoError(t, err)
		_, err = n.Sessions().Do(t.Context(), &session.Op{Kind: session.Rotate, Key: was, NewKey: is}, session.AckAsync)
		require.NoError(t, err)
		for _, key := range []string{was, is} {
			rec := inspect.Of(n).Store.Peek(key)
			require.Equal(t, key == was, rec.Dead())
			require.True(t, c.copied(n.ID().Name, allOf(rec)), "no copy knows of the change of %s", key)
		}
	})
}

// TestRotationIsTold: for ten seconds whoever asks with the old id, at any
// node, is told the new one, also if the node that made it dies meanwhile and a
// new one takes its place. Then nobody is.
func TestRotationIsTold(t *testing.T) {
	t.Parallel()
	const was, is = "{ann}1", "{ann}2"
	synctest.Test(t, func(t *testing.T) {
		c, n := ownedCluster(t, was)
		_, err := n.Sessions().Put(t.Context(), was, fields(1), 0)
		require.NoError(t, err)
		_, err = n.Sessions().Do(t.Context(), &session.Op{Kind: session.Rotate, Key: was, NewKey: is}, session.AckAsync)
		require.NoError(t, err)
		rotated := time.Now()
		told := func(want string) {
			for _, h := range c.Running() {
				n, _ := h.Node()
				for _, op := range []session.Op{{Kind: session.Get}, {Kind: session.Rotate, NewKey: "{ann}3"}, {Kind: session.Put}, {Kind: session.Touch}} {
					op.Key = was
					_, err := n.Sessions().Do(t.Context(), &op, session.AckDefault)
					require.ErrorIs(t, err, session.ErrDeleted)
					require.Equal(t, want, movedTo(err), "%s at %s after %v", op.Kind, h.Name, time.Since(rotated))
				}
				rep, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: was}, session.AckDefault)
				require.NoError(t, err)
				require.Equal(t, want, rep.Moved, "%s after %v", h.Name, time.Since(rotated))
			}
		}
		told(is)
		for _, h := range c.Hosts {
			if h.Name == n.ID().Name {
				h.Kill()
				told(is)
				require.NoError(t, h.Start())
			}
		}
		require.NoError(t, c.AwaitSettled(agreeWithin))
		require.Less(t, time.Since(rotated), 9*time.Second, "there is nothing left to show")
		told(is)
		time.Sleep(time.Until(rotated.Add(session.MovedFor + 2*time.Second))) // it is looked for once a second
		told("")
	})
}

func movedTo(err error) string {
	if moved, ok := errors.AsType[*session.MovedError](err); ok {
		return moved.To
	}
	return ""
}

// TestParallelRotations: of rotations at all nodes at once one makes the new
// id, and those that come second are told it.
func TestParallelRotations(t *testing.T) {
	t.Parallel()
	const was = "{ann}0"
	synctest.Test(t, func(t *testing.T) {
		c, n := ownedCluster(t, was)
		_, err := n.Sessions().Put(t.Context(), was, fields(1), 0)
		require.NoError(t, err)
		ids := make([]string, 12)
		var made atomic.Int32
		var wg sync.WaitGroup
		for i := range ids {
			n, _ := c.Hosts[i%len(c.Hosts)].Node()
			wg.Go(func() {
				key := fmt.Sprintf("{ann}%d", i+1)
				_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Rotate, Key: was, NewKey: key}, session.AckReplica)
				if ids[i] = movedTo(err); err == nil {
					ids[i] = key
					made.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, made.Load())
		for _, id := range ids {
			require.Equal(t, ids[0], id)
		}
		rec, err := n.Sessions().Get(t.Context(), ids[0])
		require.NoError(t, err)
		_, ok := rec.Value(valueField)
		require.True(t, ok)
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
