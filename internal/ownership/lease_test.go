package ownership

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// leased says whether n may serve at this moment without asking.
func (n *tried) leased() bool { return n.gate.Leased(n.now) }

func TestLeaseOfALoneNodeNeedsNobody(t *testing.T) {
	t.Parallel()
	for _, mode := range []func(*Config){func(*Config) {}, founder} {
		n := still("a", mode)
		n.glance(cluster("a")...)
		n.pass(time.Hour)
		require.False(t, n.leased(), "it may have stood still, and others may have followed")
		n.Lapse(n.now)
		require.True(t, n.leased())
		n.pass(LeaseTime - 1)
		require.True(t, n.leased())
		n.pass(1)
		require.False(t, n.leased())
		require.False(t, n.ShouldAsk(n.now), "whom?")
		require.True(t, n.leased())
	}
	n := still("a", majority)
	n.glance(cluster("a")...)
	require.False(t, n.leased(), "who has not been told who counts has nobody's word")
}

// The lease counts from when the heartbeat was sent: its answer may have been
// given at any moment since.
func TestLeaseEndsASecondAfterTheHeartbeatWasSent(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(cluster("ab")...)
	require.False(t, n.leased(), "nobody has answered yet")
	n.pass(time.Minute)
	sent := n.now
	n.pass(LeaseTime / 4)
	n.do(n.Ponged(n.now, sent, id("b", 1), "", nil, true))
	require.True(t, n.leased())
	n.now = sent + LeaseTime - 1
	require.True(t, n.leased())
	n.pass(1)
	require.False(t, n.leased())
}

// An answer that gives no lease is still news, and no more than that.
func TestAnswerWithoutALeaseGivesNone(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	require.True(t, n.do(n.Ponged(n.now, n.now, b, "other", nil, false)).Round, "its ring is another now")
	require.False(t, n.leased())
	require.False(t, n.vouches(n.now, b))
	require.False(t, n.do(n.Ponged(n.now, n.now, b, "other", nil, true)).Round)
	require.True(t, n.leased())
}

// What an answer says of claims is known before the lease that it gives can be
// used: a member that was succeeded serves nothing by it.
func TestLeaseComesAfterTheNewsThatItsAnswerBrings(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	n.serving(3, 4)
	require.False(t, n.leased())
	todo := n.do(n.Ponged(n.now, n.now, b, "", only(3, Claim{5, b}), true))
	require.Equal(t, []int{3}, todo.Close)
	require.True(t, n.leased())
	require.Equal(t, Decision{Verdict: Forward, Owner: b, Epoch: 5}, n.gate.Decide(3, n.now))
}

// One answer of any other node is enough where the consent of all is needed for
// a claim; a majority is needed where that is the mode. A lease that has run
// out takes the answers of all, unless not all answered a moment ago.
func TestHowManyMustAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names     string
		available int
		majority  int
	}{{"a", 0, 0}, {"ab", 1, 1}, {"abc", 1, 1}, {"abcd", 1, 2}, {"abcde", 1, 2}, {"abcdef", 1, 3}, {"abcdefg", 1, 3}} {
		for _, mode := range []Mode{Available, Majority} {
			need := map[Mode]int{Available: c.available, Majority: c.majority}[mode]
			n := still("a", func(c *Config) { c.Mode = mode })
			n.glance(cluster(c.names)...)
			n.counting(c.names)
			for _, failed := range []bool{false, true} {
				n.pass(time.Minute)
				n.Lapse(n.now)
				least := len(c.names) - 1
				if failed {
					require.Equal(t, Todo{Unleased: need > 0}, n.AskFailed(n.now))
					least = need
				}
				for i := 1; i < len(c.names); i++ {
					require.Equal(t, i > least || least == 0, n.leased(), "%s: %d others have answered, asked before: %t", c.names, i-1, failed)
					n.answered(id(c.names[i:i+1], 1), 0, "")
				}
				require.True(t, n.leased())
				n.pass(LeaseTime / 2)
				for i := range need {
					n.answered(id(c.names[i+1:i+2], 1), 0, "")
				}
				n.pass(LeaseTime * 3 / 4)
				n.Lapse(n.now)
				require.True(t, n.leased(), "%s: it goes on by the usual number, asked before: %t", c.names, failed)
			}
		}
	}
}

// The lease is as old as the last answer that it needs, not as the newest.
func TestMajorityLeaseEndsWithTheAnswerThatMakesTheMajority(t *testing.T) {
	t.Parallel()
	n := still("a", majority)
	n.glance(cluster("abcde")...)
	n.counting("abcde")
	n.pass(time.Minute)
	n.AskFailed(n.now)
	for i, name := range []string{"b", "c", "d"} {
		n.answered(id(name, 1), time.Duration(i)*100*time.Millisecond, "")
	}
	n.pass(LeaseTime - 100*time.Millisecond - 1)
	require.True(t, n.leased())
	n.pass(1)
	require.False(t, n.leased())
}

// An owner that has asked the others, not all of whom answered, does with as
// many as usual; what it does without those is for the mode to say. For a
// second that is the answer to whoever asks.
func TestAskFailed(t *testing.T) {
	t.Parallel()
	for _, mode := range []func(*Config){func(*Config) {}, majority} {
		n := still("a", mode)
		n.glance(cluster("abc")...)
		n.counting("abc")
		require.True(t, n.ShouldAsk(n.now))
		require.Equal(t, Todo{Unleased: true}, n.AskFailed(n.now), "nobody has answered")
		require.False(t, n.leased())
		require.False(t, n.ShouldAsk(n.now))
		n.answered(id("b", 1), 0, "")
		require.True(t, n.leased(), "one does, as they were asked a moment ago")
		n.pass(LeaseTime)
		require.False(t, n.ShouldAsk(n.now))
		n.pass(1)
		require.True(t, n.ShouldAsk(n.now))

		n.answered(id("b", 1), 0, "")
		require.False(t, n.leased(), "b may know as little as this member: c must answer too")
		n.pass(LeaseTime / 2)
		require.Equal(t, Todo{}, n.AskFailed(n.now), "c has not, but b is enough then")
		require.True(t, n.leased())
	}
}

// A process that stood still may have been succeeded by all that it has heard
// of. So it asks all of them, and serves when they have answered.
func TestResumed(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(cluster("abc")...)
	n.AskFailed(n.now)
	n.answered(id("c", 1), 0, "ring")
	n.answered(id("b", 1), 0, "ring")
	require.True(t, n.leased())
	n.serving(3, 4)

	require.Equal(t, Todo{Beat: []member.ID{id("b", 1), id("c", 1)}}, n.do(n.Resumed(n.now)))
	require.False(t, n.leased())
	require.True(t, n.ShouldAsk(n.now), "what was asked before does not count")
	require.False(t, n.vouches(n.now, id("b", 1)))
	require.Equal(t, Decision{Verdict: Serve, Owner: n.self, Epoch: 4}, n.gate.Decide(3, n.now), "what it serves, it serves on once it has a lease")
	n.answered(id("b", 1), 0, "ring")
	require.False(t, n.leased(), "b may have stood still with it")
	n.answered(id("c", 1), 0, "ring")
	require.True(t, n.leased())

	n.glance(cluster("a")...)
	require.Equal(t, Todo{}, n.Resumed(n.now))
	require.True(t, n.leased(), "a lone node has nobody to ask")
}

// A node that vanishes without a good-bye still counts, or two halves would
// each hold themselves for the whole.
func TestVanishedNodesCountAndThoseThatSaidGoodbyeDoNot(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(cluster("abcde")...)
	require.Len(t, n.stable, 5)

	n.glance(append(cluster("abcd"), dead("e", 1))...)
	require.Len(t, n.stable, 5)
	n.glance(cluster("abcd")...) // gossip has forgotten it
	require.Len(t, n.stable, 5)

	leaving := up("d", 1)
	leaving.State = member.StateLeaving
	n.glance(append(cluster("abc"), leaving)...)
	require.Len(t, n.stable, 4, "a b c e")
	n.glance(append(cluster("ab"), left("c", 1))...)
	require.Len(t, n.stable, 3, "a b e")

	n.glance(cluster("abfgh")...)
	require.Len(t, n.stable, 6, "newcomers count at once: a b e f g h")
	require.False(t, n.SplitSuspected())
	n.glance(cluster("abf")...)
	require.False(t, n.SplitSuspected(), "half of them")
	n.glance(cluster("ab")...)
	require.True(t, n.SplitSuspected())
}

// Routers hold nothing, so they count for nothing.
func TestRoutersDoNotCount(t *testing.T) {
	t.Parallel()
	n := still("a")
	router := up("r", 1)
	router.Role = member.RoleRouter
	n.glance(append(cluster("a"), router)...)
	require.Len(t, n.stable, 1)
	require.True(t, n.leased())
	router = dead("r", 1)
	router.Role = member.RoleRouter
	n.glance(append(cluster("a"), router)...)
	require.False(t, n.gate.Alone())
}

// A node that restarts leaves its old boot behind, which must not take the new
// one out of the count.
func TestRestartIsNoGoodbye(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(append(cluster("ab"), up("c", 2), left("c", 1))...)
	require.Len(t, n.stable, 3)
}

// Nodes that never came back stop counting once a majority has been without
// them for a while.
func TestMajorityShrinksTheWholeAfterAWhile(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(cluster("abcde")...)
	n.glance(cluster("abc")...)
	n.Tick(n.now)
	require.Len(t, n.stable, 5, "not at once")
	n.pass(stableAfter - 1)
	n.Tick(n.now)
	require.Len(t, n.stable, 5)
	require.False(t, n.Settled(n.now))
	n.pass(1)
	n.Tick(n.now)
	require.True(t, n.Settled(n.now))
	require.Len(t, n.stable, 3)
}

// The membership loop looks at its facts every few seconds; a look that finds
// nothing new is no change.
func TestLookThatFindsNothingNewIsNoChange(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.glance(cluster("abcde")...)
	for range 8 { // what an unchanged look leads to is the same table
		n.glance(cluster("abc")...)
		n.pass(5 * time.Second)
		n.Tick(n.now)
	}
	require.Len(t, n.stable, 3, "the view has been the same for 40 s")
}

// However members vanish, come
// and time goes by, a view without a majority of the whole never shrinks it.
func TestMinorityNeverShrinksTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := still("a")
		n.glance(cluster("abcde")...)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			names := letters("a" + rapid.StringOfN(rapid.SampledFrom([]rune("bcdefg")), 0, 6, -1).Draw(t, "others"))
			slices.Sort(names)
			var members []*member.Member
			for _, name := range slices.Compact(names) {
				members = append(members, up(name, 1))
			}
			before := len(n.stable)
			n.glance(members...)
			require.GreaterOrEqual(t, len(n.stable), before, "vanishing takes nobody out")
			before = len(n.stable)
			n.pass(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
			n.Tick(n.now)
			if 2*len(members) <= before {
				require.Len(t, n.stable, before, "%d of %d nodes are no majority", len(members), before)
			}
			for _, m := range members {
				require.True(t, n.stable[m.Name], "what is in the view counts")
			}
		}
	})
}

// A member that has agreed to a succession gives the holder no lease until it
// knows what became of it: its answer could not tell the holder that it has
// been succeeded.
func TestNoLeaseForOneWhoIsBeingSucceeded(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	view := n.see(up("b", 1), up("c", 1))
	const p = 7
	n.setHolder(p, Claim{4, b})
	require.Equal(t, Accepted, n.ask(t, c, 5, view.Table.Fingerprint(), p).Status)
	lease, _, todo := n.Pinged(n.now, b, "", n.gate.ClaimsHash())
	require.False(t, lease, "c may serve by now")
	require.Equal(t, []member.ID{c}, todo.Beat, "whose answer says what became of that")
	require.True(t, n.pinged(c))
	n.pass(PromiseTime - 1)
	require.False(t, n.pinged(b))

	n.setHolder(p, Claim{5, c})
	require.True(t, n.pinged(b), "what c has got stands in the table that b is given")
}

// Nor while this member claims what the holder serves; and a promise of whose
// claim nothing has come lapses.
func TestNoLeaseForOneWhoseSuccessorThisMemberWouldBe(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	v := n.see(up("b", 1))
	p := membertest.OwnedBy(t, v, "a")
	n.setHolder(p, Claim{4, b})
	n.answered(b, 0, v.Table.Fingerprint())
	n.begin(t, p)
	lease, _, todo := n.Pinged(n.now, b, v.Table.Fingerprint(), n.gate.ClaimsHash())
	require.False(t, lease)
	require.Equal(t, Todo{}, todo, "there is no other member to ask")
	n.pass(PromiseTime - 1)
	require.Equal(t, Accepted, n.ask(t, id("c", 1), 9, "other", membertest.OwnedBy(t, v, "b")+1).Status)
	require.False(t, n.pinged(b))
	n.pass(1)
	require.True(t, n.pinged(b), "this one has lapsed, and the other is not about what b serves")
}

// The claims known here come with the answer where the asker knows others.
func TestClaimsGoToThoseThatKnowOthers(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	n.serving(3, 4)
	_, claims, todo := n.Pinged(n.now, b, "ring", n.gate.ClaimsHash())
	require.False(t, claims)
	require.True(t, todo.Round, "its ring is another now")
	_, claims, todo = n.Pinged(n.now, b, "ring", n.gate.ClaimsHash()+1)
	require.True(t, claims)
	require.Equal(t, Todo{Beat: []member.ID{b}}, todo, "its answer tells which")
	lease, _, todo := n.Pinged(n.now, id("stranger", 1), "ring", n.gate.ClaimsHash())
	require.True(t, lease, "gossip has not told of it yet here")
	require.Equal(t, Todo{}, todo, "so it cannot be asked")
}

// A node that sees no other one says so, if one may be alive: it may not know
// of what is written there.
func TestAlone(t *testing.T) {
	t.Parallel()
	joining := up("b", 1)
	joining.State = member.StateJoining
	for name, c := range map[string]struct {
		members []*member.Member
		alone   bool
	}{
		"nobody was ever there": {cluster("a"), false},
		"another one is":        {cluster("ab"), false},
		"one is silent":         {append(cluster("a"), dead("b", 1)), true},
		"one of two is":         {append(cluster("ac"), dead("b", 1)), false},
		"it has ended":          {append(cluster("a"), refused("b", 1)), false},
		"it said good-bye":      {append(cluster("a"), left("b", 1)), false},
		"one joins":             {append(cluster("a"), joining), true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.glance(c.members...)
			require.Equal(t, c.alone, n.gate.Alone())
		})
	}
}

// A peer that no heartbeat reaches has no lease from here: nobody could ask it
// for its consent. It is told of what was claimed all the same.
func TestNoLeaseForWhoIsNotReached(t *testing.T) {
	t.Parallel()
	n, b := still("a"), up("b", 1)
	fp := n.see(b).Table.Fingerprint()
	lease, _, _ := n.Pinged(n.now, b.ID, fp, n.Gate().ClaimsHash())
	require.True(t, lease)
	n.pass(LeaseTime)
	unreached := *b
	unreached.Up, unreached.Unreached = false, true
	n.see(&unreached)
	n.setHolder(3, Claim{Epoch: 7, By: n.self})
	lease, claims, _ := n.Pinged(n.now, b.ID, fp, 1)
	require.False(t, lease)
	require.True(t, claims)
	require.False(t, n.vouches(n.now, b.ID), "so a claim need not wait for it")
}
