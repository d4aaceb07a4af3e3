package simulation

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// forgotten is for how long a connection that a firewall has forgotten is
// silent: longer than Linux tries by itself.
const forgotten = 15 * time.Minute

func nodeOf(h *Host) *node.Node {
	n, _ := h.Node()
	return n
}

// fill makes so many sessions that a copy has confirmed, and returns their
// keys.
func (c *Cluster) fill(n int) (keys []string) {
	c.t.Helper()
	for i := range n {
		key := fmt.Sprintf("user-%d", i)
		_, err := nodeOf(c.Hosts[0]).Sessions().Do(c.t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, session.AckReplica)
		require.NoError(c.t, err)
		keys = append(keys, key)
	}
	return keys
}

// missing counts the keys that a host does not serve.
func (c *Cluster) missing(at *Host, keys []string) (n int) {
	for _, key := range keys {
		if _, err := nodeOf(at).Sessions().Do(c.t.Context(), &session.Op{Kind: session.Get, Key: key}, session.AckDefault); err != nil {
			n++
		}
	}
	return n
}

// TestBulkConnectionStalls: one connection for bulk transfers passes nothing
// more, and another node dies. The copies that are missing are rebuilt at once
// with all other nodes, and behind the silent connection over a new one; so the
// next death loses nothing.
func TestBulkConnectionStalls(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{true, false} {
		t.Run(fmt.Sprintf("both=%t", both), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 5})
				c.StartAll(5)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				keys := c.fill(500)
				time.Sleep(10 * time.Second)
				a, b, dead := c.Hosts[0], c.Hosts[1], c.Hosts[2]
				c.Stall(a, b, both, forgotten)
				time.Sleep(3 * time.Second) // a comparison hangs
				dead.Kill()
				time.Sleep(20 * time.Second)
				for _, h := range c.Running() {
					require.Zero(t, inspect.Of(nodeOf(h)).Repairer.BelowTarget(), "keys of %s with too few copies", h.Name)
				}
				require.NotZero(t, inspect.Of(nodeOf(a)).Counters()["links_replaced"])
				a.Kill()
				time.Sleep(5 * time.Second)
				require.Zero(t, c.missing(b, keys), "sessions that a copy had confirmed")
			})
		})
	}
}

// TestStalledMemberHoldsUpNoOther: the same, and before the silent connection is
// given up the copies at all others are in place.
func TestStalledMemberHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 5})
		c.StartAll(5)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		c.fill(500)
		time.Sleep(10 * time.Second)
		a, b, dead := c.Hosts[0], c.Hosts[1], c.Hosts[2]
		c.Stall(a, b, true, forgotten)
		time.Sleep(3 * time.Second)
		dead.Kill()
		time.Sleep(1500 * time.Millisecond) // gossip and claims are done with it
		require.Equal(t, []string{b.Name}, inspect.Of(nodeOf(a)).Repairer.Behind(), "with whom copies are missing")
	})
}

// TestDrainBesideAStalledConnection: a node is drained whose bulk connection to
// another one passes nothing more.
func TestDrainBesideAStalledConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 4})
		c.StartAll(4)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		keys := c.fill(500)
		time.Sleep(10 * time.Second)
		c.Stall(c.Hosts[0], c.Hosts[1], true, forgotten)
		time.Sleep(3 * time.Second)
		begin := time.Now()
		require.NoError(t, c.Hosts[0].Drain(t.Context()))
		require.Less(t, time.Since(begin), 15*time.Second)
		require.Zero(t, c.missing(c.Hosts[1], keys))
	})
}

// TestDrainBesideAFrozenNode: of three nodes one stands still, one leaves, and the
// third, to which all was handed over, crashes. The one that stands still comes
// back before the one that leaves has gone, and takes over from that.
func TestDrainBesideAFrozenNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		keys := c.fill(300)
		time.Sleep(10 * time.Second)
		c.Hosts[2].Pause()
		left := make(chan error, 1)
		go func() { left <- c.Hosts[0].Drain(t.Context()) }()
		time.Sleep(10 * time.Second)
		n, _ := c.Hosts[1].Node()
		require.Equal(t, len(keys), inspect.Of(n).Store.Stats().Sessions, "all was handed over")
		c.Hosts[1].Kill()
		time.Sleep(time.Second)
		c.Hosts[2].Resume()
		require.NoError(t, <-left)
		require.Zero(t, c.missing(c.Hosts[2], keys))
	})
}

// tried is what became of calls at one node.
type tried struct{ served, full, other int }

func (a *tried) note(err error) {
	switch {
	case err == nil:
		a.served++
	case errors.Is(err, session.ErrFull):
		a.full++
	default:
		a.other++
	}
}

// all says whether every call was served.
func (a tried) all() bool { return a.served > 0 && a.full+a.other == 0 }

// create makes n new sessions at a node, and changes each once it is there.
func (c *Cluster) create(at *Host, n int, ack session.Ack) (a tried) {
	s := nodeOf(at).Sessions()
	for i := range n {
		key := fmt.Sprintf("new-%s-%v-%d", at.Name, c.Elapsed(), i)
		_, err := s.Do(c.t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, ack)
		a.note(err)
		if err == nil {
			_, err = s.Do(c.t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(2)}, ack)
			a.note(err)
		}
	}
	return a
}

// TestCutLinkRefusesNothing cuts one link between two of the nodes. From the
// moment at which that is noticed, every new session is taken at every node,
// and has as many copies as it should.
func TestCutLinkRefusesNothing(t *testing.T) {
	t.Parallel()
	for _, hosts := range []int{3, 5} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: hosts})
				c.StartAll(hosts)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				keys := c.fill(100)
				c.Cut(c.Hosts[:1], c.Hosts[1:2])
				time.Sleep(4 * time.Second)
				for _, at := range []time.Duration{0, 10 * time.Second, 50 * time.Second} {
					time.Sleep(at)
					for _, h := range c.Hosts {
						for _, ack := range []session.Ack{session.AckAsync, session.AckReplica, session.AckAll} {
							a := c.create(h, 30, ack)
							require.True(t, a.all(), "at %s, ack %v, %v later: %+v", h.Name, ack, at, a)
						}
						n := inspect.Of(nodeOf(h))
						require.Less(t, n.Lag(), time.Second)
						require.Zero(t, n.Repairer.BelowTarget())
					}
				}
				c.Hosts[0].Kill() // what it served had its copies behind the cut
				time.Sleep(5 * time.Second)
				require.Zero(t, c.missing(c.Hosts[1], keys))
			})
		})
	}
}

// TestRefusedLink lets a firewall refuse what one node dials at another, one
// way. Nothing is unavailable, a node that joins is served from, and a drain
// hands over everything.
func TestRefusedLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 5})
		c.StartAll(4)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		keys := c.fill(200)
		time.Sleep(3 * time.Second)
		one, two := c.Hosts[0], c.Hosts[1]
		c.SetPeerPort(one, two, PortRefuses)
		c.Reset(one, two)
		time.Sleep(3 * time.Second)
		look := func(when string) {
			for _, h := range c.Running() {
				require.Zero(t, c.missing(h, keys), "%s, at %s", when, h.Name)
				a := c.create(h, 40, session.AckReplica)
				require.True(t, a.all(), "%s, at %s: %+v", when, h.Name, a)
				require.Len(t, nodeOf(h).View().Nodes(), len(c.Running()), "%s: whom %s sees", when, h.Name)
			}
		}
		look("3 s later")
		time.Sleep(time.Minute)
		look("a minute later")
		require.NoError(t, c.Hosts[4].Start())
		time.Sleep(10 * time.Second)
		look("after a join")
		require.NoError(t, c.Hosts[2].Drain(t.Context()))
		time.Sleep(5 * time.Second)
		look("after a drain")
		two.Kill()
		time.Sleep(5 * time.Second)
		look("after the one behind the link has died")
	})
}

// TestPeerPortBlocked starts a node whose peer port nobody reaches, while
// gossip passes and all that it sends itself. The others go on as if it were
// not there, also when one of them dies, and it says what is wrong; once the
// port is open it takes its place.
func TestPeerPortBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 4})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		keys := c.fill(200)
		bad := c.Hosts[3]
		for _, h := range c.Hosts[:3] {
			c.SetPeerPort(h, bad, PortDrops)
		}
		require.NoError(t, bad.Start())
		look := func(when string) {
			for _, h := range c.Hosts[:3] {
				if !h.Up() {
					continue
				}
				require.Zero(t, c.missing(h, keys), "%s, at %s", when, h.Name)
				for _, ack := range []session.Ack{session.AckAsync, session.AckReplica} {
					a := c.create(h, 40, ack)
					require.True(t, a.all(), "%s, at %s, ack %v: %+v", when, h.Name, ack, a)
				}
				require.Less(t, inspect.Of(nodeOf(h)).Lag(), time.Second)
			}
		}
		look("at once")
		time.Sleep(20 * time.Second)
		look("20 s later")
		time.Sleep(time.Minute)
		look("80 s later")
		c.Hosts[1].Kill()
		time.Sleep(5 * time.Second)
		look("after another one has died")
		for _, h := range c.Hosts[:3] {
			c.SetPeerPort(h, bad, PortOpen)
		}
		time.Sleep(10 * time.Second)
		require.Len(t, nodeOf(bad).View().Nodes(), 3)
		look("with it")
		require.Zero(t, c.missing(bad, keys))
	})
}

// TestSilentHolder breaks every connection to the peer port of a node that
// serves, while gossip passes. What it owns waits for it; what others own goes
// on at them, with a copy at the next node that is reached.
func TestSilentHolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 4})
		c.StartAll(4)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		bad := c.Hosts[3]
		for _, h := range c.Hosts[:3] {
			c.SetPeerPort(h, bad, PortDrops)
			c.Reset(h, bad)
		}
		time.Sleep(20 * time.Second)
		var written []string
		for _, h := range c.Hosts[:3] {
			s, table := nodeOf(h).Sessions(), nodeOf(h).View().Table
			for i := range 200 {
				key := fmt.Sprintf("new-%s-%d", h.Name, i)
				if table.Owner(ring.Partition(key)) != h.Name {
					continue
				}
				for _, ack := range []session.Ack{session.AckReplica, session.AckAll} {
					_, err := s.Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, ack)
					require.NoError(t, err, "at %s, ack %v", h.Name, ack)
				}
				written = append(written, key)
			}
		}
		require.NotEmpty(t, written)
		for _, h := range c.Hosts[:3] {
			c.SetPeerPort(h, bad, PortOpen)
		}
		require.NoError(t, c.AwaitSettled(agreeWithin))
		c.Hosts[0].Kill()
		time.Sleep(5 * time.Second)
		require.Zero(t, c.missing(c.Hosts[1], written))
	})
}

// TestServerThatNobodyReaches breaks every connection to the peer port of a node
// that serves, in one direction or in both, while gossip passes. It leaves the
// ring and says why; what it owned is served by the others, and by itself where
// it still reaches them. When its links work again it is back, and nothing that
// was acknowledged is lost.
func TestServerThatNobodyReaches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode node.PartitionMode
		both bool
	}{
		"one way":             {node.PartitionAvailable, false},
		"both ways":           {node.PartitionAvailable, true},
		"one way, majority":   {node.PartitionMajority, false},
		"both ways, majority": {node.PartitionMajority, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { serverThatNobodyReaches(t, c.mode, c.both) })
		})
	}
}

func serverThatNobodyReaches(t *testing.T, mode node.PartitionMode, both bool) {
	c := New(t, Options{Hosts: 4, Mode: mode})
	c.StartAll(4)
	require.NoError(t, c.AwaitSettled(agreeWithin))
	time.Sleep(5 * time.Second)
	bad, rest := c.Hosts[3], c.Hosts[:3]
	keys := c.fill(200)
	set := func(fault PortFault) {
		for _, h := range rest {
			c.SetPeerPort(h, bad, fault)
			if both {
				c.SetPeerPort(bad, h, fault)
			}
			if fault == PortDrops {
				c.Reset(h, bad)
			}
		}
	}
	set(PortDrops)
	time.Sleep(12 * time.Second)
	served := func(when string) {
		for _, h := range rest {
			require.Len(t, nodeOf(h).View().Nodes(), 3, "%s: the ring of %s", when, h.Name)
			require.Zero(t, c.missing(h, keys), "%s: at %s", when, h.Name)
			a := c.create(h, 40, session.AckReplica)
			require.True(t, a.all(), "%s: at %s: %+v", when, h.Name, a)
		}
		require.Len(t, look(bad).Unfit(), 1, when)
	}
	served("at once")
	if !both {
		require.Zero(t, c.missing(bad, keys), "it reaches the others, and passes requests on")
	}
	time.Sleep(time.Minute)
	served("a minute later")
	rest[0].Kill()
	rest = rest[1:]
	time.Sleep(5 * time.Second)
	for _, h := range rest {
		require.Zero(t, c.missing(h, keys), "after another one has died")
	}
	rest = c.Hosts[:3]
	set(PortOpen)
	time.Sleep(10 * time.Second)
	require.Empty(t, look(bad).Unfit())
	require.Len(t, nodeOf(bad).View().Nodes(), 3)
	require.Zero(t, c.missing(bad, keys))
	require.NoError(t, c.AwaitSettled(agreeWithin))
}
