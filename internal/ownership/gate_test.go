package ownership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

// Each verdict, by what is known of the partition: a, with b and c beside it,
// decides where a request goes.
func TestDecide(t *testing.T) {
	t.Parallel()
	a, b, c := id("a", 1), id("b", 1), id("c", 1)
	all := cluster("abc")
	leaving := up("b", 1)
	leaving.State = member.StateLeaving
	mine := member.ID{Name: "a"} // of no boot: nobody serves it yet
	for name, s := range map[string]struct {
		sees             []*member.Member
		byRing           string // who owns the partition by the ring
		phase            Phase
		holder, promised Claim
		then             func(n *tried, p int)
		passes           time.Duration
		want             Decision
	}{
		"nobody is in the ring":            {want: Decision{Verdict: Wait}},
		"the ring gives it to this member": {sees: all, byRing: "a", want: Decision{Verdict: Wait, Owner: mine}},
		"this member claims it":            {sees: all, byRing: "a", phase: Claiming, promised: Claim{5, a}, want: Decision{Verdict: Wait, Owner: mine}},
		"this member has given it up":      {sees: all, byRing: "a", holder: Claim{4, a}, want: Decision{Verdict: Wait, Owner: mine}},
		"this member claims what c serves": {sees: all, byRing: "a", phase: Claiming, holder: Claim{4, c}, promised: Claim{5, a}, want: Decision{Verdict: Forward, Owner: c, Epoch: 4}},

		"the ring gives it to another":  {sees: all, byRing: "b", want: Decision{Verdict: Forward, Owner: b}},
		"to a newer boot":               {sees: append(cluster("ac"), dead("b", 1), up("b", 2)), byRing: "b", holder: Claim{4, b}, want: Decision{Verdict: Forward, Owner: id("b", 2)}},
		"another one serves it":         {sees: all, byRing: "b", holder: Claim{4, c}, want: Decision{Verdict: Forward, Owner: c, Epoch: 4}},
		"one serves it that is leaving": {sees: append(cluster("ac"), leaving), byRing: "c", holder: Claim{4, b}, want: Decision{Verdict: Forward, Owner: b, Epoch: 4}},
		"its holder does not take part": {sees: append(cluster("ab"), dead("c", 1)), byRing: "b", holder: Claim{4, c}, want: Decision{Verdict: Forward, Owner: b}},

		"it was promised":                 {sees: all, byRing: "a", holder: Claim{4, c}, promised: Claim{5, b}, want: Decision{Verdict: Forward, Owner: b, Epoch: 5}},
		"promised not too long ago":       {sees: all, byRing: "a", holder: Claim{4, c}, promised: Claim{5, b}, passes: PromiseTime - 1, want: Decision{Verdict: Forward, Owner: b, Epoch: 5}},
		"the promise has lapsed":          {sees: all, byRing: "a", holder: Claim{4, c}, promised: Claim{5, b}, passes: PromiseTime, want: Decision{Verdict: Forward, Owner: c, Epoch: 4}},
		"lapsed, and there was no holder": {sees: all, byRing: "c", promised: Claim{5, b}, passes: PromiseTime, want: Decision{Verdict: Forward, Owner: c}},
		"promised to one that has gone":   {sees: append(cluster("ac"), dead("b", 1)), byRing: "a", holder: Claim{4, c}, promised: Claim{5, b}, want: Decision{Verdict: Forward, Owner: c, Epoch: 4}},

		"it is served here": {sees: all, byRing: "b", phase: Warm, holder: Claim{4, a}, want: Decision{Verdict: Serve, Owner: a, Epoch: 4}},
		"served here with a lease": {sees: all, byRing: "a", phase: Warm, holder: Claim{4, a}, then: func(n *tried, _ int) {
			n.answered(b, 0, "")
			n.answered(c, 0, "")
		}, passes: LeaseTime - 1, want: Decision{Verdict: Serve, Leased: true, Owner: a, Epoch: 4}},
		"the lease is over": {sees: all, byRing: "a", phase: Warm, holder: Claim{4, a}, then: func(n *tried, _ int) {
			n.answered(b, 0, "")
			n.answered(c, 0, "")
		}, passes: LeaseTime, want: Decision{Verdict: Serve, Owner: a, Epoch: 4}},
		"served here, the copies are not": {sees: all, byRing: "a", phase: Warm, holder: Claim{4, a}, then: func(n *tried, p int) {
			n.setUnsure(p, unsure{elsewhere: true})
		}, want: Decision{Verdict: Serve, Unverified: true, Owner: a, Epoch: 4}},
		"served with a lease, the copies are not": {sees: cluster("a"), byRing: "a", phase: Warm, holder: Claim{4, a}, then: func(n *tried, p int) {
			n.setUnsure(p, unsure{elsewhere: true})
		}, want: Decision{Verdict: Serve, Leased: true, Unverified: true, Owner: a, Epoch: 4}},
		"it is being fetched":  {sees: all, byRing: "a", phase: Fetching, holder: Claim{4, a}, want: Decision{Verdict: FetchFirst, Owner: a, Epoch: 4}},
		"fetched with a lease": {sees: cluster("a"), byRing: "a", phase: Fetching, holder: Claim{4, a}, want: Decision{Verdict: FetchFirst, Leased: true, Owner: a, Epoch: 4}},
		"no source can be reached": {sees: all, byRing: "a", phase: Fetching, holder: Claim{4, a}, then: func(n *tried, p int) {
			n.SetUnreached(p, 4, nil, []member.ID{b}, nil)
		}, want: Decision{Verdict: FetchFirst, Unverified: true, Owner: a, Epoch: 4}},
		"served here until a claim is heard of": {sees: all, byRing: "a", phase: Warm, holder: Claim{4, a}, then: func(n *tried, p int) {
			n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{5, c}), false))
		}, want: Decision{Verdict: Forward, Owner: c, Epoch: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := 0
			if s.sees != nil {
				p = membertest.OwnedBy(t, n.glance(s.sees...), s.byRing)
			}
			n.setHolder(p, s.holder)
			if s.promised != (Claim{}) {
				n.promise(n.now, p, s.promised)
			}
			n.setPhase(p, s.phase)
			if s.then != nil {
				s.then(n, p)
			}
			n.pass(s.passes)
			require.Equal(t, s.want, n.gate.Decide(p, n.now))
			require.Equal(t, s.want.Owner == a, s.want.Here())
			require.Equal(t, s.want.Verified(), n.gate.Verified(p, n.now))
		})
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	n := still("a")
	count := func() [2]int {
		warm, cold := n.Gate().Counts()
		return [2]int{warm, cold}
	}
	require.Equal(t, [2]int{}, count(), "the ring gives nothing")
	v := n.see(up("b", 1))
	mine, other := 0, membertest.OwnedBy(t, v, "b")
	for p := range ring.Partitions {
		if v.Table.Owner(p) == "a" {
			mine++
		}
	}
	require.Equal(t, [2]int{0, mine}, count())
	p := membertest.OwnedBy(t, v, "a")
	n.begin(t, p)
	require.Equal(t, [2]int{0, mine}, count(), "asked for, and not yet had")
	n.serving(p, 4)
	require.Equal(t, [2]int{1, mine - 1}, count())
	n.fetching(other, 4, id("b", 1))
	require.Equal(t, [2]int{1, mine}, count(), "what is served here counts, whatever the ring says")
	n.Fetched(other, 4)
	require.Equal(t, [2]int{2, mine - 1}, count())
}

// A promise is followed for as long as its claim can come into force, and no
// longer: the times of both are those of one member's clock.
func TestPromisesLapseInTheOrderInWhichTheyWereMade(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
	n.setHolder(3, Claim{4, n.self})
	require.Equal(t, Accepted, n.ask(t, b, 5, fp, 3).Status)
	n.pass(time.Second)
	require.Equal(t, b, n.gate.Decide(3, n.now).Owner)
	require.Equal(t, Accepted, n.ask(t, c, 6, fp, 3, b).Status)
	require.Equal(t, c, n.gate.Decide(3, n.now).Owner)
	n.pass(PromiseTime - 1)
	require.Equal(t, Decision{Verdict: Forward, Owner: c, Epoch: 6}, n.gate.Decide(3, n.now))
	n.pass(1)
	require.Zero(t, n.gate.Decide(3, n.now).Epoch, "the ring alone says where it may be")
}

// What was sent to this member as the owner is run here by the same claim, or
// passed on where it has given the partition up. It is neither where it was
// succeeded without its consent.
func TestInForce(t *testing.T) {
	t.Parallel()
	b := id("b", 1)
	accepted := func(n *tried, p int) (epochs []uint64) {
		for epoch := range uint64(9) {
			if n.Gate().InForce(p, epoch) {
				epochs = append(epochs, epoch)
			}
		}
		return epochs
	}
	n := still("a")
	n.see(up("b", 1))
	n.Set(3, Warm, Claim{5, n.self}, false)
	require.Equal(t, []uint64{0, 5}, accepted(n, 3), "it serves by claim 5")
	n.do(n.Ponged(n.now, n.now, b, "", only(3, Claim{6, b}), true))
	require.Equal(t, []uint64{0, 6, 7, 8}, accepted(n, 3), "b has succeeded it while it was out of touch")
	n.Set(3, Warm, Claim{7, n.self}, false)
	require.Equal(t, []uint64{0, 7}, accepted(n, 3), "it is back")
	n.Set(3, Away, Claim{8, b}, false)
	require.Equal(t, []uint64{0, 6, 7, 8}, accepted(n, 3), "it has given claim 7 up")
}
