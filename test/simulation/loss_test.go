package simulation

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// lossSeen is within what time of a loss every member knows of it.
const lossSeen = 20 * time.Second

// census is what a node says of losses: how many sessions, and who is missing.
func census(n *node.Node) (lost int, missing []string) {
	c := inspect.Of(n).Census
	for _, m := range c.Missing() {
		missing = append(missing, m.Name)
	}
	lost, _ = c.Lost()
	return lost, missing
}

// requireLoss says that every running node tells of about so many lost sessions
// and of these missing members.
func requireLoss(t *testing.T, c *Cluster, gone int, missing ...string) {
	t.Helper()
	for _, n := range c.nodes() {
		lost, names := census(n)
		require.LessOrEqual(t, math.Abs(float64(lost-gone)), 0.3*float64(gone), "%s says %d lost, %d are", n.ID().Name, lost, gone)
		require.Equal(t, missing, names, n.ID().Name)
	}
}

// gone counts the keys that a running node does not find.
func gone(t *testing.T, c *Cluster, keys []string) int {
	t.Helper()
	return missing(t, c.nodes()[0], keys)
}

// Two of three nodes die at once, and with them both copies of a third of the
// sessions. The survivor says so, and goes on saying so when gossip has long
// forgotten the dead, until an operator has them forgotten.
func TestSurvivorSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 3}, 3, 600)
		requireLoss(t, c, 0)
		c.Hosts[1].Kill()
		c.Hosts[2].Kill()
		time.Sleep(lossSeen)
		lost := gone(t, c, keys)
		require.Greater(t, lost, 100)
		requireLoss(t, c, lost, "node-2", "node-3")
		n, _ := c.Hosts[0].Node()
		require.Equal(t, len(keys)-lost, inspect.Of(n).Repairer.BelowTarget(), "one node for two copies")
		require.Zero(t, inspect.Of(n).Repairer.CopiesDue(), "nobody is there to have them")

		time.Sleep(75 * time.Second)
		requireLoss(t, c, lost, "node-2", "node-3")
		require.NoError(t, c.Hosts[1].Start(), "anew, and empty")
		time.Sleep(10 * time.Second)
		requireLoss(t, c, lost, "node-3")

		before, _ := census(n)
		sessions, err := inspect.Of(n).Census.Forget("node-3")
		require.NoError(t, err)
		require.Equal(t, before, sessions)
		time.Sleep(time.Second)
		requireLoss(t, c, 0)
		_, err = inspect.Of(n).Census.Forget("node-3")
		require.ErrorContains(t, err, "no such member is missing")
		_, err = inspect.Of(n).Census.Forget("node-2")
		require.ErrorContains(t, err, "takes part")
	})
}

// Several survive. What was lost each finds in those partitions that it has
// taken over, and all of them say the same.
func TestAllSurvivorsSayWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 6}, 5, 1500)
		c.Hosts[3].Kill()
		c.Hosts[4].Kill()
		time.Sleep(lossSeen)
		lost := gone(t, c, keys)
		require.Greater(t, lost, 50)
		requireLoss(t, c, lost, "node-4", "node-5")
		require.NoError(t, c.Hosts[5].Start(), "it has seen nothing of that")
		time.Sleep(5 * time.Second)
		requireLoss(t, c, lost, "node-4", "node-5")
	})
}

// Both nodes are back within the second, as other processes, and claim what was
// theirs. How many sessions that were only the third can tell them.
func TestRestartOfTwoAtOnceIsALoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 3}, 3, 600)
		for _, h := range c.Hosts[1:] {
			h.Kill()
		}
		for _, h := range c.Hosts[1:] {
			require.NoError(t, h.Start())
		}
		time.Sleep(lossSeen)
		lost := gone(t, c, keys)
		require.Greater(t, lost, 100)
		requireLoss(t, c, lost)
	})
}

// One node dies and its successors have the copies; one leaves in order; one
// joins: nothing is lost, whatever ends by itself meanwhile.
func TestWhatIsNoLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, keys := island(t, Options{Hosts: 4}, 3, 600)
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for _, key := range keys[:400] {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				n := c.nodes()[0]
				_, _ = n.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: key}, session.AckDefault) // a logout may fail while an owner dies
			}
		}()
		c.Hosts[2].Kill()
		time.Sleep(5 * time.Second)
		requireLoss(t, c, 0, "node-3")
		require.NoError(t, c.Hosts[2].Start())
		require.NoError(t, c.Hosts[3].Start())
		time.Sleep(5 * time.Second)
		requireLoss(t, c, 0)
		require.NoError(t, c.Hosts[1].Drain(t.Context()))
		time.Sleep(5 * time.Second)
		requireLoss(t, c, 0)
		require.NoError(t, c.Hosts[1].Start())
		for _, h := range []*Host{c.Hosts[0], c.Hosts[1], c.Hosts[2], c.Hosts[3]} { // one after the other, as fast as it goes
			require.NoError(t, h.Drain(t.Context()))
			require.NoError(t, h.Start())
			require.NoError(t, c.AwaitSettled(agreeWithin))
			requireLoss(t, c, 0)
		}
		close(stop)
		<-ended
		time.Sleep(75 * time.Second)
		requireLoss(t, c, 0)
	})
}

// A node that is cut off takes everything over, and holds for lost what it has
// no copy of. The others have it, and when the cut has healed all say so.
func TestIslandComesBackWithWhatWasLost(t *testing.T) {
	t.Parallel()
	for _, cut := range []time.Duration{10 * time.Second, 2 * time.Minute} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, keys := island(t, Options{Hosts: 3}, 3, 600)
				n, _ := c.Hosts[2].Node()
				foreign := len(elsewhere(n, keys, c.Hosts[2]))
				require.Greater(t, foreign, 100)
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				time.Sleep(cut)
				lost, missing := census(n)
				require.InDelta(t, foreign, lost, 0.3*float64(foreign))
				require.Equal(t, []string{"node-1", "node-2"}, missing)
				require.False(t, inspect.Of(n).Census.Missing()[0].Ended, "they may be cut off")
				other, _ := c.Hosts[0].Node()
				lost, missing = census(other)
				require.Zero(t, lost, "there is a copy of all on this side")
				require.Equal(t, []string{"node-3"}, missing)
				require.NoError(t, c.rejoin())
				time.Sleep(5 * time.Second)
				requireLoss(t, c, 0)
			})
		})
	}
}

// A frozen node is missing while it is frozen, also when gossip has forgotten
// it, and then it is back.
func TestFrozenNodeIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := island(t, Options{Hosts: 3}, 3, 60)
		c.Hosts[2].Pause()
		for _, wait := range []time.Duration{5 * time.Second, 80 * time.Second} {
			time.Sleep(wait)
			for _, h := range c.Hosts[:2] {
				n, _ := h.Node()
				missing := inspect.Of(n).Census.Missing()
				require.Len(t, missing, 1)
				require.Equal(t, "node-3", missing[0].Name)
				require.False(t, missing[0].Ended)
				require.True(t, missing[0].LastSeen.Before(missing[0].Since))
			}
		}
		c.Hosts[2].Resume()
		time.Sleep(10 * time.Second)
		requireLoss(t, c, 0)
	})
}
