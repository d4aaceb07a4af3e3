package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// What holds in mode majority: at no time do two sides serve, and one does
// that has a majority of those who count.

// majorityOf starts nodes in mode majority, and watches them from then on.
func majorityOf(t *testing.T, o Options, nodes int) *Cluster {
	o.Mode = node.PartitionMajority
	c := New(t, o)
	c.StartAll(nodes)
	_, err := c.Agree(agreeWithin)
	require.NoError(t, err)
	stop := c.Watch()
	t.Cleanup(func() {
		stop()
		require.Empty(t, c.history.Broken())
	})
	return c
}

// put writes at a host, and get reads there.
func put(t *testing.T, h *Host, key string, value int, create bool) (session.Reply, error) {
	n, _ := h.Node()
	return n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(value), Create: create, TTL: 10 * time.Minute}, session.AckReplica)
}

func get(t *testing.T, h *Host, key string) (value string, err error) {
	n, _ := h.Node()
	rep, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Get, Key: key}, session.AckDefault)
	if err == nil {
		value, _ = rep.Record.Value(valueField)
	}
	return value, err
}

// servesAll says that every key can be written at a host, and servesNone that
// none can.
func servesAll(t *testing.T, h *Host, value int) {
	t.Helper()
	for i := range 100 {
		_, err := put(t, h, fmt.Sprintf("{user-%d}", i), value, false)
		require.NoError(t, err, "%s: key %d", h.Name, i)
	}
}

func servesNone(t *testing.T, h *Host) {
	t.Helper()
	for i := range 20 {
		_, err := put(t, h, fmt.Sprintf("{user-%d}", i), 666, false)
		require.Error(t, err, "%s: key %d", h.Name, i)
	}
}

// connect lets two hosts reach each other again.
func (c *Cluster) connect(a, b *Host) {
	for _, way := range [][2]*Host{{a, b}, {b, a}} {
		c.Net.Change(way[0].Address, way[1].Address, func(p *Path) { *p = Path{Delay: defaultDelay} })
	}
}

// The good-byes of a rolling restart take nobody out of the count that is back:
// a node that is cut off afterwards is a minority.
func TestMajorityAfterRollingRestart(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}[:fewer(3, 1)] {
		t.Run(wait.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := majorityOf(t, Options{Hosts: 3}, 3)
				for _, h := range c.Hosts {
					require.NoError(t, h.Drain(t.Context()))
					require.NoError(t, h.Start())
					_, err := c.Agree(agreeWithin)
					require.NoError(t, err)
				}
				servesAll(t, c.Hosts[0], 1)
				time.Sleep(wait)
				c.Cut(c.Hosts[:1], c.Hosts[1:])
				time.Sleep(10 * time.Second)
				servesNone(t, c.Hosts[0])
				servesAll(t, c.Hosts[2], 2)
			})
		})
	}
}

// Three of five go on without the other two, and are the cluster then. One of
// them, on the side of those two in the next cut, is no majority with them.
func TestMajorityDoesNotDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 5}, 5)
		c.Cut(c.Hosts[:3], c.Hosts[3:])
		time.Sleep(40 * time.Second)
		servesAll(t, c.Hosts[0], 1)
		c.Cut(c.Hosts[:2], c.Hosts[2:3])
		c.connect(c.Hosts[2], c.Hosts[3])
		c.connect(c.Hosts[2], c.Hosts[4])
		time.Sleep(30 * time.Second)
		servesNone(t, c.Hosts[4])
		servesAll(t, c.Hosts[0], 2)
		c.Heal()
		_, err := c.Agree(time.Minute)
		require.NoError(t, err)
		servesAll(t, c.Hosts[4], 3)
	})
}

// Nodes that start beside one that is cut off make no majority of it.
func TestMajorityDoesNotGrowInAMinority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 5}, 3)
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		time.Sleep(10 * time.Second)
		require.NoError(t, c.Hosts[3].Start())
		require.NoError(t, c.Hosts[4].Start())
		time.Sleep(40 * time.Second)
		servesAll(t, c.Hosts[0], 1)
		for _, h := range c.Hosts[2:] {
			servesNone(t, h)
		}
		c.Heal()
		_, err := c.Agree(time.Minute)
		require.NoError(t, err)
		servesAll(t, c.Hosts[4], 2)
	})
}

// After a cut every door reads what the majority has acknowledged during it,
// and a lock that it has given is not given again.
func TestMajorityHeals(t *testing.T) {
	t.Parallel()
	for seed := range uint64(fewer(4, 1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := majorityOf(t, Options{Hosts: 5, Seed: seed}, 5)
				servesAll(t, c.Hosts[0], 1)
				time.Sleep(5 * time.Second)
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				time.Sleep(time.Duration(10+2*seed) * time.Second)
				servesAll(t, c.Hosts[3], 2)
				var locked [100]bool // not those whose copies are all on the other side
				for i := range locked {
					_, err := put(t, c.Hosts[3], fmt.Sprintf("lock-%d", i), 1, true)
					locked[i] = err == nil
				}
				require.Contains(t, locked, true)
				time.Sleep(3 * time.Second)
				c.Heal()
				read := 0
				for healed := time.Now(); time.Since(healed) < 3*time.Second; time.Sleep(7 * time.Millisecond) {
					for i := int(time.Since(healed)/time.Millisecond) % 10; i < 100; i += 10 {
						h := c.Hosts[i%5]
						value, err := get(t, h, fmt.Sprintf("{user-%d}", i))
						if err == nil {
							read++
							require.Equal(t, "2", value, "read at %s %v after the heal", h.Name, time.Since(healed))
						} else {
							require.NotErrorIs(t, err, session.ErrNotFound)
						}
						if !locked[i] {
							continue
						}
						_, err = put(t, h, fmt.Sprintf("lock-%d", i), 9, true)
						require.Error(t, err, "a lock is given twice, at %s %v after the heal", h.Name, time.Since(healed))
					}
				}
				require.Greater(t, read, 100, "they are answered at all")
			})
		})
	}
}

// What is written where the copies of a session are out of reach is copied
// among those who are there: it lasts when its owner dies.
func TestMajorityCopiesWhatItCannotVerify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 5}, 5)
		time.Sleep(5 * time.Second)
		n, _ := c.Hosts[2].Node()
		var keys []string
		for i := range 400 {
			keys = append(keys, fmt.Sprintf("{user-%d}", i))
		}
		keys = elsewhere(n, keys, c.Hosts[2:]...)
		require.NotEmpty(t, keys)
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		time.Sleep(6 * time.Second)
		for _, key := range keys {
			rep, err := put(t, c.Hosts[2], key, 1, false)
			require.NoError(t, err)
			require.True(t, rep.Degraded, "the copies of before are out of reach")
			require.Equal(t, 1, rep.Acked, "a copy was asked for")
		}
	})
}

// Two nodes: a planned restart of each is not noticed; when one has crashed the
// other serves as soon as that one's process is known to have ended for sure,
// by the next one in its place; and neither side of a cut serves.
func TestMajorityOfTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 2}, 2)
		for _, h := range c.Hosts {
			require.NoError(t, h.Drain(t.Context()))
			servesAll(t, c.Hosts[0:2][map[bool]int{true: 1, false: 0}[h == c.Hosts[0]]], 1)
			require.NoError(t, h.Start())
			_, err := c.Agree(agreeWithin)
			require.NoError(t, err)
		}
		require.NoError(t, c.Hosts[1].Restart())
		_, err := c.Agree(agreeWithin)
		require.NoError(t, err)
		servesAll(t, c.Hosts[0], 2)
		time.Sleep(5 * time.Second)
		c.Cut(c.Hosts[:1], c.Hosts[1:])
		time.Sleep(40 * time.Second)
		servesNone(t, c.Hosts[0])
		servesNone(t, c.Hosts[1])
		c.Heal()
		_, err = c.Agree(time.Minute)
		require.NoError(t, err)
		servesAll(t, c.Hosts[1], 3)
	})
}

// Two of three crash at once and are started anew. The third knows that nothing
// was decided without it, and goes on with them.
func TestMajorityCrashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 3}, 3)
		time.Sleep(10 * time.Second)
		c.Hosts[0].Kill()
		c.Hosts[1].Kill()
		time.Sleep(time.Second)
		require.NoError(t, c.Hosts[0].Start())
		require.NoError(t, c.Hosts[1].Start())
		_, err := c.Agree(time.Minute)
		require.NoError(t, err)
		servesAll(t, c.Hosts[0], 1)
	})
}

// Random faults, cuts among them: never two owners, and served at the end.
func TestMajorityWatched(t *testing.T) {
	t.Parallel()
	for seed := range uint64(max(1, *seedsFlag/4)) { // one takes as long as some of the others
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := majorityOf(t, Options{Hosts: 5, Seed: seed}, 5)
				c.Play(Plan(seed, 5, 2*time.Minute, true))
				c.Heal()
				_, err := c.Agree(2 * time.Minute)
				require.NoError(t, err)
				n, _ := c.Running()[0].Node()
				_, err = n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: "last", Fields: fields(1)}, session.AckReplica)
				require.NoError(t, err)
			})
		})
	}
}
