package simulation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// What holds while the clock of a host is wrong, and when it jumps.

// ownedBy returns keys whose owner is a host.
func ownedBy(h *Host, count int) (keys []string) {
	n, _ := h.Node()
	for i := 0; len(keys) < count; i++ {
		if key := fmt.Sprintf("user-%d", i); n.View().Table.Owner(ring.Partition(key)) == h.Name {
			keys = append(keys, key)
		}
	}
	return keys
}

// threeAgree starts three nodes that agree.
func threeAgree(t *testing.T, hosts int) *Cluster {
	c := New(t, Options{Hosts: hosts})
	c.StartAll(3)
	_, err := c.Agree(agreeWithin)
	require.NoError(t, err)
	require.NoError(t, c.AwaitSettled(agreeWithin))
	return c
}

func look(h *Host) inspect.Node {
	n, _ := h.Node()
	return inspect.Of(n)
}

// putAsync writes at a host, and does not wait for a copy.
func putAsync(t *testing.T, h *Host, key string, value int) {
	t.Helper()
	n, _ := h.Node()
	_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(value), TTL: 30 * time.Minute}, session.AckAsync)
	require.NoError(t, err, "%s: %s", h.Name, key)
}

// A host's clock jumps while its node serves. The node goes on by the time
// before: sessions do not end, copies are taken, nothing is lost with it, and
// nothing is poisoned when the clock has come back.
func TestHostClockJumps(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{5 * time.Second, -time.Hour, 365 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := threeAgree(t, 3)
				owner := c.Hosts[0]
				keys := ownedBy(owner, 20)
				for _, key := range keys {
					putAsync(t, owner, key, 0)
				}
				time.Sleep(5 * time.Second)
				owner.Skew(by)
				for i := range 60 {
					for _, key := range keys {
						putAsync(t, owner, key, i)
					}
					time.Sleep(time.Second)
				}
				require.EqualValues(t, 1, look(owner).Counters()["clock_jumps"])
				require.Empty(t, look(owner).Unfit(), "its time is right")
				owner.Skew(0)
				time.Sleep(time.Minute)
				for _, key := range keys {
					rep, err := put(t, owner, key, 60, false)
					require.NoError(t, err)
					require.Positive(t, rep.Acked, "nothing was poisoned")
				}
				for _, h := range c.Hosts {
					require.Zero(t, look(h).Counters()["copies_quarantined"])
				}
				owner.Kill()
				time.Sleep(5 * time.Second)
				for _, key := range keys {
					value, err := get(t, c.Hosts[1], key)
					require.NoError(t, err)
					require.Equal(t, "60", value)
				}
			})
		})
	}
}

// A node whose host's clock is wrong when it starts is on nobody's ring, says
// why, and holds nobody up; it takes its place when the clock has been set.
func TestNodeStartsWithAWrongClock(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{2 * time.Second, -time.Hour, 365 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := threeAgree(t, 4)
				for i := range 100 {
					putAsync(t, c.Hosts[0], fmt.Sprintf("user-%d", i), 1)
				}
				late := c.Hosts[3]
				late.Skew(by)
				require.NoError(t, late.Start())
				for range 60 {
					require.Len(t, look(late).Unfit(), 1)
					for _, h := range c.Hosts {
						n, _ := h.Node()
						require.Len(t, n.View().Nodes(), 3, "%s: the ring", h.Name)
					}
					for i := range 100 { // served through it as well
						value, err := get(t, c.Hosts[3*(i%2)], fmt.Sprintf("user-%d", i))
						require.NoError(t, err)
						require.Equal(t, "1", value)
					}
					time.Sleep(time.Second)
				}
				late.Skew(0)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				require.Empty(t, look(late).Unfit())
				n, _ := late.Node()
				require.Len(t, n.View().Nodes(), 4)
			})
		})
	}
}

// The clocks of all hosts are set, one after the other, as when NTP begins to
// work: all members follow, and nobody is without an owner afterwards.
func TestAllHostClocksAreSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := threeAgree(t, 3)
		keys := ownedBy(c.Hosts[0], 20)
		for _, key := range keys {
			putAsync(t, c.Hosts[0], key, 1)
		}
		for _, h := range c.Hosts {
			h.Skew(10 * time.Second)
			time.Sleep(5 * time.Second)
		}
		require.NoError(t, c.AwaitSettled(agreeWithin))
		for _, h := range c.Hosts {
			require.Empty(t, look(h).Unfit())
			require.Zero(t, look(h).Wall.Host(), "%s goes by its host's clock", h.Name)
			for _, key := range keys {
				rep, err := put(t, h, key, 2, false)
				require.NoError(t, err)
				require.Positive(t, rep.Acked)
			}
		}
	})
}

// An owner whose clock is ahead writes, and stands still before the write is
// copied. What its successor, whose clock is behind, has confirmed meanwhile is
// not undone when it goes on. Both clocks are off by no more than is accepted.
func TestOwnerAheadStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := threeAgree(t, 3)
		owner, other := c.Hosts[0], c.Hosts[1]
		other.Skew(-900 * time.Millisecond)
		n, _ := owner.Node()
		keys := slices.DeleteFunc(ownedBy(owner, 20), func(key string) bool {
			return n.View().Table.Holders(ring.Partition(key))[1] != other.Name
		})
		require.NotEmpty(t, keys)
		for i, key := range keys {
			owner.Skew(900 * time.Millisecond)
			c.shape(func(p *Path) { p.Delay = 20 * time.Millisecond })
			time.Sleep(5 * time.Second) // so that it is known where the copies are
			_, err := put(t, owner, key, 1, false)
			require.NoError(t, err)
			putAsync(t, owner, key, 2)
			owner.Pause()
			for _, h := range c.others(owner) { // what its kernel would still send is lost
				c.Net.Reset(owner.Address, h.Address)
			}
			for try := 0; ; try++ {
				rep, err := put(t, other, key, 3, false)
				if err == nil && rep.Acked > 0 {
					break
				}
				require.Less(t, try, 100, "%+v, %v", rep, err)
				time.Sleep(100 * time.Millisecond)
			}
			c.Heal()
			owner.Resume()
			require.NoError(t, c.AwaitSettled(agreeWithin))
			value, err := get(t, other, key)
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(3), value, "round %d", i)
		}
	})
}

// A copy that has ended by the clock of its holder is not held, so it is not
// confirmed, and who looks at the figures sees that it is missing.
func TestCopyThatHasEndedIsNotConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := threeAgree(t, 3)
		owner := c.Hosts[0]
		owner.Skew(-900 * time.Millisecond)
		n, _ := owner.Node()
		var keys []string // that have their copy at the same other host
		for _, key := range ownedBy(owner, 20) {
			if n.View().Table.Holders(ring.Partition(key))[1] == c.Hosts[1].Name {
				keys = append(keys, key)
			}
		}
		c.Hosts[1].Skew(900 * time.Millisecond)
		time.Sleep(session.Lead)
		write := func(key string, ttl time.Duration) (session.Reply, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			return n.Sessions().Do(ctx, &session.Op{Kind: session.Put, Key: key, Fields: fields(1), TTL: ttl}, session.AckReplica)
		}
		rep, err := write(keys[0], time.Minute)
		require.NoError(t, err)
		require.Equal(t, 1, rep.Acked)
		require.Zero(t, look(owner).Repairer.BelowTarget())
		for _, key := range keys[:2] { // one that it holds, and one that it does not
			_, err = write(key, time.Second)
			require.ErrorIs(t, err, session.ErrUncertain, key)
		}
		require.Positive(t, look(owner).Repairer.BelowTarget())
	})
}
