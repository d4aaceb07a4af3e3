package simulation

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// partitionHeals cuts five nodes into two and three for so long.
func partitionHeals(t *testing.T, d time.Duration) {
	scenario{options: Options{Hosts: 5}, nodes: 5, faults: func(c *Cluster) {
		c.history.split()
		defer c.history.rejoined()
		c.Cut(c.Hosts[:2], c.Hosts[2:])
		time.Sleep(d)
		healed := c.Elapsed()
		must(c, c.rejoin())
		c.t.Logf("one view %v after the cut was healed", c.Elapsed()-healed)
	}}.run(t)
}

func TestPartitionHeals5s(t *testing.T)   { partitionHeals(t, 5*time.Second) }
func TestPartitionHeals31s(t *testing.T)  { partitionHeals(t, 31*time.Second) }
func TestPartitionHeals120s(t *testing.T) { partitionHeals(t, 120*time.Second) }

// TestJoinBehindACut: a node that joins one which is cut off has never seen the
// others, and takes partitions over of which only those have copies. That there
// is no session it does not say, so nobody begins one in the place of theirs.
func TestJoinBehindACut(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{time.Second, 10 * time.Second} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 4})
				c.StartAll(3)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				first, _ := c.Hosts[0].Node()
				const keys = 100
				key := func(i int) string { return fmt.Sprintf("{user-%d}", i) }
				for i := range keys {
					_, err := first.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key(i), Fields: fields(1)}, session.AckReplica)
					require.NoError(t, err)
				}
				time.Sleep(5 * time.Second)
				island, _ := c.Hosts[2].Node()
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				awaitAll(island)
				require.NoError(t, c.Hosts[3].Start())
				joiner, _ := c.Hosts[3].Node()
				for len(joiner.View().Nodes()) < 2 {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(after)
				found, refused := 0, 0
				for i := range keys {
					if joiner.View().Table.Owner(ring.Partition(key(i))) != joiner.ID().Name {
						continue
					}
					switch _, err := joiner.Sessions().Get(t.Context(), key(i)); {
					case err == nil:
						found++
					default:
						require.ErrorIs(t, err, session.ErrUnavailable, "broken: a session of the other side is told as none")
						refused++
					}
				}
				require.Positive(t, found, "the one that is cut off had copies")
				require.Positive(t, refused)
				require.NoError(t, c.rejoin())
				for i := range keys {
					rec, err := joiner.Sessions().Get(t.Context(), key(i))
					require.NoError(t, err)
					require.NotNil(t, rec)
				}
			})
		})
	}
}

// TestOneWayCut cuts one direction of one link. Both ends can still be reached
// through the third node, so nothing may be lost, but order across the cut is
// not promised.
func TestOneWayCut(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
		c.history.split()
		defer c.history.rejoined()
		c.CutOneWay(c.Hosts[0], c.Hosts[1])
		time.Sleep(10 * time.Second)
		must(c, c.rejoin())
	}}.run(t)
}

// TestRestartBesideAStalledLink starts a node anew at once while a link between
// two others has stalled in one direction. One of these claims what the dead
// process had from all that it knows, and waits for an answer over that link;
// meanwhile the new process, which it does not know yet, claims the same from
// everybody.
func TestRestartBesideAStalledLink(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		for range 12 {
			c.CutOneWay(c.Hosts[2], c.Hosts[3])
			time.Sleep(1150 * time.Millisecond) // too short for the link to be given up
			c.Heal()
			time.Sleep(600 * time.Millisecond) // too short for it to have recovered
			must(c, c.Hosts[0].Restart())
			must(c, c.AwaitSettled(agreeWithin))
			c.Rest(time.Minute) // or the name counts as flapping
		}
	}}.run(t)
}

// TestCutLink cuts one link of three. What one end asks for at the other goes
// through the third: nothing is refused once the cut has been noticed.
func TestCutLink(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
		c.history.split()
		defer c.history.rejoined()
		c.Cut(c.Hosts[:1], c.Hosts[1:2])
		time.Sleep(3 * time.Second)
		noticed := c.Elapsed()
		time.Sleep(10 * time.Second)
		for _, calls := range c.History().Calls() {
			for _, call := range calls {
				reads := call.Kind == session.Get || call.Kind == session.Touch
				if call.Began > noticed && reads && (call.Outcome == Refused || call.Outcome == Unknown) {
					c.history.Break("cut link: %s", call)
				}
			}
		}
		n, _ := c.Hosts[0].Node()
		if inspect.Of(n).Counters()["relayed"] == 0 {
			c.history.Break("cut link: nothing went through the third node")
		}
		must(c, c.rejoin())
	}}.run(t)
}

// TestSameName starts two processes with one name at the same moment. One of
// them stops and says why, and the other one is a member like any.
func TestSameName(t *testing.T) {
	t.Parallel()
	for seed := range uint64(fewer(10, 2)) {
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Hosts: 4, Seed: seed})
			twins := c.Hosts[2:]
			twins[1].Name = twins[0].Name
			c.StartAll(2)
			errs := make([]error, 2)
			var starting sync.WaitGroup
			for i, h := range twins {
				starting.Go(func() { errs[i] = h.Start() })
			}
			starting.Wait()
			time.Sleep(10 * time.Second)
			stopped := 0
			for i, h := range twins {
				err := errs[i]
				if n, _ := h.Node(); n != nil {
					err = n.Err()
				}
				if err != nil {
					stopped++
					h.Kill()
					require.ErrorContains(t, err, "give each member a name of its own")
				}
			}
			if stopped != 1 {
				t.Errorf("broken: of two processes with one name %d stopped: %v", stopped, errs)
			}
			require.NoError(t, c.AwaitSettled(agreeWithin))
		})
	}
}

// TestPause stops the process of an owner for longer than its lease and than
// gossip's patience, as SIGSTOP does.
func TestPause(t *testing.T) {
	for _, d := range []time.Duration{300 * time.Millisecond, 900 * time.Millisecond, 1500 * time.Millisecond, 4 * time.Second, 10 * time.Second} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
				for _, h := range c.Hosts {
					h.Pause()
					time.Sleep(d)
					h.Resume()
					must(c, c.AwaitSettled(recoverWithin))
				}
			}}.run(t)
		})
	}
}

// TestTwoPaused stops an owner and another member together, as where a
// hypervisor stands still, and lets them go on. The two hear from each other
// sooner than from those who have gone on without them, and neither knows what
// these did.
func TestTwoPaused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 5, Copies: 3})
		c.StartAll(5)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		pair, rest := c.Hosts[:2], c.Hosts[2:]
		for _, x := range pair {
			for _, y := range rest {
				for _, way := range [][2]*Host{{x, y}, {y, x}} {
					c.Net.Change(way[0].Address, way[1].Address, func(p *Path) { p.Delay = 60 * time.Millisecond })
				}
			}
		}
		time.Sleep(readingLasts)
		owner, _ := pair[0].Node()
		successor, _ := rest[0].Node()
		key := ""
		for i := 0; key == ""; i++ {
			named := fmt.Sprintf("key-%d", i)
			if holders := owner.View().Table.Holders(ring.Partition(named)); holders[0] == pair[0].Name && holders[1] == rest[0].Name && holders[2] != pair[1].Name {
				key = named
			}
		}
		put := func(n *node.Node, v int) {
			for { // until all have confirmed it, which those that stand still do not
				if _, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(v)}, session.AckAll); err == nil {
					return
				}
			}
		}
		for i := range fewer(100, 3) {
			put(owner, 2*i)
			for _, h := range pair {
				h.Pause()
			}
			put(successor, 2*i+1)
			time.Sleep(time.Duration(i%17) * 23 * time.Millisecond)
			for _, h := range pair {
				h.Resume()
			}
			for range 100 {
				time.Sleep(time.Millisecond)
				reply, err := owner.Sessions().Do(t.Context(), &session.Op{Kind: session.Get, Key: key}, session.AckDefault)
				if err != nil {
					continue
				}
				if v, _ := reply.Record.Value(valueField); v != strconv.Itoa(2*i+1) {
					t.Fatalf("broken: pause %d: the owner of before answers %s, and its successor had acknowledged %d", i, v, 2*i+1)
				}
			}
			require.NoError(t, c.AwaitSettled(recoverWithin))
			time.Sleep(2*time.Second + time.Duration(i)*7*time.Millisecond)
		}
	})
}

// readingLasts is for how long a member holds on to a short round trip.
const readingLasts = 10 * time.Second

// TestPauseFarAway stops owners whose peers are some 100 ms away: the
// connections of before are given up meanwhile, and it takes a while to ask
// over new ones.
func TestPauseFarAway(t *testing.T) {
	for _, d := range []time.Duration{25 * time.Millisecond, 65 * time.Millisecond, 80 * time.Millisecond} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
				c.shape(func(p *Path) { p.Delay = d })
				time.Sleep(readingLasts)
				for i := range fewer(12, 3) {
					h := c.Hosts[i%3]
					h.Pause()
					time.Sleep(4*time.Second + time.Duration(i)*37*time.Millisecond)
					h.Resume()
					must(c, c.AwaitSettled(recoverWithin))
					time.Sleep(time.Second)
				}
				c.Heal()
			}}.run(t)
		})
	}
}

// TestPauseInside stops an owner in the middle of an operation, which then goes
// on after somebody else has served for a while. The network is slow then, so
// that others may look before the copy of what was done has arrived.
func TestPauseInside(t *testing.T) {
	for name, o := range map[string]struct {
		load  LoadOptions
		times int
	}{
		"all":   {LoadOptions{Asyncs: 1, Counters: 1}, fewer(30, 3)},
		"async": {LoadOptions{Asyncs: 1, Family: asyncs}, fewer(90, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			scenario{options: Options{Hosts: 3}, nodes: 3, load: o.load, faults: func(c *Cluster) {
				for i := range o.times {
					h := c.Hosts[i%3]
					h.PauseInside()
					time.Sleep(2500 * time.Millisecond)
					c.shape(func(p *Path) { p.Delay = 20 * time.Millisecond })
					h.Resume()
					time.Sleep(300 * time.Millisecond)
					c.Heal()
					must(c, c.AwaitSettled(recoverWithin))
				}
			}}.run(t)
		})
	}
}

// TestBackDuringTakeover ends the pause of an owner at about the moment
// at which the others agree to its succession, which takes a while on a
// slow network.
func TestBackDuringTakeover(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		c.shape(func(p *Path) { p.Delay = 25 * time.Millisecond })
		for i := range fewer(40, 4) {
			h := c.Hosts[i%4]
			h.Pause()
			time.Sleep(900*time.Millisecond + time.Duration(i)*20*time.Millisecond)
			h.Resume()
			must(c, c.AwaitSettled(recoverWithin))
			time.Sleep(time.Second)
		}
		c.Heal()
	}}.run(t)
}

// TestFreeze stops an owner's whole machine for about as long as its peers wait
// before they give a connection up: what they had sent comes when the network
// heals, beside what they have sent again, directly and through others.
func TestFreeze(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, load: LoadOptions{Counters: 1, Asyncs: 1}, faults: func(c *Cluster) {
		for i := range fewer(120, 4) {
			h := c.Hosts[i%3]
			h.Pause()
			c.Cut([]*Host{h}, c.others(h))
			time.Sleep(1200*time.Millisecond + time.Duration(i%6)*50*time.Millisecond)
			c.Heal()
			h.Resume()
			time.Sleep(1500 * time.Millisecond)
			must(c, c.AwaitSettled(recoverWithin))
		}
	}}.run(t)
}

// TestVanish cuts an owner off that ends at the same moment: nothing refuses or
// resets, as when a machine loses power.
func TestVanish(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		h := c.Hosts[1]
		c.Cut([]*Host{h}, c.others(h))
		h.Kill()
		must(c, c.AwaitSettled(recoverWithin))
		c.Heal()
		must(c, h.Start())
		must(c, c.AwaitSettled(recoverWithin))
	}}.run(t)
}

// TestFlap restarts one node every few seconds. What it must not do is drag its
// partitions to and fro each time: the others hold it off the ring.
func TestFlap(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		for range 5 {
			must(c, c.Hosts[3].Restart())
			time.Sleep(1500 * time.Millisecond)
		}
		must(c, c.AwaitSettled(2*time.Minute))
	}}.run(t)
}

// TestClockSkew sets clocks apart, within what members accept of each other,
// and lets one jump to and fro; owners change meanwhile.
func TestClockSkew(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		c.Hosts[0].Skew(900 * time.Millisecond)
		c.Hosts[1].Skew(-900 * time.Millisecond)
		for i := range 4 {
			must(c, c.Hosts[i].Restart())
			must(c, c.AwaitSettled(recoverWithin))
			c.Hosts[2].Skew(time.Duration(i%2*1600-800) * time.Millisecond)
		}
	}}.run(t)
}

// TestLogoutWithoutItsCopySaysSo: of two nodes one stands still, and is held
// for dead. A logout at the other is not confirmed, for the one that stands
// still may come back as the only one that has the session.
func TestLogoutWithoutItsCopySaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 2})
		c.StartAll(2)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		n, _ := c.Hosts[0].Node()
		end := func(key string) session.Reply {
			_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(1)}, session.AckDefault)
			require.NoError(t, err)
			rep, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
			require.NoError(t, err)
			return rep
		}
		require.False(t, end("alice").Unconfirmed)
		c.Hosts[1].Pause()
		time.Sleep(5 * time.Second)
		require.Len(t, n.View().Nodes(), 1)
		require.True(t, end("bob").Unconfirmed)
		c.Hosts[1].Kill()
		require.NoError(t, c.Hosts[1].Start())
		require.NoError(t, c.AwaitSettled(agreeWithin))
		require.False(t, end("carol").Unconfirmed)
	})
}

// TestLogoutSticks ends sessions while owners crash, drain and return, with
// late saves all the time.
func TestLogoutSticks(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, load: LoadOptions{Workers: 10}, faults: func(c *Cluster) {
		for i := range 4 {
			must(c, c.Hosts[i].Restart())
			must(c, c.AwaitSettled(recoverWithin))
			must(c, c.Hosts[(i+1)%4].Drain(c.t.Context()))
			must(c, c.Hosts[(i+1)%4].Start())
			must(c, c.AwaitSettled(recoverWithin))
		}
	}}.run(t)
}
