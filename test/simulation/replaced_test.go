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
	"github.com/seed-95a32959/holdfast/session"
)

// replaced fills a cluster of three, or one more with a mate, and cuts its last
// node off, with the mate. Then a process of that node's name is started on the
// side of the others, at a host of its own.
func replaced(t *testing.T, mates int) (c *Cluster, old *Host, keys []string) {
	nodes := 3 + mates
	c = New(t, Options{Hosts: nodes + 1})
	old = c.Hosts[nodes-1]
	spare := c.Hosts[nodes]
	spare.Name = old.Name
	c.StartAll(nodes)
	_, err := c.Agree(agreeWithin)
	require.NoError(t, err)
	keys = fill(t, c, 100)
	island := c.Hosts[nodes-1-mates : nodes]
	c.Cut(island, append(slices.Clone(c.Hosts[:nodes-1-mates]), spare))
	time.Sleep(10 * time.Second)
	require.NoError(t, spare.Start())
	time.Sleep(10 * time.Second)
	return c, old, keys
}

// awaitReplaced heals the cut and waits until the node that was replaced has
// stopped. Then its host counts as down.
func awaitReplaced(t *testing.T, c *Cluster, old *Host) *node.Node {
	n, p := old.Node()
	c.Heal()
	select {
	case <-n.Done():
	case <-time.After(time.Minute):
		t.Fatal("broken: two nodes have one name")
	}
	require.ErrorContains(t, n.Err(), "give each member a name of its own")
	old.mu.Lock()
	old.node, old.process = nil, nil
	old.mu.Unlock()
	p.Crash()
	return n
}

// TestReplacedIsland: a node is cut off, alone or with another one, and goes on
// acknowledging; meanwhile a process of its name is started on the other side.
// When the cut heals, the older one hands over what it has before it stops:
// writes, and logouts, where the later one wins.
func TestReplacedIsland(t *testing.T) {
	t.Parallel()
	for mates := range 2 {
		t.Run(fmt.Sprint(mates, " mates"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, old, keys := replaced(t, mates)
				away, _ := old.Node()
				here, _ := c.Hosts[0].Node()
				do := func(n *node.Node, op session.Op) bool {
					rep, err := n.Sessions().Do(t.Context(), &op, session.AckDefault)
					return err == nil && rep.Changed
				}
				var written, ended []string
				for i := range 300 {
					key := fmt.Sprintf("{island-%d}", i)
					if do(away, session.Op{Kind: session.Put, Key: key, Fields: fields(5)}) {
						written = append(written, key)
					}
				}
				for i, key := range keys {
					switch {
					case i%3 == 0 && do(away, session.Op{Kind: session.Delete, Key: key}):
						ended = append(ended, key)
					case i%3 == 1 && do(here, session.Op{Kind: session.Delete, Key: key}):
						do(away, session.Op{Kind: session.Put, Key: key, Fields: fields(6), Exists: true})
						ended = append(ended, key)
					}
				}
				require.Greater(t, len(written), 200)
				require.Greater(t, len(ended), 30)
				n := awaitReplaced(t, c, old)
				_, err := c.Agree(agreeWithin)
				require.NoError(t, err)
				if lost := missing(t, here, written); lost > 0 {
					t.Errorf("broken: %d of %d sessions that the island had acknowledged are lost", lost, len(written))
				}
				require.Zero(t, inspect.Of(n).Store.Stats().Sessions, "what is not confirmed by the others")
				for _, key := range ended {
					_, err := here.Sessions().Get(t.Context(), key)
					require.ErrorIs(t, err, session.ErrDeleted, "broken: a logout is undone")
				}
			})
		})
	}
}
