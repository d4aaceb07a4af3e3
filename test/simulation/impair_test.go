package simulation

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
)

func (c *Cluster) pathNow(a, b *Host) Path {
	c.Net.mu.Lock()
	defer c.Net.mu.Unlock()
	return *c.Net.pathLocked(a.Address, b.Address)
}

// TestImpairmentsOverlap: the end of one impairment leaves the other, and the
// end of both leaves nothing.
func TestImpairmentsOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, Delay: time.Millisecond})
		a, b, other := c.Hosts[0], c.Hosts[1], c.Hosts[2]
		first, second := c.impair(isolation(a, false)), c.impair(isolation(b, true))
		require.Equal(t, Path{Cut: true, Refused: true, Delay: time.Millisecond}, c.pathNow(a, b))
		second()
		require.Equal(t, Path{Cut: true, Delay: time.Millisecond}, c.pathNow(a, b))
		require.Equal(t, Path{Delay: time.Millisecond}, c.pathNow(b, other))
		first()
		require.Equal(t, Path{Delay: time.Millisecond}, c.pathNow(a, b))
	})
}

// TestReach: a cut link splits nothing while a third host joins its ends. Once
// it does not, order is not looked at until all agree again.
func TestReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		defer c.tendWindows()()
		p := &player{c: c, busy: make(map[*Host]bool)}
		heal := c.impair(&impairment{cut: true, path: func(a, b *Host, path *Path) {
			path.Cut = path.Cut || a != c.Hosts[2] && b != c.Hosts[2]
		}})
		require.False(t, c.history.splitNow())
		p.pause(c.Hosts[2])
		require.True(t, c.history.splitNow())
		p.resume(c.Hosts[2])
		heal()
		time.Sleep(agreeWithin)
		require.False(t, c.history.splitNow())

		refuses := func(to *Host) (heal func()) {
			return c.impair(&impairment{port: func(a, b *Host, port int) PortFault {
				if port == peerPort && a == c.Hosts[0] && b == to {
					return PortRefuses
				}
				return PortOpen
			}})
		}
		defer refuses(c.Hosts[1])()
		require.False(t, c.history.splitNow(), "it asks through the third one")
		defer refuses(c.Hosts[2])()
		require.True(t, c.history.splitNow(), "it can ask nobody")
	})
}

// TestOutlivedBy: where all others have left in order, the last one who counts is
// not to be killed.
func TestOutlivedBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 3}, 3)
		for _, h := range c.Hosts {
			require.True(t, c.outlivedBy(h), h.Name)
		}
		require.NoError(t, c.Hosts[0].Drain(t.Context()))
		require.NoError(t, c.Hosts[1].Drain(t.Context()))
		require.False(t, c.outlivedBy(c.Hosts[2]))
	})
}

// TestMustServe: who must be served while a host is cut off.
func TestMustServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 3}, 3)
		_, err := put(t, c.Hosts[0], "user", 1, false)
		require.NoError(t, err)
		must := func(h *Host, key string) bool { return c.mustServe(h, key, c.Elapsed()) }
		c.noteChange()
		require.False(t, must(c.Hosts[0], "user"), "something has just changed")
		time.Sleep(served)
		require.True(t, must(c.Hosts[0], "user"))
		require.True(t, must(c.Hosts[0], "nobody"))
		heal := c.impair(isolation(c.Hosts[2], false))
		time.Sleep(served)
		held := holds(nodeOf(c.Hosts[0]), "user") || holds(nodeOf(c.Hosts[1]), "user")
		require.True(t, held, "two of three have it")
		require.True(t, must(c.Hosts[0], "user"))
		require.False(t, must(c.Hosts[0], "nobody"), "the copies may be behind the cut")
		require.False(t, must(c.Hosts[2], "user"), "it is alone")
		heal()
	})
}

// TestLoss: one death loses nothing by right. A second one does, of what only
// the two had, until all copies are in their places again.
func TestLoss(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Hosts: 3, Mode: node.PartitionAvailable})
			c.options.Copies = 2
			c.StartAll(3)
			require.NoError(t, c.AwaitSettled(agreeWithin))
			keys := c.fill(200)
			c.impair(isolation(c.Hosts[2], false)) // so that it gets no new copies
			c.Hosts[0].Kill()
			require.Empty(t, c.history.lost)
			if whole {
				c.noteWhole()
			}
			c.Hosts[1].Kill()
			lost := 0
			for _, key := range keys {
				if len(c.history.lost[key]) > 0 {
					require.False(t, holds(nodeOf(c.Hosts[2]), key))
					lost++
				}
			}
			require.Equal(t, whole, lost == 0, "%d lost", lost)
		})
	}
}

// TestLossOfTheOnlyCopy: with one copy it goes with its owner, though another node
// still has what it has handed over. What a node has that owns nothing of it is
// not missed.
func TestLossOfTheOnlyCopy(t *testing.T) {
	t.Parallel()
	for _, owner := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Hosts: 2, Copies: 1, Mode: node.PartitionAvailable})
			c.StartAll(2)
			require.NoError(t, c.AwaitSettled(agreeWithin))
			key := c.fill(1)[0]
			at := slices.IndexFunc(c.Hosts, func(h *Host) bool { return serves(nodeOf(h), key) })
			_, err := inspect.Of(nodeOf(c.Hosts[1-at])).Store.Merge(inspect.Of(nodeOf(c.Hosts[at])).Store.Peek(key))
			require.NoError(t, err)
			if owner {
				c.Hosts[at].Kill()
			} else {
				c.Hosts[1-at].Kill()
			}
			require.Equal(t, owner, len(c.history.lost[key]) > 0)
		})
	}
}

// TestLossWithAnotherCopy: with more copies than one, two by default, what another
// node has is not lost, whether it owns it or not.
func TestLossWithAnotherCopy(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Hosts: 3, Mode: node.PartitionAvailable})
			c.StartAll(3)
			require.NoError(t, c.AwaitSettled(agreeWithin))
			key := c.fill(1)[0]
			at := slices.IndexFunc(c.Hosts, func(h *Host) bool { return !holds(nodeOf(h), key) })
			others := slices.Delete(slices.Clone(c.Hosts), at, at+1)
			if held {
				_, err := inspect.Of(nodeOf(c.Hosts[at])).Store.Merge(inspect.Of(nodeOf(others[0])).Store.Peek(key))
				require.NoError(t, err)
			}
			for _, h := range others {
				h.Kill()
			}
			require.Equal(t, held, len(c.history.lost[key]) == 0)
		})
	}
}
