package node

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// ask makes from's claim of partitions, which waits for the consent of all that
// n sees.
func ask(t testing.TB, n *Node, from ID, epoch uint64, parts ...int) []ownership.Answer {
	t.Helper()
	request := ownership.Request{Epoch: epoch, Ring: n.View().Table.Fingerprint(), Parts: parts}
	for _, m := range n.View().Nodes() {
		request.Asked = append(request.Asked, m.ID)
	}
	j, err := n.owner.judge(from, request.Encode())
	require.NoError(t, err)
	j.sum(busyPoll)
	answers, err := ownership.DecodeAnswers(j.answer(), len(parts))
	require.NoError(t, err)
	return answers
}

// Close, then digest, then answer: what the claimant is told covers all that was
// answered here, for nothing is applied any more.
func TestServerOfAPartitionYieldsToAClaim(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	n.see(t, b)
	n.link(b)
	key := "k"
	p := ring.Partition(key)
	n.serving(t, p, 4)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)

	a := ask(t, n, b.ID, 5, p)[0]
	require.Equal(t, ownership.Answer{Status: ownership.Accepted, Digest: n.store.Digest(p), Count: 1, Left: ownership.NeverLeft}, a)
	_, err = n.store.Do(&session.Op{Kind: session.Get, Key: key})
	require.ErrorIs(t, err, session.ErrNotServed)
	require.Equal(t, ownership.Decision{Verdict: ownership.Forward, Owner: b.ID, Epoch: 5}, n.owner.decide(p), "requests go to the claimant")

	require.False(t, n.owner.dropIf(p, n.store.Digest(p)+1), "something has arrived meanwhile")
	require.True(t, n.owner.dropIf(p, n.store.Digest(p)))
	require.Equal(t, ownership.Moved, ask(t, n, b.ID, 6, p)[0].Status, "a copy that has just been handed over")
}

// A claim for many partitions is answered for all but the one that an operation
// holds. That one is shut all the same, so the operation is the last that runs.
func TestClaimIsAnsweredAllButWhatAnOperationHolds(t *testing.T) {
	t.Parallel()
	n, b := still(t, "a"), up("b", 1)
	n.see(t, b)
	parts := []int{3, 4, 5}
	for _, p := range parts {
		n.serving(t, p, 4)
	}
	release := n.hold(t, 4)
	answers := ask(t, n, b.ID, 5, parts...)
	require.Equal(t, []ownership.Status{ownership.Accepted, ownership.Early, ownership.Accepted}, []ownership.Status{answers[0].Status, answers[1].Status, answers[2].Status})
	require.False(t, n.store.IsOpen(4))
	require.EqualValues(t, 1, n.stats.busyClaims.Load())

	release()
	require.Equal(t, ownership.Accepted, ask(t, n, b.ID, 6, 4)[0].Status, "asked again, it is given up")
}

// What the core opens is served, and the repairer knows whose copies are equal.
func TestClaimThatIsSettledIsServed(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	n.see(t)
	require.False(t, n.owner.startRound(t.Context()))
	n.group.Wait()
	for p := range ring.Partitions {
		require.True(t, n.owner.decide(p).Verified(), "partition %d", p)
		require.True(t, n.store.IsOpen(p))
	}
	require.True(t, n.owner.startRound(t.Context()), "there is nothing left to claim")
}

// An owner that reaches nobody serves and says so, or refuses, as its partition
// mode wants.
func TestAskRefusesOrServesDegraded(t *testing.T) {
	t.Parallel()
	for _, mode := range []PartitionMode{PartitionAvailable, PartitionMajority} {
		n := still(t, "a", func(c *Config) { c.PartitionMode = mode })
		n.see(t, up("b", 1), up("c", 1))
		degraded, err := n.owner.ask(t.Context())
		require.EqualValues(t, 1, n.stats.unleased.Load())
		if mode == PartitionAvailable {
			require.NoError(t, err)
			require.True(t, degraded)
			continue
		}
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorIs(t, err, errNoMajority)
		require.False(t, degraded)
	}
}

// A heartbeat gives a lease, but to a member that is being succeeded; and it
// brings the claims in force to a member that knows others.
func TestHeartbeatGivesALeaseUnlessASuccessionIsUnderWay(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	b, c := up("b", 1), up("c", 1)
	n.see(t, b, c)
	n.stand(7, ownership.Away, ownership.Claim{Epoch: 4, By: b.ID})
	section := n.owner.section(n.mesh)
	answered := func(who *Member) (lease bool, claims []byte) {
		answer, err := section.Asked(who.ID, section.Ask(who.ID))
		require.NoError(t, err)
		return answer[0] == beatLease, answer[1:]
	}
	lease, claims := answered(b)
	require.True(t, lease)
	require.Empty(t, claims, "it knows the same")
	require.Equal(t, ownership.Accepted, ask(t, n, c.ID, 5, 7)[0].Status)
	lease, _ = answered(b)
	require.False(t, lease, "c may serve by now")
	lease, _ = answered(c)
	require.True(t, lease)

	n.stand(7, ownership.Away, ownership.Claim{Epoch: 5, By: c.ID})
	lease, _ = answered(b)
	require.True(t, lease, "what c has got stands in the table that b is given")

	// b, which knows of no claim, hears of all of them, and has a lease.
	other := still(t, "b")
	other.see(t, up("a", 1))
	other.link(up("a", 1))
	other.pass(time.Minute)
	theirs := other.owner.section(other.mesh)
	answer, err := section.Asked(b.ID, theirs.Ask(n.id))
	require.NoError(t, err)
	require.False(t, other.owner.leased())
	require.NoError(t, theirs.Answered(n.id, other.since(), answer))
	require.True(t, other.owner.leased())
	require.Equal(t, ownership.Claim{Epoch: 5, By: c.ID}, other.owner.core.Claims()[7])
	require.Error(t, theirs.Answered(n.id, other.since(), []byte{1, 2, 3}), "half a table")
	_, err = section.Asked(b.ID, nil)
	require.ErrorContains(t, err, "0 bytes of claims, 8 are accepted")
}

// Where copies are out of reach a new session takes an id of another partition.
func TestNewIDsAvoidWhatIsOutOfReach(t *testing.T) {
	t.Parallel()
	n := alone(t)
	for p := range ring.Partitions {
		n.owner.look(func(core *ownership.Core, _ time.Duration) {
			core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.id}, p%2 == 0)
		})
	}
	for range 50 {
		require.Equal(t, 1, ring.Partition(public.NewID(n.owner.decide))%2)
	}
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
			j, err := n.owner.judge(from, ownership.Request{Epoch: epoch, Ring: fp, Asked: []ID{ada.id, bob.id}, Parts: parts}.Encode())
			require.NoError(t, err)
			require.True(t, j.sum(busyLimit))
			answers, err := ownership.DecodeAnswers(j.answer(), len(parts))
			require.NoError(t, err)
			for _, a := range answers {
				if a.Status == ownership.Accepted || a.Status == ownership.Moved {
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
