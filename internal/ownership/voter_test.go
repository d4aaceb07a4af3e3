package ownership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// givenUp tells n that a claim is given up, as it comes over the wire.
func (n *tried) givenUp(t require.TestingT, from member.ID, epoch uint64, parts ...int) Todo {
	o, err := DecodeOver(Over{Epoch: epoch, Parts: parts}.Encode())
	require.NoError(t, err)
	todo := n.GivenUp(n.now, from, o)
	require.True(t, todo.Round, "what the promise stood in the way of may be claimed now")
	todo.Round = false
	return n.do(todo)
}

// Who gave a partition up to a claim of which nothing comes serves it again, as
// it did.
func TestWhatWasGivenUpInVainIsServedAgain(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	const p = 3
	for name, serves := range map[string]func(n *tried){
		"warm": func(n *tried) { n.serving(p, 4) },
		"warm, the copies out of reach": func(n *tried) {
			n.serving(p, 4)
			n.setUnsure(p, unsure{elsewhere: true})
		},
		"being fetched": func(n *tried) { n.fetching(p, 4, b, c); n.parts[p].giver = b },
		"being fetched, no source reached": func(n *tried) {
			n.fetching(p, 4, b, c)
			require.True(t, n.SetUnreached(p, 4, nil, []member.ID{b}, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
			serves(n)
			was, decided := n.parts[p], n.gate.Decide(p, n.now)
			require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
			require.False(t, n.open[p])

			todo := n.givenUp(t, b, 5, p)
			require.Equal(t, Todo{Open: []Opened{{Partition: p, Fetch: was.phase == Fetching}}}, todo)
			require.True(t, n.open[p])
			was.promised, was.promisedAt = was.holder, n.parts[p].promisedAt
			require.Equal(t, was, n.parts[p])
			require.Equal(t, decided, n.gate.Decide(p, n.now))
			if was.unreached {
				require.False(t, n.SetUnreached(p, 4, []member.ID{b}, nil, nil))
				require.False(t, n.gate.Decide(p, n.now).Unverified, "a source was reached")
			}
			require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "that is no news")
			require.True(t, n.ask(t, c, 6, fp, p, b).Status.Agrees(), "it can be given up again")
			require.Equal(t, Todo{Open: []Opened{{Partition: p, Fetch: was.phase == Fetching}}}, n.givenUp(t, c, 6, p))
		})
	}
}

// What is given up is that claim, and what is served again is what this member
// served until then.
func TestWhatIsNotServedAgain(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	const p = 3
	begin := func() (*tried, string) {
		n := still("a")
		fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
		n.serving(p, 4)
		require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
		return n, fp
	}
	n, _ := begin()
	require.Equal(t, Todo{}, n.givenUp(t, b, 4, p), "an older claim of the same claimant")
	require.Equal(t, Todo{}, n.givenUp(t, b, 6, p), "one that has not come here")
	require.Equal(t, Todo{}, n.givenUp(t, c, 5, p), "another one's")
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p+1), "of another partition")
	require.Equal(t, Todo{}, n.givenUp(t, b, 5), "of none")
	require.Equal(t, Claim{5, b}, n.parts[p].promised)

	n, fp := begin()
	require.True(t, n.ask(t, c, 6, fp, p, b).Status.Agrees())
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "c may serve it")
	require.Equal(t, Claim{6, c}, n.parts[p].promised)

	n, _ = begin()
	n.do(n.Ponged(n.now, n.now, c, "", only(p, Claim{5, b}), true))
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "b serves it, whatever it says")
	require.Equal(t, given{}, n.parts[p].given)

	n, _ = begin()
	n.do(n.Ponged(n.now, n.now, c, "", only(p, Claim{3, c}), true))
	require.NotEqual(t, given{}, n.parts[p].given, "a claim that this member's was newer than")
	n.setHolder(p, Claim{5, c})
	require.Equal(t, Claim{5, c}, n.parts[p].promised)
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "c does")
	require.Equal(t, Away, n.gate.Phase(p))

	n = still("a")
	fp = n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
	n.setHolder(p, Claim{4, n.self})
	require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "it was given up before")
	require.Equal(t, Away, n.gate.Phase(p))

	q := membertest.OwnedBy(t, n.view, "a")
	r := n.begin(t, q)
	require.True(t, n.ask(t, b, r.Epoch+1, fp, q, c).Status.Agrees())
	require.Equal(t, Todo{}, n.givenUp(t, b, r.Epoch+1, q), "it was claimed here, and not served")
	require.Equal(t, Away, n.gate.Phase(q))
}

// What becomes of a claim is known by itself, whatever else was agreed to just
// before it or behind it.
func TestRivalClaims(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	const p = 3
	begin := func() (*tried, string) {
		n := still("a")
		fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
		n.serving(p, 4)
		require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
		require.True(t, n.ask(t, c, 6, fp, p, b).Status.Agrees())
		return n, fp
	}
	served := Todo{Open: []Opened{{Partition: p}}}

	n, _ := begin()
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p), "c may serve it")
	require.Equal(t, served, n.givenUp(t, c, 6, p), "nobody does")

	n, _ = begin()
	require.Equal(t, Todo{}, n.givenUp(t, c, 6, p), "b may serve it")
	require.Equal(t, Claim{5, b}, n.parts[p].promised)
	require.Equal(t, served, n.givenUp(t, b, 5, p), "nobody does")

	n, fp := begin()
	n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{6, c}), true))
	require.True(t, n.ask(t, b, 7, fp, p, c).Status.Agrees())
	lease, _, _ := n.Pinged(n.now, c, fp, n.gate.ClaimsHash())
	require.False(t, lease, "b may be about to succeed c")
	n.givenUp(t, b, 7, p)
	lease, _, _ = n.Pinged(n.now, c, fp, n.gate.ClaimsHash())
	require.True(t, lease, "b's first claim is older than that by which c serves")

	n, fp = begin()
	require.True(t, n.ask(t, b, 7, fp, p, c).Status.Agrees())
	require.Equal(t, Early, n.ask(t, b, 8, fp, p).Status, "c may serve it, and is not asked")
	n.givenUp(t, b, 7, p)
	require.Equal(t, Claim{6, c}, n.parts[p].promised)
	require.Equal(t, served, n.givenUp(t, c, 6, p), "b's first claim is over since it made another")

	n = still("a")
	fp = n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
	q := membertest.OwnedBy(t, n.view, "a")
	n.begin(t, q) // and nothing comes of it
	n.pass(PromiseTime)
	require.True(t, n.ask(t, b, n.maxEpoch+1, fp, q, c).Status.Agrees())
	n.givenUp(t, b, n.maxEpoch, q)
	require.Equal(t, n.parts[q].holder, n.parts[q].promised, "a member's own claim is over by then")
}

// A voter's word for a claimant names who has a lease of it, and it has none
// where two have.
func TestWordOfAVoterThatGaveLeases(t *testing.T) {
	t.Parallel()
	b, c, d := id("b", 1), id("c", 1), id("d", 1)
	const p = 3
	n := still("a")
	fp := n.see(up("b", 1), up("c", 1), up("d", 1)).Table.Fingerprint()
	n.setHolder(p, Claim{4, b})
	lease, _, _ := n.Pinged(n.now, b, fp, n.gate.ClaimsHash())
	require.True(t, lease)
	a := n.ask(t, c, 5, fp, p, b, d)
	require.Equal(t, Accepted, a.Status)
	require.Equal(t, b.String(), a.Claimant)
	n.Pinged(n.now, c, fp, n.gate.ClaimsHash())
	require.Equal(t, Early, n.ask(t, d, 6, fp, p, b, c).Status, "b and c may both serve by a lease")
	n.pass(LeaseTime)
	a = n.ask(t, d, 7, fp, p, b, c)
	require.Equal(t, Accepted, a.Status)
	require.Empty(t, a.Claimant)
}

// Of many partitions those are served again that were given up.
func TestPartOfAClaimIsGivenUp(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	fp := n.see(up("b", 1)).Table.Fingerprint()
	for _, p := range []int{3, 4, 5} {
		n.serving(p, 4)
	}
	n.judge(t, b, Request{5, fp, []member.ID{n.self}, []int{3, 4, 5}})
	require.Equal(t, Todo{Open: []Opened{{Partition: 3}, {Partition: 5}}}, n.givenUp(t, b, 5, 3, 5))
	require.Equal(t, Decision{Verdict: Forward, Owner: b, Epoch: 5}, n.gate.Decide(4, n.now))
}

// A promise ends with the claim that it was made to: the holder gets a lease
// again, and requests go there.
func TestPromiseEndsWhenTheClaimIsGivenUp(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	v := n.see(up("b", 1), up("c", 1))
	fp := v.Table.Fingerprint()
	const p = 3
	n.setHolder(p, Claim{4, c})
	require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
	require.False(t, n.pinged(c))
	require.Equal(t, b, n.gate.Decide(p, n.now).Owner)
	require.Equal(t, Todo{}, n.givenUp(t, b, 5, p))
	require.True(t, n.pinged(c))
	require.Equal(t, Decision{Verdict: Forward, Owner: c, Epoch: 4}, n.gate.Decide(p, n.now))
	require.True(t, n.ask(t, c, 6, "other", p).Status.Agrees(), "nor is b asked any more")

	// So does the promise to oneself.
	q := membertest.OwnedBy(t, v, "a")
	n.setHolder(q, Claim{7, c})
	n.answered(c, 0, fp)
	r := n.begin(t, q)
	require.False(t, n.pinged(c))
	todo := n.settle(r, []Answer{{Status: Early}}, []Answer{{Status: Early}})
	require.Equal(t, Todo{Over: overOf(r), Later: true}, todo)
	require.Equal(t, Claim{7, c}, n.parts[q].promised)
	require.True(t, n.pinged(c))
}

// A round is given up for the partitions that were refused, and all that were
// asked are told which. For the others it is not.
func TestRoundIsGivenUpInPart(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	n.see(up("b", 1), up("c", 1))
	todo, _ := n.Round(n.now)
	r := *todo.Claim
	r.Parts = r.Parts[:4]
	yes, no := Answer{Status: Accepted}, Answer{Status: Early}
	require.Equal(t, []member.ID{b, c}, r.Asked)
	todo = n.settle(&r, []Answer{yes, no, yes, yes}, []Answer{yes, yes, yes, no})
	require.Equal(t, &Over{r.Epoch, []int{r.Parts[1], r.Parts[3]}, []member.ID{b, c}}, todo.Over)
	require.Len(t, todo.Open, 2)
	require.True(t, todo.Later)
}

// A claim that was agreed to, and of which nothing is heard for as long as a
// promise lasts, may have come into force. So it counts as if it had.
func TestPromiseOfWhichNothingIsHeardCountsAsInForce(t *testing.T) {
	t.Parallel()
	a, b, c := id("a", 1), id("b", 1), id("c", 1)
	const p = 3
	begin := func() (*tried, string) {
		n := still("a")
		fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
		n.touch("bc")
		n.serving(p, 4)
		require.Equal(t, Todo{}, n.Lapse(n.now))
		require.True(t, n.ask(t, b, 5, fp, p, c).Status.Agrees())
		return n, fp
	}
	n, _ := begin()
	n.pass(PromiseTime - 1)
	require.Equal(t, Todo{}, n.Lapse(n.now))
	require.Equal(t, Claim{4, a}, n.Holder(p))
	require.False(t, n.BeginDrop(n.now, p), "it may be served here again")
	n.pass(1)
	require.Equal(t, Todo{Round: true}, n.Lapse(n.now))
	require.Equal(t, Claim{5, b}, n.Holder(p))
	require.False(t, n.gate.Kept(p, 4, n.now), "that b has what was written here is not known")
	require.True(t, n.BeginDrop(n.now, p))
	require.Equal(t, Todo{}, n.Lapse(n.now), "once")

	n, _ = begin()
	n.givenUp(t, b, 5, p)
	n.pass(PromiseTime)
	require.Equal(t, Todo{}, n.Lapse(n.now))
	require.Equal(t, Claim{4, a}, n.Holder(p), "nothing has come of it")

	n, _ = begin()
	n.do(n.Ponged(n.now, n.now, c, "", only(p, Claim{6, c}), true))
	n.pass(PromiseTime)
	require.Equal(t, Todo{}, n.Lapse(n.now))
	require.Equal(t, Claim{6, c}, n.Holder(p), "a later one has")

	n, fp := begin()
	n.pass(PromiseTime - 1)
	require.True(t, n.ask(t, c, 6, fp, p, b).Status.Agrees())
	n.pass(1)
	require.Equal(t, Todo{}, n.Lapse(n.now), "the newer promise is not as old")
	n.pass(PromiseTime - 1)
	require.Equal(t, Todo{Round: true}, n.Lapse(n.now))
	require.Equal(t, Claim{6, c}, n.Holder(p))

	n, _ = begin()
	n.promise(n.now, p, Claim{9, a})
	n.pass(PromiseTime)
	require.Equal(t, Todo{}, n.Lapse(n.now))
	require.Equal(t, Claim{4, a}, n.Holder(p), "what becomes of its own claims this member knows")
}

// Until then the owner of before gets no lease, also after the promise's time.
func TestNoLeaseUntilAPromiseHasLapsed(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
	n.setHolder(3, Claim{4, c})
	require.True(t, n.ask(t, b, 5, fp, 3, c).Status.Agrees())
	n.pass(PromiseTime)
	require.False(t, n.pinged(c))
	n.do(n.Lapse(n.now))
	require.True(t, n.pinged(c), "what b has got stands in the table that c is given")
}

// What the ring gives to a member is missing until it is asked for.
func TestIsMissing(t *testing.T) {
	t.Parallel()
	n := still("a")
	require.False(t, n.IsMissing())
	n.see(up("b", 1))
	require.True(t, n.IsMissing())
	todo, _ := n.Round(n.now)
	require.False(t, n.IsMissing(), "it is under way")
	n.settle(todo.Claim, nil)
	require.True(t, n.IsMissing(), "and then given up")
}

// Who does not know the same claims gets no lease: it may be an owner of whom
// this member has not heard. It is asked for what it knows, but not all the
// time.
func TestNoLeaseForOneThatKnowsOtherClaims(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	pinged := func(from member.ID, other uint64) (lease, claims bool, todo Todo) {
		return n.Pinged(n.now, from, "", n.gate.ClaimsHash()+other)
	}
	lease, claims, todo := pinged(b, 0)
	require.True(t, lease)
	require.False(t, claims)
	require.Equal(t, Todo{}, todo)
	n.pass(LeaseTime)
	lease, claims, todo = pinged(b, 1)
	require.False(t, lease)
	require.True(t, claims, "it is told")
	require.Equal(t, Todo{Beat: []member.ID{b}}, todo)
	require.True(t, n.vouches(n.now, b), "it may serve")
	n.pass(pullEvery - 1)
	_, _, todo = pinged(b, 1)
	require.Equal(t, Todo{}, todo, "it was asked a moment ago")
	n.pass(1)
	_, _, todo = pinged(b, 1)
	require.Equal(t, Todo{Beat: []member.ID{b}}, todo)
	lease, _, todo = pinged(id("z", 1), 1)
	require.False(t, lease)
	require.Equal(t, Todo{}, todo, "there is no link to it")

	require.Equal(t, Todo{Beat: []member.ID{b}}, n.do(n.Ponged(n.now, n.now, b, "", only(3, Claim{5, b}), false)), "it may give a lease now")
	require.Equal(t, Todo{}, n.do(n.Ponged(n.now, n.now, b, "", only(3, Claim{5, b}), false)), "that was no news")
	lease, _, _ = pinged(b, 0)
	require.True(t, lease)
}

// A write is kept if whoever serves knows of it: this member, by the same claim
// and under a lease, or one that it gave the partition up to.
func TestKept(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	const p, epoch = 3, 4
	for name, s := range map[string]struct {
		then func(n *tried, fp string)
		want bool
	}{
		"served under a lease":               {func(n *tried, _ string) {}, true},
		"the lease is over":                  {func(n *tried, _ string) { n.pass(LeaseTime) }, false},
		"being fetched":                      {func(n *tried, _ string) { n.fetching(p, epoch, b) }, true},
		"served by another claim":            {func(n *tried, _ string) { n.serving(p, epoch+1) }, false},
		"given up to b, who may not have it": {func(n *tried, fp string) { n.ask(t, b, 5, fp, p, c) }, false},
		"given up to b, who has it": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{5, b}), true))
		}, true},
		"given up to b, who had it long ago": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{5, b}), true))
			n.pass(time.Minute)
			n.do(n.Ponged(n.now, n.now, c, "", only(p, Claim{7, c}), true))
		}, true},
		"given up to b, and c has it": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.do(n.Ponged(n.now, n.now, c, "", only(p, Claim{7, c}), true))
		}, false},
		"given up, and taken back": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.givenUp(t, b, 5, p)
		}, true},
		"given up, and taken back, the lease is over": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.givenUp(t, b, 5, p)
			n.pass(LeaseTime)
		}, false},
		"given up to b and then to c": {func(n *tried, fp string) {
			n.ask(t, b, 5, fp, p, c)
			n.ask(t, c, 6, fp, p, b)
		}, false},
		"succeeded without a word": {func(n *tried, _ string) { n.do(n.Ponged(n.now, n.now, b, "", only(p, Claim{5, b}), true)) }, false},
		"claimed again":            {func(n *tried, _ string) { n.setPhase(p, Claiming) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			fp := n.see(up("b", 1), up("c", 1)).Table.Fingerprint()
			n.touch("bc")
			n.serving(p, epoch)
			s.then(n, fp)
			require.Equal(t, s.want, n.gate.Kept(p, epoch, n.now))
			require.Equal(t, s.want || name == "served by another claim", n.gate.Confirms(p, n.now))
			require.True(t, n.gate.Confirms(p+1, n.now), "nothing was written there")
			require.False(t, n.gate.Kept(p, epoch+9, n.now), "of a claim that this member does not serve by")
			require.False(t, n.gate.Kept(p+1, 0, n.now), "nor of none")
		})
	}
}

// A node that has just ended may have given a silent owner a lease in its last
// moment. For as long as that can last nobody who is silent is succeeded.
func TestNoSilentOwnerIsSucceededWhileAnotherHasEndedLately(t *testing.T) {
	t.Parallel()
	begin := func() (*tried, int) {
		n := still("a")
		p := membertest.OwnedBy(t, n.see(up("b", 1), up("c", 1)), "a")
		for q := range n.parts {
			n.setHolder(q, Claim{4, id("b", 1)})
		}
		n.answered(id("b", 1), 0, "")
		n.pass(time.Minute)
		return n, p
	}
	n, _ := begin()
	n.see(dead("b", 1), up("c", 1))
	todo, _ := n.Round(n.now)
	require.NotNil(t, todo.Claim, "nobody has ended")

	n, _ = begin()
	ends := n.now
	n.see(dead("b", 1), refused("c", 1))
	todo, _ = n.Round(n.now)
	require.Equal(t, Todo{Later: true}, todo)
	n.pass(LeaseTime / 2)
	n.see(dead("b", 1), refused("c", 1)) // nothing new
	n.see(dead("b", 1))                  // c is forgotten
	n.now = ends + LeaseTime - 1
	todo, _ = n.Round(n.now)
	require.Equal(t, Todo{Later: true}, todo)
	n.pass(1)
	todo, _ = n.Round(n.now)
	require.NotNil(t, todo.Claim)

	n, _ = begin()
	router := refused("r", 1)
	router.Role = member.RoleRouter
	n.see(dead("b", 1), up("c", 1), router)
	todo, _ = n.Round(n.now)
	require.NotNil(t, todo.Claim, "a router gives no lease")

	n, _ = begin()
	n.see(refused("b", 1), up("c", 1))
	todo, _ = n.Round(n.now)
	require.NotNil(t, todo.Claim, "the owner itself has ended")

	n, _ = begin()
	n.see(dead("b", 1), refused("c", 1))
	n.pass(LeaseTime)
	n.see(dead("b", 1), dead("c", 1), up("c", 2)) // known to have ended before
	require.False(t, n.endedLately(n.now))
	n.see(dead("b", 1), dead("c", 1), dead("c", 2), up("c", 3))
	require.True(t, n.endedLately(n.now), "another boot has")
}

// What is settled is looked at as it is then: an owner that was not asked must
// not be able to serve.
func TestSettleLooksAtTheOwnerAgain(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	for name, s := range map[string]struct {
		owner member.ID
		then  func(n *tried)
		asked bool // the owner, who agrees
		want  bool
	}{
		"none":                  {owner: member.ID{}, want: true},
		"this member itself":    {owner: id("a", 1), want: true},
		"silent as before":      {owner: b, want: true},
		"it is alive":           {owner: b, then: func(n *tried) { n.answered(b, 0, "") }},
		"it has asked":          {owner: b, then: func(n *tried) { n.pinged(b) }},
		"gossip sees it":        {owner: b, then: func(n *tried) { n.see(up("b", 1), up("c", 1)) }},
		"alive, and has agreed": {owner: c, asked: true, want: true},
		"it has ended":          {owner: b, then: func(n *tried) { n.answered(b, 0, ""); n.see(refused("b", 1), up("c", 1)) }, want: true},
		"another one has":       {owner: b, then: func(n *tried) { n.see(dead("b", 1), up("c", 1), refused("d", 1)) }},
		"another one has, for long": {owner: b, then: func(n *tried) {
			n.see(dead("b", 1), up("c", 1), refused("d", 1))
			n.pass(LeaseTime)
		}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := membertest.OwnedBy(t, n.see(up("b", 1), up("c", 1)), "a")
			n.setHolder(p, Claim{4, s.owner})
			n.pass(time.Minute)
			n.answered(c, 0, n.see(dead("b", 1), up("c", 1)).Table.Fingerprint())
			r := n.begin(t, p)
			require.Equal(t, []member.ID{c}, r.Asked)
			if s.then != nil {
				s.then(n)
			}
			todo := n.settle(r, []Answer{{Status: Accepted}})
			require.Equal(t, s.want, len(todo.Open) == 1)
			require.Equal(t, !s.want, todo.Over != nil)
		})
	}
}

// In mode Majority a claim takes the consent of a majority of electors, though
// all that are asked agree, and is made only by one that reaches as many.
func TestClaimTakesAMajority(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]struct {
		names, touch, agree string
		made, won           bool
	}{
		"all agree":                     {"abcde", "bcde", "bcde", true, true},
		"a majority does":               {"abcde", "bcde", "bc", true, true},
		"a minority does":               {"abcde", "bcde", "b", true, false},
		"a majority can be reached":     {"abcde", "bc", "bc", true, true},
		"a minority can":                {"abcde", "b", "", false, false},
		"nobody can":                    {"abc", "", "", false, false},
		"nobody is there, nor counts":   {"a", "", "", true, true},
		"who does not count can":        {"abc", "xyz", "", false, false},
		"who does not count has agreed": {"abcxyz", "bxyz", "xyz", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a", majority)
			n.see(each(up, s.names[1:])...)
			n.counting(s.names[:min(len(s.names), 5)])
			if s.names == "abcxyz" {
				n.counting("abc")
			}
			n.touch(s.touch)
			todo, _ := n.Round(n.now)
			require.Equal(t, s.made, todo.Claim != nil)
			if !s.made {
				require.Equal(t, Todo{Later: true}, todo)
				return
			}
			r := *todo.Claim
			r.Parts = r.Parts[:1]
			gone := make([]*member.Member, 0)
			var answers [][]Answer
			for _, who := range r.Asked {
				if are(s.agree)(who) {
					answers = append(answers, []Answer{{Status: Accepted}})
				} else {
					answers = append(answers, nil)
					gone = append(gone, dead(who.Name, 1))
				}
			}
			n.see(append(gone, each(up, s.agree)...)...)
			require.Equal(t, s.won, len(n.settle(&r, answers...).Open) == 1)
		})
	}
}

// One that joins may claim what is here as soon as it is ready, so its answer
// counts for a lease, and is waited for.
func TestLeaseCountsThoseThatJoin(t *testing.T) {
	t.Parallel()
	joining := func(name string) *member.Member {
		m := up(name, 1)
		m.State = member.StateJoining
		return m
	}
	n := still("a")
	n.see(joining("b"))
	require.False(t, n.leased())
	n.touch("b")
	require.True(t, n.leased())
	n.pass(LeaseTime)
	n.see(joining("b"), up("c", 1))
	n.touch("c")
	require.False(t, n.leased(), "the lease had run out, so b must answer too")
	n.touch("b")
	require.True(t, n.leased())
	n.pass(LeaseTime / 2)
	n.see(dead("b", 1), leaving("c", 1))
	n.pass(LeaseTime / 2)
	n.touch("c")
	require.True(t, n.leased(), "one that leaves counts, and one that is gone does not")
}

// A voter that was out of reach of the owner alone says so, while who may have
// stood in for it is silent.
func TestVoterThatIsBehindSaysSo(t *testing.T) {
	t.Parallel()
	n := still("a")
	b, c, d := id("b", 1), id("c", 1), id("d", 1)
	n.see(up("b", 1), up("c", 1), up("d", 1))
	n.setHolder(3, Claim{5, b})
	n.Reached(n.now, b)
	for range 3 {
		n.pass(standInAfter)
		n.Reached(n.now, c)
	}
	n.see(refused("b", 1), up("c", 1), up("d", 1))
	require.Equal(t, Accepted, n.ask(t, d, 6, n.view.Table.Fingerprint(), 3, c).Status, "c is heard, and can be asked")
	n.pass(2 * LeaseTime)
	n.see(refused("b", 1), dead("c", 1), up("d", 1))
	require.Equal(t, Behind, n.ask(t, d, 7, n.view.Table.Fingerprint(), 3).Status)
}

// Where nobody has served a partition yet, a claimant asks all who bring sessions
// from their disks, also one that it has not heard of.
func TestClaimantAsksWhoBringsSessions(t *testing.T) {
	t.Parallel()
	n := still("a")
	b, c := id("b", 1), up("c", 1)
	c.State, c.Keeps = member.StateJoining, true
	fp := n.see(up("b", 1), c).Table.Fingerprint()
	require.Equal(t, Accepted, n.ask(t, b, 1, fp, 3).Status, "nor can c be asked from here")
	n.answered(c.ID, 0, fp)
	require.Equal(t, Early, n.ask(t, b, 2, fp, 4).Status)
	require.Equal(t, Accepted, n.ask(t, b, 3, fp, 4, c.ID).Status)
	n.setHolder(5, Claim{4, b})
	require.Equal(t, Accepted, n.ask(t, b, 5, fp, 5).Status, "it has been compared with the others since, or will be when it joins")
	c.Keeps = false
	require.Equal(t, Accepted, n.ask(t, b, 6, fp, 6).Status, "c has nothing")
}
