package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
)

// TestLonelyRestart: a node that is told of nobody to join, as the first of a
// cluster may be, is killed and started anew. The others know its address and
// come first, so it does not found a cluster of its own and answer that there
// are no sessions.
func TestLonelyRestart(t *testing.T) {
	t.Parallel()
	for _, mode := range []node.PartitionMode{node.PartitionAvailable, node.PartitionMajority} {
		for _, down := range []time.Duration{0, 300 * time.Millisecond, 5 * time.Second, 50 * time.Second} {
			t.Run(fmt.Sprintf("%s/down for %v", mode, down), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := New(t, Options{Hosts: 3, Mode: mode})
					lonely := c.Hosts[0]
					lonely.Alone = true
					for _, h := range c.Hosts {
						require.NoError(t, h.Start())
					}
					require.NoError(t, c.AwaitSettled(agreeWithin))
					keys := fill(t, c, 100)
					lonely.Kill()
					time.Sleep(down)
					began := time.Now()
					require.NoError(t, lonely.Start())
					require.Less(t, time.Since(began), 3*time.Second)
					n, _ := lonely.Node()
					require.Len(t, n.View().Nodes(), 3, "it founded a cluster of its own")
					require.Zero(t, missing(t, n, keys), "a session with live copies was answered as missing")
					require.NoError(t, c.AwaitSettled(agreeWithin))
				})
			})
		}
	}
}

// TestLonelyStart: one node needs no configuration, and a second.
func TestLonelyStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 1})
		c.Hosts[0].Alone = true
		began := time.Now()
		require.NoError(t, c.Hosts[0].Start())
		require.Less(t, time.Since(began), 1100*time.Millisecond)
		n, _ := c.Hosts[0].Node()
		_, err := n.Sessions().Put(t.Context(), "alice", fields(1), 0)
		require.NoError(t, err)
	})
}
