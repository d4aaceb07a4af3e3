package node

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// tables are the rings of the sets of members that these tests look at: equal
// sets have one table, as consecutive views have.
var tables sync.Map

func tableOf(names []string) *ring.Table {
	key := strings.Join(names, ",")
	if table, ok := tables.Load(key); ok {
		return table.(*ring.Table)
	}
	table, err := ring.New(names, ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2})
	if err != nil {
		panic(err)
	}
	first, _ := tables.LoadOrStore(key, table)
	return first.(*ring.Table)
}

// glance lets n's lease look at a view of these members.
func (n *Node) glance(members ...*Member) *View {
	var names []string
	for _, m := range members {
		if m.Serves() {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	// A view takes the table of the last one over where the names are the same.
	v, err := member.NewView(n.id, members, n.cfg.ringParams(), &View{Table: tableOf(names)})
	if err != nil {
		panic(err)
	}
	n.members.view.Store(v)
	n.rings.viewChanged(v)
	n.lease.viewChanged(v)
	return v
}

// pass lets time go by for n.
func (n *Node) pass(d time.Duration) { n.clock = n.clock.Older(d) }

func cluster(names string) (members []*Member) {
	for _, name := range names {
		members = append(members, up(string(name), 1))
	}
	return members
}

func majority(c *Config) { c.PartitionMode = PartitionMajority }

func TestLeaseOfALoneNodeNeedsNobody(t *testing.T) {
	t.Parallel()
	for _, mode := range []func(*Config){func(*Config) {}, majority} {
		n := still(t, "a", mode)
		n.glance(cluster("a")...)
		n.pass(time.Hour)
		require.True(t, n.lease.held())
	}
}

// The lease counts from when the heartbeat was sent: its answer may have been
// given at any moment since.
func TestLeaseEndsASecondAfterTheHeartbeatWasSent(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	n.glance(cluster("ab")...)
	require.False(t, n.lease.held(), "nobody has answered yet")
	n.pass(time.Minute)
	l := n.link(up("b", 1))
	sent := n.since()
	l.heard.Store(int64(sent))
	n.lease.renew()
	require.True(t, n.lease.held())
	require.EqualValues(t, sent+leaseTime, n.lease.until.Load())
	n.pass(leaseTime)
	require.False(t, n.lease.held())
}

// One answer of any other node is enough where everybody's consent is needed
// for a claim; a majority is needed where that is the mode. A lease that has run
// out takes everybody's answer, unless that was asked for in vain a moment ago.
func TestHowManyMustAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names     string
		available int
		majority  int
	}{{"a", 0, 0}, {"ab", 1, 1}, {"abc", 1, 1}, {"abcd", 1, 2}, {"abcde", 1, 2}, {"abcdef", 1, 3}, {"abcdefg", 1, 3}} {
		for need, mode := range map[int]func(*Config){c.available: func(*Config) {}, c.majority: majority} {
			n := still(t, "a", mode)
			if need == c.available && c.available == c.majority {
				majority(&n.cfg) // the same in both
			}
			view := n.glance(cluster(c.names)...)
			require.Equal(t, need, n.lease.others(view), "%s", c.names)
			for _, vain := range []bool{false, true} {
				n.pass(time.Minute)
				least := len(c.names) - 1
				if vain {
					n.lease.vain.Store(int64(n.since()))
					least = need
				}
				for i := 1; i < len(c.names); i++ {
					require.Equal(t, i > least || least == 0, n.lease.held(), "%s: %d others have answered, in vain: %t", c.names, i-1, vain)
					n.link(up(c.names[i:i+1], 1)).heard.Store(int64(n.since()))
					n.lease.renew()
				}
				require.True(t, n.lease.held())
				n.pass(leaseTime / 2)
				for i := range need {
					n.link(up(c.names[i+1:i+2], 1)).heard.Store(int64(n.since()))
				}
				n.lease.renew()
				n.pass(leaseTime * 3 / 4)
				require.True(t, n.lease.held(), "%s: it goes on by the usual number, in vain: %t", c.names, vain)
			}
		}
	}
}

// The lease is as old as the last answer that it needs, not as the newest.
func TestMajorityLeaseEndsWithTheAnswerThatMakesTheMajority(t *testing.T) {
	t.Parallel()
	n := still(t, "a", majority)
	n.glance(cluster("abcde")...)
	n.pass(time.Minute)
	now := int64(n.since())
	n.lease.vain.Store(now)
	for i, name := range []string{"b", "c", "d"} {
		n.link(up(name, 1)).heard.Store(now - int64(i)*int64(100*time.Millisecond))
	}
	n.lease.renew()
	require.EqualValues(t, now+int64(leaseTime-100*time.Millisecond), n.lease.until.Load())
}

func TestAskRefusesOrServesDegraded(t *testing.T) {
	t.Parallel()
	for _, mode := range []func(*Config){func(*Config) {}, majority} {
		n := still(t, "a", mode)
		n.glance(cluster("abc")...)
		n.lease.vain.Store(int64(n.since()))
		degraded, err := n.lease.ask(t.Context())
		if n.cfg.PartitionMode == PartitionAvailable {
			require.NoError(t, err)
			require.True(t, degraded)
			continue
		}
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorIs(t, err, errNoMajority)
		require.False(t, degraded)
	}
}

// Who vanishes without a good-bye still counts, or two halves would each hold
// themselves for the whole.
func TestVanishedNodesCountAndThoseThatSaidGoodbyeDoNot(t *testing.T) {
	t.Parallel()
	n := still(t, "a", majority)
	members := cluster("abcde")
	n.glance(members...)
	require.Equal(t, 3, n.lease.majority(n.View()))

	dead := up("e", 1)
	dead.Up, dead.Gone = false, true
	n.glance(append(cluster("abcd"), dead)...)
	require.Equal(t, 3, n.lease.majority(n.View()))
	n.glance(cluster("abcd")...) // gossip has forgotten it
	require.Equal(t, 3, n.lease.majority(n.View()))

	left := up("d", 1)
	left.State = StateLeaving
	n.glance(append(cluster("abc"), left)...)
	require.Equal(t, 3, n.lease.majority(n.View()), "4 nodes count: a b c e")
	left = up("c", 1)
	left.Up, left.Gone, left.Left = false, true, true
	n.glance(append(cluster("ab"), left)...)
	require.Equal(t, 2, n.lease.majority(n.View()), "3 nodes count: a b e")

	n.glance(cluster("abfgh")...)
	require.Equal(t, 4, n.lease.majority(n.View()), "newcomers count at once: a b e f g h")
	require.False(t, n.lease.splitSuspected())
	n.glance(cluster("ab")...)
	require.True(t, n.lease.splitSuspected())
}

// A node that restarts leaves its old boot behind, which must not take the new
// one out of the count.
func TestRestartIsNoGoodbye(t *testing.T) {
	t.Parallel()
	n := still(t, "a", majority)
	old := up("c", 1)
	old.Up, old.Gone, old.Left = false, true, true
	n.glance(append(cluster("ab"), up("c", 2), old)...)
	require.Equal(t, 2, n.lease.majority(n.View()))
	require.Len(t, n.lease.stable, 3)
}

// Nodes that never came back stop counting once a majority has been without
// them for a while.
func TestMajorityShrinksTheWholeAfterAWhile(t *testing.T) {
	t.Parallel()
	n := still(t, "a", majority)
	n.glance(cluster("abcde")...)
	view := n.glance(cluster("abc")...)
	n.lease.settle(view)
	require.Len(t, n.lease.stable, 5, "not at once")
	n.pass(stableAfter)
	n.lease.settle(view)
	require.Len(t, n.lease.stable, 3)
	require.Equal(t, 2, n.lease.majority(view))
}

// The membership loop looks at its facts every few seconds; a look that finds
// nothing new is no change.
func TestLookThatFindsNothingNewIsNoChange(t *testing.T) {
	t.Parallel()
	n := still(t, "a", majority)
	n.glance(cluster("abcde")...)
	var view *View
	for range 8 { // what an unchanged look leads to is the same table
		view = n.glance(cluster("abc")...)
		n.pass(5 * time.Second)
		n.lease.settle(view)
	}
	require.Len(t, n.lease.stable, 3, "the view is the same since 40 s")
}

// The law that keeps two sides from both serving: however members vanish, come
// and time goes by, a view without a majority of the whole never shrinks it.
func TestMinorityNeverShrinksTheWhole(t *testing.T) {
	n := still(t, "a", majority)
	rapid.Check(t, func(t *rapid.T) {
		n.lease.stable = make(map[string]bool)
		n.glance(cluster("abcde")...)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			names := "a" + rapid.StringOfN(rapid.SampledFrom([]rune("bcdefg")), 0, 6, -1).Draw(t, "others")
			seen := make(map[rune]bool)
			var members []*Member
			for _, r := range names {
				if !seen[r] {
					members = append(members, up(string(r), 1))
				}
				seen[r] = true
			}
			before := len(n.lease.stable)
			view := n.glance(members...)
			require.GreaterOrEqual(t, len(n.lease.stable), before, "vanishing takes nobody out")
			before = len(n.lease.stable)
			n.pass(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
			n.lease.settle(view)
			if 2*len(members) <= before {
				require.Len(t, n.lease.stable, before, "%d of %d nodes are no majority", len(members), before)
			}
			for _, m := range members {
				require.True(t, n.lease.stable[m.Name], "who is in the view counts")
			}
			require.Greater(t, 2*n.lease.majority(view), len(n.lease.stable), "two majorities of one whole overlap")
		}
	})
}

func TestVouched(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	l := n.link(up("b", 1))
	require.False(t, n.vouches(l.id), "never heard")
	n.pass(time.Minute)
	l.heard.Store(int64(n.since()))
	require.True(t, n.vouches(l.id))
	n.pass(vouchFor)
	require.False(t, n.vouches(l.id))

	_, err := n.pong(l.id, n.ping())
	require.NoError(t, err)
	require.True(t, n.vouches(l.id), "it may hold a lease that was given here")
	n.pass(vouchFor)
	require.False(t, n.vouches(l.id))
	require.LessOrEqual(t, leaseTime, vouchFor, "whoever vouches does so for as long as the lease lasts")

	for i := range 50 { // a second is also as long as promises are kept
		n.members.promise(id("m", i))
		n.pass(vouchFor / 10)
	}
	require.LessOrEqual(t, len(n.members.leases), 11)
}
