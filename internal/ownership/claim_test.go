package ownership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

func TestServerOfAPartitionYieldsToAClaim(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	v := n.see(up("b", 1))
	const p = 3
	n.serving(p, 4)
	n.sums[p] = Sum{Digest: 77, Count: 1}

	j, todo := n.judge(t, b, Request{5, v.Table.Fingerprint(), []member.ID{n.self}, []int{p}})
	require.Equal(t, Todo{Close: []int{p}, Round: true}, todo)
	require.Equal(t, 1, j.Yielded)
	require.Equal(t, Away, n.gate.Phase(p))
	require.False(t, n.open[p], "it is closed before its digest is taken")
	require.Equal(t, []int{p}, j.Unsummed())
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	answers, busy := n.answer(t, j)
	require.Zero(t, busy)
	require.Equal(t, []Answer{{Status: Whole, Digest: 77, Count: 1, Left: NeverLeft}}, answers)
	require.Equal(t, Decision{Verdict: Forward, Owner: b, Epoch: 5}, n.gate.Decide(p, n.now), "and requests go to the claimant")
}

// A claim that was agreed to ends one's own that is under way, too: that is
// nothing to be settled any more.
func TestClaimUnderWayYieldsToANewerOne(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	v := n.see(up("b", 1))
	p := membertest.OwnedBy(t, v, "a")
	r := n.begin(t, p)
	require.True(t, n.ask(t, b, r.Epoch+1, v.Table.Fingerprint(), p).Status.Agrees())
	require.Equal(t, Away, n.gate.Phase(p))
}

// Who served says with its consent whether it had all there is, as often as a
// claimant asks.
func TestOwnerSaysWhetherItHadAll(t *testing.T) {
	t.Parallel()
	b := id("b", 1)
	for name, c := range map[string]struct {
		phase      Phase
		unverified bool
		moved      bool // it had handed a copy over just before
		want       Status
	}{
		"it had":               {phase: Warm, want: Whole},
		"it could not tell":    {phase: Warm, unverified: true, want: Partial},
		"and has just got it":  {phase: Warm, unverified: true, moved: true, want: Partial},
		"it was fetching":      {phase: Fetching, want: Accepted},
		"it fetched in vain":   {phase: Fetching, unverified: true, want: Partial},
		"it served it not":     {phase: Away, want: Accepted},
		"it had, and moved it": {phase: Warm, moved: true, want: Moved},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			fp := n.see(up("b", 1)).Table.Fingerprint()
			const p = 3
			if c.moved {
				n.parts[p].dropped, n.parts[p].droppedAt = true, n.now
			}
			n.Set(p, c.phase, Claim{4, n.self}, c.unverified)
			require.Equal(t, c.want, n.ask(t, b, 5, fp, p).Status)
			require.Equal(t, c.want, n.ask(t, b, 6, fp, p).Status, "again")
		})
	}
}

// A copy that moves on while a claim is being answered is seen by no voter: its
// new holder has answered before it came, its old one answers after it went. So
// the old one says that it has handed it over, for as long as that may matter.
func TestClaimIsToldOfACopyThatHasJustMoved(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	fp := n.see(up("b", 1)).Table.Fingerprint()
	const p = 3
	n.serving(p, 4)
	require.Equal(t, Whole, n.ask(t, b, 5, fp, p).Status)
	require.False(t, n.BeginDrop(n.now, p), "if nothing comes of b's claim, this member serves it again")
	n.setHolder(p, Claim{5, b})
	require.True(t, n.BeginDrop(n.now, p))
	n.EndDrop(n.now, p, false) // something has arrived meanwhile
	require.True(t, n.ask(t, b, 6, fp, p).Status.Agrees(), "it is here still")
	require.False(t, n.BeginDrop(n.now, p), "b counts on it, and is about to fetch it")
	n.setHolder(p, Claim{6, b})
	require.Equal(t, []string{b.String()}, n.Gate().Takers(p), "b must have it first")
	require.True(t, n.BeginDrop(n.now, p))
	n.EndDrop(n.now, p, true)
	moved := n.ask(t, b, 7, fp, p)
	require.Equal(t, Moved, moved.Status)
	require.Less(t, moved.Left, settleTime)
	require.True(t, n.ask(t, b, 8, fp, p+1).Status.Agrees(), "of others nothing has moved")
	n.pass(settleTime - 1)
	require.Equal(t, Moved, n.ask(t, b, 9, fp, p).Status)
	n.pass(1)
	gone := n.ask(t, b, 10, fp, p)
	require.Equal(t, Accepted, gone.Status, "the new holder has had it for long")
	require.Equal(t, settleTime, gone.Left, "and may be out of the claimant's reach")
}

func TestOlderClaimIsRefusedWithTheOneThatStands(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
	require.True(t, n.ask(t, c, 7, fp, 3).Status.Agrees())
	for _, older := range []uint64{1, 6, 7} { // of equal epochs the larger name goes first
		require.Equal(t, Answer{Status: Stale, Epoch: 7, Claimant: c.String()}, n.ask(t, b, older, fp, 3))
	}
	require.True(t, n.ask(t, c, 7, fp, 3).Status.Agrees(), "asking again is harmless")
	require.True(t, n.ask(t, b, 8, fp, 3, c).Status.Agrees())
	require.EqualValues(t, 8, n.maxEpoch)
}

// A member that has just started claims from those that know it, while one that
// does not know it yet claims from the same ones. Both would have the consent
// of all that they ask.
func TestClaimThatDoesNotAskTheLastClaimantIsEarly(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 2)
	fp := n.see(up("b", 1), up("c", 2)).Table.Fingerprint()
	n.setHolder(3, Claim{4, id("c", 1)})
	require.True(t, n.ask(t, c, 5, fp, 3).Status.Agrees(), "c's earlier boot has ended")
	require.Equal(t, Answer{Status: Early, Epoch: 5}, n.ask(t, b, 6, "without c", 3))
	require.Equal(t, Claim{5, c}, n.parts[3].promised)
	require.True(t, n.ask(t, b, 7, fp, 3, c).Status.Agrees(), "c will judge for itself")

	require.True(t, n.ask(t, c, 8, fp, 3, b).Status.Agrees())
	n.pass(PromiseTime - 1)
	require.Equal(t, Early, n.ask(t, b, 9, "without c", 3).Status)
	n.pass(1)
	require.True(t, n.ask(t, b, 10, "without c", 3).Status.Agrees(), "nothing came of c's claim")

	require.True(t, n.ask(t, c, 11, fp, 5).Status.Agrees())
	n.see(up("b", 1), refused("c", 2))
	require.True(t, n.ask(t, b, 12, "without c", 5).Status.Agrees(), "nor will anything")

	n.see(up("b", 1), up("c", 2))
	require.True(t, n.ask(t, c, 13, fp, 7).Status.Agrees())
	n.setHolder(7, Claim{13, c})
	require.True(t, n.ask(t, b, 14, "without c", 7).Status.Agrees(), "it is known what came of c's claim, and c has been silent for a second")
}

// The same of a member that has agreed to a claim and would claim itself: of
// the other claimant it may know no more than the claim.
func TestWhoHasAgreedToAClaimDoesNotClaimWithoutAsking(t *testing.T) {
	t.Parallel()
	n := still("a")
	p := membertest.OwnedBy(t, n.see(refused("b", 1)), "a")
	starting := id("b", 2) // gossip has not told of it yet
	require.False(t, n.view.HasEnded(starting))
	require.True(t, n.view.HasEnded(id("b", 1)))
	n.setHolder(p, Claim{4, id("b", 1)})
	may := func(voters ...member.ID) bool { return n.mayClaim(n.now, &n.parts[p], voters) }
	require.True(t, may())
	require.True(t, n.ask(t, starting, 5, "other", p).Status.Agrees())
	require.False(t, may())
	require.True(t, may(starting), "it is asked")
	todo, _ := n.Round(n.now)
	require.NotContains(t, todo.Claim.Parts, p)
	n.pass(PromiseTime)
	require.True(t, may())
	todo, _ = n.Round(n.now)
	require.Equal(t, []int{p}, todo.Claim.Parts)
}

// Two views that differ must not pull a partition to and fro: an owner that is
// alive keeps it until they agree.
func TestClaimFromAnotherRingIsEarlyWhileTheServerLives(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	n.see(up("b", 1), up("c", 1))
	n.serving(3, 4)
	require.Equal(t, Answer{Status: Early, Epoch: 4, Claimant: n.self.String()}, n.ask(t, b, 9, "another", 3))
	require.Equal(t, Warm, n.gate.Phase(3))
	require.True(t, n.open[3])

	n.setHolder(4, Claim{4, n.self})
	require.True(t, n.ask(t, b, 9, "another", 4).Status.Agrees(), "this member's claim is the newest, but it serves by it no more")

	// Served by c, which this member vouches for only if it has heard of it.
	n.setHolder(5, Claim{4, c})
	n.pinged(c)
	require.Equal(t, Answer{Status: Early, Epoch: 4, Claimant: c.String()}, n.ask(t, b, 9, "another", 5, c))
	n.pass(LeaseTime)
	require.True(t, n.ask(t, b, 10, "another", 5).Status.Agrees(), "c has been silent for a second")

	n.setHolder(7, Claim{4, c})
	n.pinged(c)
	require.Equal(t, Early, n.ask(t, b, 10, "another", 7).Status)
	n.see(up("b", 1), refused("c", 1))
	require.True(t, n.ask(t, b, 10, "another", 7).Status.Agrees(), "no lease outlives the process that has it")

	n.setHolder(6, Claim{4, id("b", 0)})
	require.True(t, n.ask(t, b, 10, "another", 6).Status.Agrees(), "the claimant's own earlier boot has ended")
}

// A voter that has answered a heartbeat promises not to take over for a second,
// nor to let another member do so that cannot ask the owner itself.
func TestPromiseToASilentOwnerIsKept(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	fp := n.see(up("b", 1), dead("c", 1)).Table.Fingerprint() // gossip has given c up, here and at b
	n.setHolder(5, Claim{4, c})
	require.True(t, n.pinged(c), "but c has this moment a lease from here")

	require.Equal(t, Answer{Status: Early, Epoch: 4, Claimant: c.String()}, n.ask(t, b, 9, fp, 5))
	require.True(t, n.ask(t, b, 9, fp, 5, c).Status.Agrees(), "c decides for itself where it is asked")
	n.pass(LeaseTime)
	require.True(t, n.ask(t, b, 10, fp, 5).Status.Agrees())
}

// An owner that is alive gives up only what the same ring gives to the
// claimant; one that is silent has lost all when gossip agrees that it is lost.
func TestWhatIsClaimedFromAnOwner(t *testing.T) {
	t.Parallel()
	b := id("b", 1)
	for name, c := range map[string]struct {
		sees   *member.Member // how this member sees b, after it was heard
		heard  time.Duration  // how long ago
		ring   string         // that b sees: the same or another
		may    bool
		voting bool
	}{
		"alive, and sees the same ring": {sees: up("b", 1), ring: "same", may: true, voting: true},
		"alive, and sees another ring":  {sees: up("b", 1), ring: "another", may: false, voting: true},
		"silent":                        {sees: up("b", 1), heard: LeaseTime, ring: "same", may: false, voting: true},
		"given up a moment ago":         {sees: dead("b", 1), ring: "another", may: false, voting: true},
		"silent and given up":           {sees: dead("b", 1), heard: LeaseTime, ring: "another", may: true},
		"ended":                         {sees: refused("b", 1), ring: "another", may: true},
		"forgotten":                     {ring: "another", may: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := membertest.OwnedBy(t, n.see(up("b", 1)), "a")
			members := []*member.Member{c.sees}
			if c.sees == nil {
				members = nil
			}
			n.see(members...)
			fp := c.ring
			if c.ring == "same" {
				fp = n.view.Table.Fingerprint()
			}
			n.answered(b, c.heard, fp)
			for q := range n.parts {
				n.setHolder(q, Claim{4, b})
			}
			todo, complete := n.Round(n.now)
			require.False(t, complete)
			require.True(t, todo.Later)
			require.Equal(t, c.may, todo.Claim != nil)
			require.Equal(t, c.may, n.gate.Phase(p) == Claiming)
			if c.may {
				require.Contains(t, todo.Claim.Parts, p)
				require.Equal(t, c.voting, len(todo.Claim.Asked) == 1)
			}
		})
	}
}

// A round is of all that the ring gives to this member and that it does not
// serve yet, with an epoch above all that are known.
func TestRoundClaimsWhatTheRingGives(t *testing.T) {
	t.Parallel()
	n := still("a")
	todo, complete := n.Round(n.now)
	require.True(t, complete, "a ring without members gives nothing")
	require.Equal(t, Todo{}, todo)

	v := n.see(up("b", 1), up("c", 1))
	n.heardOf(41)
	served := membertest.OwnedBy(t, v, "a")
	n.serving(served, 7)
	var want []int
	for p := range ring.Partitions {
		if p != served && v.Table.Owner(p) == "a" {
			want = append(want, p)
		}
	}
	todo, complete = n.Round(n.now)
	require.False(t, complete)
	require.Equal(t, Request{Epoch: 42, Ring: v.Table.Fingerprint(), Asked: []member.ID{id("b", 1), id("c", 1)}, Parts: want}, todo.Claim.Request)
	for _, p := range want {
		require.Equal(t, Claim{42, n.self}, n.parts[p].promised)
	}
	again, complete := n.Round(n.now)
	require.False(t, complete)
	require.Equal(t, Todo{Later: true}, again, "all are under way")

	n.pass(time.Millisecond)
	answers := make([]Answer, len(want))
	for i := range answers {
		answers[i].Status = Accepted
	}
	settled := n.settle(todo.Claim, answers, answers)
	require.Len(t, settled.Open, len(want))
	require.False(t, settled.Later)
	todo, complete = n.Round(n.now)
	require.True(t, complete)
	require.Equal(t, Todo{}, todo)
}

// Every voter is asked, also where a request has no room for the names of all.
func TestAllVotersAreAskedHoweverManyTheyAre(t *testing.T) {
	t.Parallel()
	n := still("a")
	var members []*member.Member
	for i := range maxVoters + 45 {
		m := up("m", 1)
		m.Name = string(rune('b'+i%25)) + string(rune('a'+i/25))
		m.State = member.StateLeaving // which has no place on the ring
		members = append(members, m)
	}
	r := n.begin(t, membertest.OwnedBy(t, n.see(members...), "a"))
	require.Len(t, r.Asked, len(members))
	decoded, err := DecodeRequest(r.Encode())
	require.NoError(t, err)
	require.Equal(t, r.Asked[:maxVoters], decoded.Asked)
	require.Equal(t, r.Parts, decoded.Parts)

	answers := make([][]Answer, len(members))
	for i := range answers {
		answers[i] = []Answer{{Status: Accepted}}
	}
	answers[len(members)-1][0].Status = Early
	require.Empty(t, n.settle(r, answers...).Open, "the last one's word counts too")
}

// A member that has asked for a partition with one epoch does not agree to a
// lower one meanwhile: both would lose, and nobody would serve it.
func TestOwnClaimUnderWayRefusesOlderOnes(t *testing.T) {
	t.Parallel()
	n := still("a")
	view := n.see(up("b", 1))
	p := membertest.OwnedBy(t, view, "a")
	n.maxEpoch = 4
	r := n.begin(t, p)

	require.Equal(t, Stale, n.ask(t, id("b", 1), 4, view.Table.Fingerprint(), p).Status)
	got := n.settle(r, []Answer{{Status: Accepted}})
	require.Equal(t, []Opened{{Partition: p, Equal: []member.ID{id("b", 1)}}}, got.Open)
}

func TestSettle(t *testing.T) {
	t.Parallel()
	accepted := func(digest uint64, count uint32) []Answer {
		return []Answer{{Status: Accepted, Digest: digest, Count: count}}
	}
	b, c := id("b", 1), id("c", 1)
	for name, s := range map[string]struct {
		answers [][]Answer     // of b and c
		then    *member.Member // how c is seen when they have come
		held    bool           // by an operation, so that the sum is not known
		late    time.Duration
		phase   Phase
		equal   []member.ID
		sources []member.ID
		absent  []member.ID
	}{
		"all agree and have the same":        {answers: [][]Answer{accepted(0, 0), accepted(0, 0)}, phase: Warm, equal: []member.ID{b, c}},
		"one has more":                       {answers: [][]Answer{accepted(0, 0), accepted(9, 1)}, phase: Fetching, equal: []member.ID{b}, sources: []member.ID{c}},
		"one has lost it":                    {answers: [][]Answer{accepted(9, 0), accepted(0, 0)}, phase: Warm, equal: []member.ID{c}},
		"one has just handed it over":        {answers: [][]Answer{accepted(0, 0), {{Status: Moved}}}, phase: Fetching, sources: []member.ID{b, c}},
		"one has handed it over a while ago": {answers: [][]Answer{accepted(0, 0), {{Status: Accepted, Left: time.Second}}}, phase: Warm, equal: []member.ID{b, c}},
		"silent and alive":                   {answers: [][]Answer{accepted(0, 0), nil}, phase: Away},
		"silent and ended":                   {answers: [][]Answer{accepted(0, 0), nil}, then: refused("c", 1), phase: Warm, equal: []member.ID{b}},
		"silent and given up":                {answers: [][]Answer{accepted(0, 0), nil}, then: dead("c", 1), phase: Warm, equal: []member.ID{b}, absent: []member.ID{c}},
		"given up, and one has a copy":       {answers: [][]Answer{accepted(9, 1), nil}, then: dead("c", 1), phase: Fetching, sources: []member.ID{b}},
		"handed over, and the other is gone": {answers: [][]Answer{{{Status: Moved}}, nil}, then: refused("c", 1), phase: Fetching, sources: []member.ID{b}},
		"a newer claim stands":               {answers: [][]Answer{accepted(0, 0), {{Status: Stale, Epoch: 70, Claimant: b.String()}}}, phase: Away},
		"too early, the server is told":      {answers: [][]Answer{{{Status: Early, Epoch: 3, Claimant: c.String()}}, accepted(0, 0)}, phase: Away},
		"refused by one that names no other": {answers: [][]Answer{{{Status: Early}}, accepted(0, 0)}, phase: Away},
		"refused with a name that is none":   {answers: [][]Answer{{{Status: Early, Epoch: 3, Claimant: "?"}}, accepted(0, 0)}, phase: Away},
		"an operation holds it":              {answers: [][]Answer{accepted(0, 0), accepted(0, 0)}, held: true, phase: Away},
		"at the last moment":                 {answers: [][]Answer{accepted(0, 0), accepted(0, 0)}, late: settleTime, phase: Warm, equal: []member.ID{b, c}},
		"a moment after that":                {answers: [][]Answer{accepted(0, 0), accepted(0, 0)}, late: settleTime + 1, phase: Away},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := membertest.OwnedBy(t, n.see(up("b", 1), up("c", 1)), "a")
			n.maxEpoch = 4
			r := n.begin(t, p)
			require.Equal(t, []member.ID{b, c}, r.Asked)
			if s.then != nil {
				n.see(up("b", 1), s.then)
			}
			n.held[p] = s.held
			n.pass(s.late)
			got := n.settle(r, s.answers...)

			require.Equal(t, s.phase, n.gate.Phase(p))
			require.Equal(t, s.phase != Away, n.open[p])
			require.Empty(t, got.Close, "what was not served need not be closed")
			if s.phase == Away {
				require.Equal(t, Todo{Over: &Over{5, []int{p}, []member.ID{b, c}}, Later: true}, got, "another round, after a pause, and none at once")
				require.NotEqual(t, n.self, n.parts[p].holder.By)
			} else {
				require.Equal(t, Todo{Open: []Opened{{Partition: p, Equal: s.equal, Fetch: s.phase == Fetching, Absent: s.absent}}}, got)
				require.Equal(t, Claim{5, n.self}, n.parts[p].holder)
			}
			sources, epoch, fetching := n.Sources(p)
			require.Equal(t, s.sources, sources)
			require.Equal(t, n.parts[p].holder.Epoch, epoch)
			require.Equal(t, s.phase == Fetching, fetching)
			switch name {
			case "a newer claim stands":
				require.EqualValues(t, 70, n.maxEpoch, "the next claim made here is above it")
				require.Equal(t, Claim{}, n.parts[p].holder, "it need not be in force")
			case "too early, the server is told":
				require.Equal(t, Claim{3, c}, n.parts[p].holder)
				n.pass(PromiseTime)
				require.Equal(t, Decision{Verdict: Forward, Owner: c, Epoch: 3}, n.gate.Decide(p, n.now))
			}
			require.Equal(t, hashOf(n.Core), n.gate.ClaimsHash())
		})
	}
}

// Who gave the partition up and had all there was is remembered while it is being
// fetched: whoever else is silent then has nothing to add.
func TestSettleRemembersWhoGave(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	for _, x := range []struct {
		owner  member.ID
		status Status
		giver  member.ID
	}{{b, Whole, b}, {b, Partial, member.ID{}}, {b, Accepted, member.ID{}}, {c, Whole, member.ID{}}} {
		n := still("a")
		view := n.see(up("b", 1), up("c", 1))
		p := membertest.OwnedBy(t, view, "a")
		n.maxEpoch = 4
		r := n.begin(t, p)
		n.parts[p].holder = Claim{4, x.owner} // as it was heard meanwhile
		n.settle(r, []Answer{{Status: x.status, Digest: 9, Count: 1}}, []Answer{{Status: Accepted}})
		require.Equal(t, Fetching, n.gate.Phase(p))
		require.Equal(t, x.giver, n.parts[p].giver, "%v", x)
	}
}

// What was agreed to while the answers were on their way must not be undone.
func TestSettleLeavesWhatWasYieldedMeanwhile(t *testing.T) {
	t.Parallel()
	n := still("a")
	view := n.see(up("b", 1))
	p := membertest.OwnedBy(t, view, "a")
	n.maxEpoch = 4
	r := n.begin(t, p)
	require.True(t, n.ask(t, id("b", 1), 6, view.Table.Fingerprint(), p).Status.Agrees())
	require.Equal(t, Todo{Over: overOf(r), Later: true}, n.settle(r, []Answer{{Status: Accepted}}), "if the other does not serve it, it is asked for again")
	require.Equal(t, Claim{6, id("b", 1)}, n.parts[p].promised, "what was agreed to stands")
	require.Equal(t, Away, n.gate.Phase(p))
	require.False(t, n.open[p])
}

// Answers that come after all to an older round of one's own do not undo what a
// newer one has won.
func TestSettleLeavesWhatANewerRoundHasWon(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	view := n.see(up("b", 1))
	p := membertest.OwnedBy(t, view, "a")
	older := n.begin(t, p)
	require.True(t, n.ask(t, b, older.Epoch+1, view.Table.Fingerprint(), p).Status.Agrees())
	newer := n.begin(t, p)
	require.Len(t, n.settle(newer, []Answer{{Status: Accepted}}).Open, 1)
	require.Equal(t, Todo{Over: overOf(older), Later: true}, n.settle(older, []Answer{{Status: Accepted}}))
	require.Equal(t, Warm, n.gate.Phase(p))
	require.Equal(t, Claim{newer.Epoch, n.self}, n.parts[p].holder)
}

// A claim that was only heard of is in force, and so stands above one's own.
func TestSettleGivesUpWhatWasClaimedAbove(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	p := membertest.OwnedBy(t, n.see(up("b", 1)), "a")
	r := n.begin(t, p)
	n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{r.Epoch + 1, b}), true))
	require.Equal(t, Claiming, n.gate.Phase(p))
	require.Equal(t, Todo{Over: overOf(r), Later: true}, n.settle(r, []Answer{{Status: Accepted}}))
	require.Equal(t, Claim{r.Epoch + 1, b}, n.parts[p].holder)
	require.Equal(t, Away, n.gate.Phase(p))
}

// A claim that took too long is given up though all have agreed: their
// promises may have lapsed.
func TestLateClaimIsGivenUp(t *testing.T) {
	t.Parallel()
	n := still("a")
	p := membertest.OwnedBy(t, n.see(up("b", 1)), "a")
	r := n.begin(t, p)
	n.pass(settleTime + 1)
	require.Equal(t, Todo{Over: overOf(r), Later: true}, n.settle(r, []Answer{{Status: Accepted}}))
	require.Equal(t, Away, n.gate.Phase(p))
	require.Less(t, settleTime, PromiseTime, "a promise outlasts the claim that it was made to")
}

// A claim for many partitions is answered for all but the one that an operation
// holds. That one is closed all the same, so the operation is the last that
// runs.
func TestClaimIsAnsweredAllButWhatAnOperationHolds(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	fp := n.see(up("b", 1)).Table.Fingerprint()
	parts := []int{3, 4, 5}
	for _, p := range parts {
		n.serving(p, 4)
		n.sums[p] = Sum{Digest: uint64(p), Count: 1}
	}
	n.held[4] = true
	j, todo := n.judge(t, b, Request{5, fp, []member.ID{n.self}, parts})
	require.Equal(t, parts, todo.Close)
	require.Equal(t, 3, j.Yielded)
	require.Equal(t, parts, j.Unsummed())
	require.False(t, j.SetSums(n.sumsOf(j.Unsummed())))
	require.Equal(t, []int{4}, j.Unsummed(), "the others are known")
	require.False(t, j.SetSums(n.sumsOf(j.Unsummed())))
	answers, busy := n.answer(t, j)
	require.Equal(t, 1, busy)
	require.Equal(t, []Answer{
		{Status: Whole, Digest: 3, Count: 1, Left: NeverLeft}, {Status: Early, Epoch: 5}, {Status: Whole, Digest: 5, Count: 1, Left: NeverLeft},
	}, answers)
	require.False(t, n.open[4])
	require.Equal(t, Away, n.gate.Phase(4))

	n.held[4] = false
	require.True(t, n.ask(t, b, 6, fp, 4).Status.Agrees(), "asked again, it is given up")
}

// An operation that ends while the claim waits is in the sum.
func TestClaimIsAnsweredWhenTheOperationEnds(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	fp := n.see(up("b", 1)).Table.Fingerprint()
	n.serving(4, 4)
	n.held[4] = true
	j, _ := n.judge(t, b, Request{5, fp, []member.ID{n.self}, []int{3, 4}})
	require.False(t, j.SetSums(n.sumsOf(j.Unsummed())))
	n.held[4], n.sums[4] = false, Sum{Digest: 9, Count: 2}
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	require.Empty(t, j.Unsummed())
	answers, busy := n.answer(t, j)
	require.Zero(t, busy)
	require.Equal(t, Answer{Status: Whole, Digest: 9, Count: 2, Left: NeverLeft}, answers[1])
}

// The sum in an answer is of what was there when the claim was agreed to. Where
// a later claim has been agreed to since, or made, it may be of anything.
func TestClaimThatWasOvertakenWhileItWaitedIsStale(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	v := n.see(up("b", 1), up("c", 1))
	fp := v.Table.Fingerprint()
	p := membertest.OwnedBy(t, v, "a")
	n.serving(p, 4)
	j, _ := n.judge(t, b, Request{5, fp, []member.ID{n.self, c}, []int{p}})
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	require.True(t, n.ask(t, c, 6, fp, p, b).Status.Agrees())
	answers, _ := n.answer(t, j)
	require.Equal(t, Answer{Status: Stale, Epoch: 6, Claimant: c.String()}, answers[0])

	j, _ = n.judge(t, b, Request{7, fp, []member.ID{n.self, c}, []int{p}})
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	own := n.begin(t, p)
	answers, _ = n.answer(t, j)
	require.Equal(t, Answer{Status: Stale, Epoch: own.Epoch, Claimant: n.self.String()}, answers[0], "a's own claim asks b")

	j, _ = n.judge(t, b, Request{own.Epoch + 1, fp, []member.ID{n.self, c}, []int{p}})
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	n.do(n.Ponged(n.now, n.now, c, fp, only(p, Claim{own.Epoch + 2, c}), true))
	answers, _ = n.answer(t, j)
	require.Equal(t, Answer{Status: Stale, Epoch: own.Epoch + 2, Claimant: c.String()}, answers[0], "heard of in a table")
}

// A copy that is being dropped at this moment may or may not be in the sum.
func TestClaimDuringADropIsToldThatTheCopyMoved(t *testing.T) {
	t.Parallel()
	n := still("a")
	view := n.see(up("b", 1))
	p := membertest.OwnedBy(t, view, "a")
	require.True(t, n.BeginDrop(n.now, p))
	require.Equal(t, Moved, n.ask(t, id("b", 1), 5, view.Table.Fingerprint(), p).Status)
	require.False(t, n.BeginDrop(n.now, p), "nor is it dropped twice at a time")

	n.pass(PromiseTime)
	n.Round(n.now)
	require.Equal(t, Away, n.gate.Phase(p), "nor claimed")
}

// rounds lets members claim, and tell each other what they have claimed, until
// each serves what its ring gives to it, and returns how long that took.
func rounds(t *testing.T, members ...*tried) (took time.Duration) {
	t.Helper()
	const pause = 50 * time.Millisecond
	byID := make(map[member.ID]*tried)
	for _, n := range members {
		byID[n.self] = n
	}
	for ; took < time.Minute; took += pause {
		all := true
		for _, n := range members {
			for _, m := range members {
				if m == n {
					continue
				}
				sent := n.now
				lease, claims, todo := m.Pinged(m.now, n.self, n.view.Table.Fingerprint(), n.gate.ClaimsHash())
				m.do(todo)
				var table *Table
				if claims {
					table = m.Claims()
				}
				n.do(n.Ponged(n.now, sent, m.self, m.view.Table.Fingerprint(), table, lease))
			}
			todo, complete := n.Round(n.now)
			all = all && complete
			if todo.Claim == nil {
				continue
			}
			answers := make([][]Answer, len(todo.Claim.Asked))
			for i, voter := range todo.Claim.Asked {
				v := byID[voter]
				j, _ := v.judge(t, n.self, todo.Claim.Request)
				j.SetSums(v.sumsOf(j.Unsummed()))
				answers[i], _ = v.answer(t, j)
			}
			n.settle(todo.Claim, answers...)
		}
		if all {
			return took
		}
		for _, n := range members {
			n.pass(pause)
		}
	}
	t.Fatal("not within a minute: each serves what its ring gives to it")
	return took
}

// It is possible that nobody ever serves by a claim that was agreed to: its
// claimant can have died, or never have been a member. The one that the ring
// names claims it anew.
func TestWhatWasGivenUpToNobodyIsClaimedAnew(t *testing.T) {
	t.Parallel()
	a, b := still("a"), still("b")
	fp := a.see(up("b", 1)).Table.Fingerprint()
	b.see(up("a", 1))
	members := []*tried{a, b}
	served := func() {
		t.Helper()
		for p := range ring.Partitions {
			require.NotEqual(t, a.open[p], b.open[p], "partition %d has one owner", p)
			require.Equal(t, a.view.Table.Owner(p) == "a", a.open[p])
		}
	}
	var parts []int
	for p := range ring.Partitions {
		parts = append(parts, p)
	}
	claims := func(from member.ID, epoch uint64) (accepted int) {
		for _, n := range members {
			j, _ := n.judge(t, from, Request{epoch, fp, []member.ID{a.self, b.self}, parts})
			j.SetSums(n.sumsOf(j.Unsummed()))
			answers, _ := n.answer(t, j)
			for _, answer := range answers {
				if answer.Status.Agrees() {
					accepted++
				}
			}
		}
		return accepted
	}
	rounds(t, members...)
	served()
	require.Equal(t, 2*ring.Partitions, claims(member.ID{Name: "thief", Boot: "1"}, 5000), "this is what the peer port keeps strangers from")
	require.Empty(t, a.open)
	require.Less(t, rounds(t, members...), PromiseTime, "it is known that no such member is alive")
	served()
	// One that gossip may be about to tell of: until its promise has lapsed
	// it cannot be known that it will never serve.
	require.Positive(t, claims(member.ID{Name: "b", Boot: "ffffffffffff00000007"}, 1<<20))
	require.GreaterOrEqual(t, rounds(t, members...), PromiseTime)
	served()
	require.Zero(t, claims(member.ID{Name: "thief", Boot: "1"}, 1<<63), "far above all that is known")
	served()
	rounds(t, members...)
	served()
}

// While two members join and go, each partition has one owner at most, and in
// the end the one that the ring names.
func TestPartitionsMoveWithTheRing(t *testing.T) {
	t.Parallel()
	a, b, c := still("a"), still("b"), still("c")
	a.see()
	rounds(t, a)
	require.Len(t, a.open, ring.Partitions)
	for _, members := range [][]*tried{{a, b}, {a, b, c}, {b, c}, {a, b, c}} {
		var all []*member.Member
		for _, n := range members {
			all = append(all, up(n.self.Name, 1))
		}
		for _, n := range members {
			n.glance(all...)
		}
		if len(members) == 2 && members[0] == b { // a drains
			leaving := up("a", 1)
			leaving.State = member.StateLeaving
			for _, n := range []*tried{a, b, c} {
				n.glance(append(all, leaving)...)
			}
			members = []*tried{a, b, c}
		}
		rounds(t, members...)
		for p := range ring.Partitions {
			for _, n := range members {
				require.Equal(t, n.view.Table.Owner(p) == n.self.Name, n.open[p], "partition %d at %s", p, n.self.Name)
			}
		}
	}
}

// b claims what nobody serves, with this member's consent, and has a lease of
// it. Then nothing comes through to b any more from here: it takes no part, as
// far as is seen here, but serves by that claim.
func TestWhoWasGivenALeaseIsNotPassedOver(t *testing.T) {
	t.Parallel()
	n := still("a")
	b := id("b", 1)
	unreached := up("b", 1)
	unreached.Up, unreached.Unreached = false, true
	n.see(up("b", 1))
	const p = 3
	require.Equal(t, Accepted, n.ask(t, b, 5, n.view.Table.Fingerprint(), p, n.self).Status)
	n.answered(b, 0, n.view.Table.Fingerprint())
	require.True(t, n.pinged(b))
	n.see(unreached)
	r := n.begin(t, p)
	require.Contains(t, r.Asked, b)
	require.Empty(t, n.settle(r, nil).Open, "b may serve it")

	n.pass(LeaseTime + PromiseTime)
	require.NotEmpty(t, n.settle(n.begin(t, p)).Open, "its lease is over")
}
