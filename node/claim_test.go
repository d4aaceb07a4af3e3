package node

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// serving makes n serve p under the given epoch, with one session in it.
func (n *Node) serving(t testing.TB, p int, epoch uint64) {
	t.Helper()
	n.owner.setHolderLocked(p, claimRef{epoch, n.id})
	n.owner.setPhaseLocked(p, warm)
	n.store.Open(p)
}

// ask makes from's claim of p, which waits for the consent of n and of the
// others that are asked.
func ask(t testing.TB, n *Node, from ID, epoch uint64, fingerprint string, p int, asked ...ID) claimAnswer {
	t.Helper()
	j, err := n.owner.judge(from, claimRequest{epoch, fingerprint, append(asked, n.id), []int{p}}.encode())
	require.NoError(t, err)
	require.True(t, j.look(0))
	answers, err := decodeClaimAnswers(j.answer(), 1)
	require.NoError(t, err)
	return answers[0]
}

func TestServerOfAPartitionYieldsToAClaim(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	v := n.see(t, b)
	key := "k"
	p := ring.Partition(key)
	n.serving(t, p, 4)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)

	a := ask(t, n, b.ID, 5, v.Table.Fingerprint(), p)
	require.Equal(t, claimAnswer{status: claimAccepted, digest: n.store.Digest(p), count: 1, left: neverLeft}, a)
	require.Equal(t, away, n.owner.phaseOf(p))
	_, err = n.store.Do(&session.Op{Kind: session.Get, Key: key})
	require.ErrorIs(t, err, session.ErrNotServed, "after the answer nothing is applied here")

	l := n.link(b)
	to := n.owner.route(p)
	require.Same(t, l, to.to, "and requests go to the claimant")
	require.Equal(t, "b", to.owner)
	require.EqualValues(t, 5, to.epoch)
}

// A copy that moves on while a claim is being answered is seen by nobody: its
// new holder has answered before it came, its old one answers after it went. So
// the old one says that it has handed it over, for as long as that may matter.
func TestClaimIsToldOfACopyThatHasJustMoved(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	fp := n.see(t, b).Table.Fingerprint()
	key := "k"
	p := ring.Partition(key)
	n.serving(t, p, 4)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 5, fp, p).status)
	require.False(t, n.owner.dropIf(p, n.store.Digest(p)+1))
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 6, fp, p).status, "it is here still")
	require.True(t, n.owner.dropIf(p, n.store.Digest(p)))
	moved := ask(t, n, b.ID, 7, fp, p)
	require.Equal(t, claimMoved, moved.status)
	require.Less(t, moved.left, settleTime)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 8, fp, p+1).status, "of others nothing has moved")
	n.pass(settleTime)
	left := ask(t, n, b.ID, 9, fp, p)
	require.Equal(t, claimAccepted, left.status, "whoever has it now has had it for long")
	require.GreaterOrEqual(t, left.left, settleTime, "and may be out of the claimant's reach")
}

func TestOlderClaimIsRefusedWithTheOneThatStands(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 1)
	fp := n.see(t, b, c).Table.Fingerprint()
	require.Equal(t, claimAccepted, ask(t, n, c.ID, 7, fp, 3).status)
	for _, older := range []uint64{1, 6, 7} { // of equal epochs the larger name goes first
		require.Equal(t, claimAnswer{status: claimStale, epoch: 7, claimant: c.String()}, ask(t, n, b.ID, older, fp, 3))
	}
	require.Equal(t, claimAccepted, ask(t, n, c.ID, 7, fp, 3).status, "asking again is harmless")
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 8, fp, 3, c.ID).status)
	require.EqualValues(t, 8, n.owner.maxEpoch)
}

// A member that has just started claims from those who know it, and at the same
// time somebody who does not know it yet claims from the same ones. Both would
// have the consent of all that they ask.
func TestClaimThatDoesNotAskTheLastClaimantIsEarly(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 2)
	fp := n.see(t, b, c).Table.Fingerprint()
	n.owner.setHolderLocked(3, claimRef{4, id("c", 1)})
	require.Equal(t, claimAccepted, ask(t, n, c.ID, 5, fp, 3).status, "c's earlier boot has ended")
	require.Equal(t, claimAnswer{status: claimEarly, epoch: 5}, ask(t, n, b.ID, 6, "without c", 3))
	require.Equal(t, claimRef{5, c.ID}, n.owner.parts[3].promised)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 7, fp, 3, c.ID).status, "c will judge for itself")

	require.Equal(t, claimAccepted, ask(t, n, c.ID, 8, fp, 3, b.ID).status)
	require.Equal(t, claimEarly, ask(t, n, b.ID, 9, "without c", 3).status)
	n.pass(promiseTime)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 10, "without c", 3).status, "nothing came of c's claim")

	require.Equal(t, claimAccepted, ask(t, n, c.ID, 11, fp, 5).status)
	gone := up("c", 2)
	gone.Up, gone.Refused = false, true
	n.see(t, b, gone)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 12, "without c", 5).status, "nor will anything")
}

// The same of a member that has agreed to a claim and would claim itself: of
// the other claimant it may know no more than the claim.
func TestWhoHasAgreedToAClaimDoesNotClaimWithoutAsking(t *testing.T) {
	t.Parallel()
	n, old := still(t, "a"), up("b", 1)
	old.Up, old.Refused = false, true
	v := n.see(t, old)
	starting := id("b", 2) // gossip has not told of it yet
	require.False(t, n.View().HasEnded(starting))
	require.True(t, n.View().HasEnded(old.ID))
	n.owner.setHolderLocked(3, claimRef{4, old.ID})
	require.True(t, n.owner.mayClaimLocked(3, v, nil))
	require.Equal(t, claimAccepted, ask(t, n, starting, 5, "other", 3).status)
	require.False(t, n.owner.mayClaimLocked(3, v, nil))
	require.True(t, n.owner.mayClaimLocked(3, v, []*link{{id: starting}}), "it is asked")
	n.pass(promiseTime)
	require.True(t, n.owner.mayClaimLocked(3, v, nil))
}

// Two views that differ must not pull a partition to and fro: who serves and
// is alive keeps it until they agree.
func TestClaimFromAnotherRingIsEarlyWhileTheServerLives(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 1)
	n.see(t, b, c)
	n.serving(t, 3, 4)
	require.Equal(t, claimAnswer{status: claimEarly, epoch: 4, claimant: n.id.String()}, ask(t, n, b.ID, 9, "another", 3))
	require.Equal(t, warm, n.owner.phaseOf(3))

	// Served by c, which this member vouches for only if it has heard of it.
	n.owner.setHolderLocked(5, claimRef{4, c.ID})
	n.members.promise(c.ID)
	require.Equal(t, claimAnswer{status: claimEarly, epoch: 4, claimant: c.String()}, ask(t, n, b.ID, 9, "another", 5, c.ID))
	n.pass(vouchFor)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 10, "another", 5).status, "c has been silent for a second")

	n.owner.setHolderLocked(6, claimRef{4, id("b", 0)})
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 10, "another", 6).status, "the claimant's own earlier boot has ended")
}

// Whoever answers a heartbeat promises not to take over for a second, nor to
// let another member do so that cannot ask the owner itself.
func TestPromiseToASilentOwnerIsKept(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 1)
	c.Up, c.Gone = false, true // gossip has given c up, here and at b
	fp := n.see(t, b, c).Table.Fingerprint()
	n.owner.setHolderLocked(5, claimRef{4, c.ID})
	_, err := n.pong(c.ID, n.ping()) // but c has this moment a lease from here
	require.NoError(t, err)

	require.Equal(t, claimAnswer{status: claimEarly, epoch: 4, claimant: c.String()}, ask(t, n, b.ID, 9, fp, 5))
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 9, fp, 5, c.ID).status, "c decides for itself where it is asked")
	n.pass(vouchFor)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 10, fp, 5).status)
}

// A member that has asked for a partition with one epoch does not agree to a
// lower one meanwhile: both would lose, and nobody would serve it.
func TestOwnClaimUnderWayRefusesOlderOnes(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	view := n.see(t, b)
	p := ownedBy(t, view, "a")
	n.owner.maxEpoch = 4
	l := n.link(b)
	n.startClaim(t, p)

	require.Equal(t, claimStale, ask(t, n, b.ID, 4, view.Table.Fingerprint(), p).status)
	got := n.owner.settle(view, 5, []int{p}, []*link{l}, [][]claimAnswer{{{status: claimAccepted, digest: n.store.Digest(p)}}}, n.sums([]int{p}, 0), false)
	require.Equal(t, []int{p}, got.parts)
}

// startClaim starts a round of claims that nobody answers.
func (n *Node) startClaim(t testing.TB, p int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.owner.startRound(ctx)
	n.group.Wait()
	require.Equal(t, claiming, n.owner.phaseOf(p))
}

func TestSettle(t *testing.T) {
	t.Parallel()
	accepted := func(digest uint64, count uint32) []claimAnswer {
		return []claimAnswer{{status: claimAccepted, digest: digest, count: count}}
	}
	for name, c := range map[string]struct {
		answers [][]claimAnswer // of b and c
		ended   bool            // c's process has
		phase   phase
		retry   bool
		synced  []string
	}{
		"all agree and have the same":        {answers: [][]claimAnswer{accepted(0, 0), accepted(0, 0)}, phase: warm, synced: []string{"b", "c"}},
		"one has more":                       {answers: [][]claimAnswer{accepted(0, 0), accepted(9, 1)}, phase: fetching, synced: []string{"b"}},
		"one has lost it":                    {answers: [][]claimAnswer{accepted(9, 0), accepted(0, 0)}, phase: warm, synced: []string{"c"}},
		"one has just handed it over":        {answers: [][]claimAnswer{accepted(0, 0), {{status: claimMoved}}}, phase: fetching},
		"one has handed it over a while ago": {answers: [][]claimAnswer{accepted(0, 0), {{status: claimAccepted, left: time.Second}}}, phase: warm, synced: []string{"b", "c"}},
		"silent and alive":                   {answers: [][]claimAnswer{accepted(0, 0), nil}, phase: away, retry: true},
		"silent and ended":                   {answers: [][]claimAnswer{accepted(0, 0), nil}, ended: true, phase: warm, synced: []string{"b"}},
		"a newer claim stands":               {answers: [][]claimAnswer{accepted(0, 0), {{status: claimStale, epoch: 70, claimant: id("b", 1).String()}}}, phase: away, retry: true},
		"too early, the server is told":      {answers: [][]claimAnswer{{{status: claimEarly, epoch: 3, claimant: id("c", 1).String()}}, accepted(0, 0)}, phase: away, retry: true},
		"refused by one that names no other": {answers: [][]claimAnswer{{{status: claimEarly}}, accepted(0, 0)}, phase: away, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, b, m := still(t, "a"), up("b", 1), up("c", 1)
			view := n.see(t, b, m)
			p := ownedBy(t, view, "a")
			links := []*link{n.link(b), n.link(m)}
			n.owner.maxEpoch = 5
			n.owner.setPhaseLocked(p, claiming)
			if c.ended {
				m.Up = false
				n.see(t, b, m)
			}
			got := n.owner.settle(view, 5, []int{p}, links, c.answers, n.sums([]int{p}, 0), false)

			require.Equal(t, c.phase, n.owner.phaseOf(p))
			require.Equal(t, c.phase != away, n.store.IsOpen(p))
			require.Equal(t, c.phase == fetching, len(got.fetch) == 1)
			require.Equal(t, c.retry, len(n.owner.later) == 1, "another round, after a pause")
			require.Empty(t, n.owner.wake, "and none at once")
			for _, id := range []string{"b", "c"} {
				require.Equal(t, slices.Contains(c.synced, id), n.keeper.isSynced(up(id, 1).String(), p), id)
			}
			switch name {
			case "a newer claim stands":
				require.EqualValues(t, 70, n.owner.maxEpoch, "the next claim made here is above it")
			case "too early, the server is told":
				require.Equal(t, claimRef{3, m.ID}, n.owner.parts[p].holder)
				require.Same(t, links[1], n.owner.route(p).to)
			}
			require.Equal(t, hashOf(n.owner), n.owner.claimsHash.Load())
		})
	}
}

// What was agreed to while the answers were on their way must not be undone.
func TestSettleLeavesWhatWasYieldedMeanwhile(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	view := n.see(t, b)
	p := ownedBy(t, view, "a")
	l := n.link(b)
	n.owner.setPhaseLocked(p, claiming)
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 6, view.Table.Fingerprint(), p).status)
	got := n.owner.settle(view, 5, []int{p}, []*link{l}, [][]claimAnswer{{{status: claimAccepted}}}, n.sums([]int{p}, 0), false)
	require.Empty(t, got.parts)
	require.Equal(t, away, n.owner.phaseOf(p))
	require.False(t, n.store.IsOpen(p))
	require.Len(t, n.owner.later, 1, "if the other does not serve it, it is asked for again")
}

// A member that has agreed to somebody's succession gives the holder no lease
// until it knows what became of it: its answer could not tell the holder that
// it has been succeeded.
func TestNoLeaseForOneWhoIsBeingSucceeded(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	b, c := up("b", 1), up("c", 1)
	view := n.see(t, b, c)
	n.link(b)
	n.link(c)
	const p = 7
	n.owner.mu.Lock()
	n.owner.setHolderLocked(p, claimRef{4, b.ID})
	n.owner.mu.Unlock()
	leased := func(who *Member) bool {
		answer, err := n.pong(who.ID, n.ping())
		require.NoError(t, err)
		beat, err := decodePing(answer)
		require.NoError(t, err)
		return beat.lease
	}
	require.Equal(t, claimAccepted, ask(t, n, c.ID, 5, view.Table.Fingerprint(), p).status)
	require.False(t, leased(b), "c may serve by now")
	require.True(t, leased(c))

	n.owner.mu.Lock()
	n.owner.setHolderLocked(p, claimRef{5, c.ID})
	n.owner.mu.Unlock()
	require.True(t, leased(b), "what c has got stands in the table that b is given")
}

// A claim that took too long is given up though everybody agreed: their
// promises may have lapsed.
func TestLateClaimIsGivenUp(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	b := up("b", 1)
	view := n.see(t, b)
	p := ownedBy(t, view, "a")
	l := n.link(b)
	n.startClaim(t, p)
	got := n.owner.settle(view, 5, []int{p}, []*link{l}, [][]claimAnswer{{{status: claimAccepted}}}, n.sums([]int{p}, 0), true)
	require.Empty(t, got.parts)
	require.Equal(t, away, n.owner.phaseOf(p))
}

// A claim for many partitions is answered for all but the one that an operation
// holds. That one is shut all the same, so the operation is the last that runs.
func TestClaimIsAnsweredAllButWhatAnOperationHolds(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	fp := n.see(t, b).Table.Fingerprint()
	parts := []int{3, 4, 5}
	for _, p := range parts {
		n.serving(t, p, 4)
	}
	release := n.hold(t, 4)
	request := claimRequest{5, fp, []ID{n.id}, parts}.encode()
	j, err := n.owner.judge(b.ID, request)
	require.NoError(t, err)
	require.False(t, j.look(busyPoll))
	answers, err := decodeClaimAnswers(j.answer(), len(parts))
	require.NoError(t, err)
	require.Equal(t, []claimStatus{claimAccepted, claimEarly, claimAccepted}, []claimStatus{answers[0].status, answers[1].status, answers[2].status})
	require.False(t, n.store.IsOpen(4))
	require.Equal(t, away, n.owner.phaseOf(4))
	require.EqualValues(t, 1, n.stats.busyClaims.Load())

	release()
	require.Equal(t, claimAccepted, ask(t, n, b.ID, 6, fp, 4).status, "asked again, it is given up")
}

// The sum in an answer is of what was there when the claim was agreed to. Where
// a later claim has been agreed to since, it may be of anything.
func TestClaimThatWasOvertakenWhileItWaitedIsStale(t *testing.T) {
	t.Parallel()
	n, b, c := still(t, "a"), up("b", 1), up("c", 1)
	fp := n.see(t, b, c).Table.Fingerprint()
	n.serving(t, 3, 4)
	j, err := n.owner.judge(b.ID, claimRequest{5, fp, []ID{n.id, c.ID}, []int{3}}.encode())
	require.NoError(t, err)
	require.True(t, j.look(0))
	require.Equal(t, claimAccepted, ask(t, n, c.ID, 6, fp, 3, b.ID).status)
	answers, err := decodeClaimAnswers(j.answer(), 1)
	require.NoError(t, err)
	require.Equal(t, claimAnswer{status: claimStale, epoch: 6, claimant: c.String()}, answers[0])
}

// A copy that is being dropped at this moment may or may not be in the sum.
func TestClaimDuringADropIsToldThatTheCopyMoved(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	view := n.see(t, b)
	p := ownedBy(t, view, "a")
	n.owner.parts[p].dropping = true
	require.Equal(t, claimMoved, ask(t, n, b.ID, 5, view.Table.Fingerprint(), p).status)
	require.False(t, n.owner.dropIf(p, n.store.Digest(p)), "nor is it dropped twice at a time")

	n.pass(promiseTime)
	n.owner.startRound(t.Context())
	require.Equal(t, away, n.owner.phaseOf(p), "nor claimed")
}

// Nobody may ever serve by a claim that was agreed to: its maker can have died,
// or never have been a member. Whoever the ring names claims it anew.
func TestWhatWasGivenUpToNobodyIsClaimedAnew(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	put(t, ada, "alice", "here")
	fp := ada.View().Table.Fingerprint()
	var parts []int
	for p := range ring.Partitions {
		parts = append(parts, p)
	}
	claims := func(from ID, epoch uint64) (accepted int) {
		for _, n := range []*Node{ada, bob} {
			j, err := n.owner.judge(from, claimRequest{epoch, fp, []ID{ada.id, bob.id}, parts}.encode())
			require.NoError(t, err)
			require.True(t, j.look(busyLimit))
			answers, err := decodeClaimAnswers(j.answer(), len(parts))
			require.NoError(t, err)
			for _, a := range answers {
				if a.status == claimAccepted || a.status == claimMoved {
					accepted++
				}
			}
		}
		return accepted
	}
	require.Positive(t, claims(ID{Name: "thief", Boot: "1"}, 5000), "this is what the peer port keeps strangers from")
	agree(t, ada, bob)
	// One that gossip may be about to tell of: until its promise has lapsed
	// nobody can know that it will never serve.
	require.Positive(t, claims(ID{Name: "bob", Boot: "ffffffffffff00000007"}, 1<<20))
	agree(t, ada, bob)
	require.Zero(t, claims(ID{Name: "thief", Boot: "1"}, 1<<63), "far above all that is known")
	agree(t, ada, bob)
	resp, v := get(t, bob, "alice")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "here", v)
}
