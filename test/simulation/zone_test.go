package simulation

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// TestZoneLost kills all nodes of the larger of two zones in one moment. Who
// then owns their partitions has held them before, so every session is there.
// When the zone is back, each of its nodes owns what its weight says.
func TestZoneLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{
			Hosts: 5, Zones: []string{"north", "south", "north", "south", "north"}, Weights: []float64{1, 1, 0.5, 2},
		})
		c.StartAll(5)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		key := func(i int) string { return fmt.Sprintf("user-%d", i) }
		const users = 500
		for i := range users {
			n, _ := c.Hosts[i%5].Node()
			_, err := n.Sessions().Put(t.Context(), key(i), fields(1), 0)
			require.NoError(t, err)
		}
		_, err := c.Agree(agreeWithin)
		require.NoError(t, err)
		survivor, _ := c.Hosts[1].Node()
		before := survivor.View().Table
		require.False(t, survivor.View().Uniform)

		for _, h := range c.Hosts {
			if h.Zone == "north" {
				h.Kill()
			}
		}
		for i := range users {
			_, err := survivor.Sessions().Get(t.Context(), key(i))
			require.NotErrorIs(t, err, session.ErrNotFound, "%s was held by %v", key(i), before.Holders(ring.Partition(key(i))))
			require.NoError(t, err)
		}
		require.NoError(t, c.AwaitSettled(agreeWithin))
		after := survivor.View().Table
		for p := range ring.Partitions {
			require.True(t, slices.Contains(before.Holders(p), after.Owner(p)), "partition %d is now of %s, and was held by %v", p, after.Owner(p), before.Holders(p))
		}

		for _, h := range c.Hosts {
			if h.Zone == "north" {
				require.NoError(t, h.Start())
			}
		}
		require.NoError(t, c.AwaitSettled(agreeWithin))
		table := survivor.View().Table
		require.Equal(t, before.Fingerprint(), table.Fingerprint())
		shares := map[string]float64{"node-1": 1, "node-2": 1, "node-3": 0.5, "node-4": 2, "node-5": 1}
		for name, weight := range shares {
			require.InDelta(t, ring.Partitions*weight/5.5, table.Owned(name), ring.Partitions*weight/5.5*0.3, name)
		}
	})
}

// TestFaultsInZones has a crash, a join and a drain under load where nodes
// state zones and weights, so that some partitions have three holders.
func TestFaultsInZones(t *testing.T) {
	scenario{options: Options{
		Hosts: 5, Zones: []string{"north", "north", "south", "south", "north"}, Weights: []float64{1, 2, 1, 0.5, 1},
	}, nodes: 4, faults: func(c *Cluster) {
		c.Hosts[1].Kill()
		must(c, c.AwaitSettled(agreeWithin))
		must(c, c.Hosts[1].Start())
		must(c, c.Hosts[4].Start())
		must(c, c.AwaitSettled(agreeWithin))
		must(c, c.Hosts[2].Drain(c.t.Context())) // leaves the light one alone in its zone
		must(c, c.AwaitSettled(agreeWithin))
	}}.run(t)
}
