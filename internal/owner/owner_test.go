package owner

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// still is an owner that is told of the others what the test says. Its copies
// are looked at by nobody.
type still struct {
	*Owner
	members *meshtest.Members
	store   *session.Store
	group   sync.WaitGroup
	id      member.ID

	equal map[int][]string // what Claimed was told
}

func (s *still) Claimed(p int, equal []string)          { s.equal[p] = equal }
func (s *still) Fetch(context.Context, uint64, []int)   {}
func (s *still) see(t *testing.T, ms ...*member.Member) { s.SetView(s.members.See(t, ms...)) }
func (s *still) pass(d time.Duration)                   { s.cfg.Clock = s.cfg.Clock.Older(d) }
func (s *still) link(m *member.Member) *mesh.Link       { return s.mesh.AddIdle(m.ID, m.Peer) }
func (s *still) section() mesh.Section                  { return s.Section(s.mesh) }
func (s *still) stand(p int, ph ownership.Phase, epoch uint64, by member.ID) {
	s.Look(func(core *ownership.Core, _ time.Duration) {
		core.Set(p, ph, ownership.Claim{Epoch: epoch, By: by}, false)
	})
}

// copies keeps Recheck of owner.Copies apart from that of the Owner.
type copies struct{ *still }

func (copies) Recheck() {}

func begin(t *testing.T, name string, change ...func(*Config)) *still {
	t.Helper()
	s := &still{members: meshtest.NewMembers(t, membertest.ID(name, 1), meshtest.Params), id: membertest.ID(name, 1), equal: make(map[int][]string)}
	var err error
	s.store, err = session.NewStore(session.Config{Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return key, false }})
	require.NoError(t, err)
	cfg := Config{
		Isolated: func() bool { return false }, Missing: func() (none []ownership.Missing) { return none },
		Self: s.id, Params: meshtest.Params, Store: s.store, Copies: copies{s}, Clock: clock.New(time.Now), Log: slog.New(slog.DiscardHandler),
		Events: events.New(time.Now), Pulse: new(wait.Pulse), Go: func(f func()) { s.group.Go(f) }, Counters: new(metric.Set),
	}
	for _, f := range change {
		f(&cfg)
	}
	s.Owner, err = New(cfg)
	require.NoError(t, err)
	meshtest.Idle(t, s.members, cfg.Clock, func(m *mesh.Mesh) []mesh.Section { return []mesh.Section{s.Section(m)} })
	s.see(t)
	t.Cleanup(s.group.Wait)
	return s
}

// serving makes n serve p under the given epoch.
func (s *still) serving(p int, epoch uint64) {
	s.stand(p, ownership.Warm, epoch, s.id)
	s.store.Open(p)
}

// hold keeps partition p busy, as a slow operation does, until release
// is called.
func (s *still) hold(t *testing.T, p int) (release func()) {
	t.Helper()
	held, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.store.Hold(p, func() { // its error is that p is not open, and then held says so
			close(held)
			<-end
		})
	}()
	select {
	case <-held:
	case <-ended:
		t.Fatalf("partition %d is not open", p)
	}
	return func() {
		close(end)
		<-ended
	}
}

func putOf(key string) *session.Op {
	return &session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}}
}

// A read is answered by what is here while this node serves the partition,
// whole, and has its lease.
func TestVerified(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	n.see(t)
	const p = 3
	set := func(ph ownership.Phase, unverified bool, lease time.Duration) bool {
		n.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo {
			core.Set(p, ph, ownership.Claim{Epoch: 4, By: n.cfg.Self}, unverified)
			core.SetLease(lease)
			return ownership.Todo{}
		})
		return n.Verified(p)
	}
	require.True(t, set(ownership.Warm, false, math.MaxInt64))
	require.False(t, set(ownership.Warm, false, 0), "the lease is over")
	require.False(t, set(ownership.Warm, true, math.MaxInt64), "copies are out of reach")
	require.False(t, set(ownership.Fetching, false, math.MaxInt64))
	require.False(t, set(ownership.Away, false, math.MaxInt64))
}

// ask makes from's claim of partitions, which waits for the consent of all that
// n sees.
func ask(t testing.TB, n *still, from member.ID, epoch uint64, parts ...int) []ownership.Answer {
	t.Helper()
	request := ownership.Request{Epoch: epoch, Ring: n.members.View().Table.Fingerprint(), Parts: parts}
	for _, m := range n.members.View().Nodes() {
		request.Asked = append(request.Asked, m.ID)
	}
	j, err := n.Judge(from, request.Encode())
	require.NoError(t, err)
	j.Sum(busyPoll)
	answers, err := ownership.DecodeAnswers(j.Answer(), len(parts))
	require.NoError(t, err)
	return answers
}

// A claimant of an older version is not told with words that it cannot read
// whether the owner had all.
func TestOlderClaimantIsToldInItsWords(t *testing.T) {
	t.Parallel()
	for older, want := range map[int]ownership.Status{0: ownership.Whole, member.WireWords - 1: ownership.Accepted} {
		n, b := begin(t, "a"), membertest.Up("b", 1)
		b.Older = older
		n.see(t, b)
		n.link(b)
		n.serving(3, 4)
		require.Equal(t, want, ask(t, n, b.ID, 5, 3)[0].Status)
	}
}

// Close, then digest, then answer: what the claimant is told covers all that
// was answered here, for nothing is applied any more.
func TestServerOfAPartitionYieldsToAClaim(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a"), membertest.Up("b", 1)
	n.see(t, b)
	n.link(b)
	key := "k"
	p := ring.Partition(key)
	n.serving(p, 4)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)

	a := ask(t, n, b.ID, 5, p)[0]
	require.Equal(t, ownership.Answer{Status: ownership.Whole, Digest: n.store.Digest(p), Count: 1, Left: ownership.NeverLeft}, a)
	_, err = n.store.Do(&session.Op{Kind: session.Get, Key: key})
	require.ErrorIs(t, err, session.ErrNotServed)
	require.Equal(t, ownership.Decision{Verdict: ownership.Forward, Owner: b.ID, Epoch: 5}, n.Decide(p), "requests go to the claimant")

	require.False(t, n.DropIf(p, n.store.Digest(p)), "nothing may come of the claim")
	n.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo {
		core.Set(p, ownership.Away, ownership.Claim{Epoch: 5, By: b.ID}, false)
		return ownership.Todo{}
	})
	require.False(t, n.DropIf(p, n.store.Digest(p)+1), "something has arrived meanwhile")
	require.True(t, n.DropIf(p, n.store.Digest(p)))
	require.Equal(t, ownership.Moved, ask(t, n, b.ID, 6, p)[0].Status, "a copy that has just been handed over")
}

// A claim for many partitions is answered for all but the one that an operation
// holds. That one is shut all the same, so the operation is the last that runs.
func TestClaimIsAnsweredAllButWhatAnOperationHolds(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a"), membertest.Up("b", 1)
	n.see(t, b)
	parts := []int{3, 4, 5}
	for _, p := range parts {
		n.serving(p, 4)
	}
	release := n.hold(t, 4)
	answers := ask(t, n, b.ID, 5, parts...)
	require.Equal(t, []ownership.Status{ownership.Whole, ownership.Early, ownership.Whole}, []ownership.Status{answers[0].Status, answers[1].Status, answers[2].Status})
	require.False(t, n.store.IsOpen(4))
	require.EqualValues(t, 1, n.busyClaims.Load())

	release()
	require.Equal(t, ownership.Whole, ask(t, n, b.ID, 6, 4)[0].Status, "asked again, it is given up")
}

// What the core opens is served, and the repairer knows whose copies are equal.
func TestClaimThatIsSettledIsServed(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	n.see(t)
	complete, claimed := n.startRound(t.Context())
	require.True(t, !complete && claimed)
	n.group.Wait()
	for p := range ring.Partitions {
		require.True(t, n.Decide(p).Verified(), "partition %d", p)
		require.True(t, n.store.IsOpen(p))
	}
	complete, claimed = n.startRound(t.Context())
	require.True(t, complete && !claimed, "there is nothing left to claim")
}

// A claim that is refused at once, and whose refusal wakes the claimant at once,
// is repeated after a moment, and each time after a longer one up to some
// milliseconds.
func TestRefusedClaimsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n *still
		var claims []time.Duration
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		n = begin(t, "a", func(cfg *Config) {
			cfg.Go = func(func()) { // nobody is asked
				if claims = append(claims, time.Since(began)); len(claims) > 5000 {
					cancel()
				}
				n.Look(func(core *ownership.Core, _ time.Duration) {
					for p := range ring.Partitions {
						core.Set(p, ownership.Away, ownership.Claim{}, false)
					}
				})
				n.Recheck()
			}
		})
		n.see(t)
		n.Run(ctx)
		require.Greater(t, len(claims), 100, "it goes on")
		require.Less(t, len(claims), 300)
		require.Zero(t, claims[0], "the first one waits for nothing")
		require.Less(t, claims[2], 10*time.Millisecond, "nor does the next one for long")
	})
}

// What is served unverified is claimed anew when nobody is missing any more, as
// the census says, and not before.
func TestUnverifiedIsClaimedAnewWhenNobodyIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const p = 3
		var missing atomic.Pointer[[]ownership.Missing]
		missing.Store(&[]ownership.Missing{{ID: membertest.ID("b", 1)}})
		n := begin(t, "a", func(cfg *Config) { cfg.Missing = func() []ownership.Missing { return *missing.Load() } })
		ctx, cancel := context.WithCancel(t.Context())
		n.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo {
			core.Set(p, ownership.Warm, ownership.Claim{Epoch: 4, By: n.id}, true)
			core.SetLease(math.MaxInt64)
			return ownership.Todo{}
		})
		n.group.Go(func() { n.Watch(ctx) })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, ownership.Serve, n.Decide(p).Verdict, "one is missing, and cannot be asked")

		missing.Store(new([]ownership.Missing))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		require.NotEqual(t, ownership.Serve, n.Decide(p).Verdict)
		n.Look(func(core *ownership.Core, _ time.Duration) { require.True(t, core.IsMissing(), "it is claimed anew") })
		cancel()
		n.group.Wait()
	})
}

// An owner that reaches nobody serves and says so, or refuses, as its partition
// mode wants.
func TestAskRefusesOrServesDegraded(t *testing.T) {
	t.Parallel()
	for _, mode := range []ownership.Mode{ownership.Available, ownership.Majority} {
		n := begin(t, "a", func(c *Config) { c.Mode = mode })
		n.see(t, membertest.Up("b", 1), membertest.Up("c", 1))
		degraded, err := n.Ask(t.Context())
		require.EqualValues(t, 1, n.unleased.Load())
		if mode == ownership.Available {
			require.NoError(t, err)
			require.True(t, degraded)
			continue
		}
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorIs(t, err, ErrNoMajority)
		require.True(t, n.NoMajority())
		require.False(t, degraded)
	}
}

// Of what may be elsewhere heartbeats tell the others.
func TestHeartbeatTellsOfDoubts(t *testing.T) {
	t.Parallel()
	a, b := begin(t, "a"), begin(t, "b")
	section := a.DoubtSection()
	require.Nil(t, section.Ask())
	a.Look(func(core *ownership.Core, _ time.Duration) {
		core.Set(3, ownership.Warm, ownership.Claim{Epoch: 4, By: a.id}, true)
	})
	require.Equal(t, byte(1<<3), section.Ask()[0])
	_, err := b.DoubtSection().Asked(a.id, section.Ask())
	require.NoError(t, err)
	require.Error(t, b.DoubtSection().Answered(a.id, 0, []byte{1}))
}

// A heartbeat gives a lease, but to a member that is being succeeded or knows
// other claims; to that one it brings those in force.
func TestHeartbeatGivesALeaseUnlessASuccessionIsUnderWay(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	b, c := membertest.Up("b", 1), membertest.Up("c", 1)
	n.see(t, b, c)
	n.stand(7, ownership.Away, 4, b.ID)
	section := n.section()
	answered := func(who *member.Member) (leased bool, claims []byte) {
		answer, err := section.Asked(who.ID, section.Ask())
		require.NoError(t, err)
		return answer[0] == lease, answer[1:]
	}
	leased, claims := answered(b)
	require.True(t, leased)
	require.Empty(t, claims, "it knows the same")
	require.Equal(t, ownership.Accepted, ask(t, n, c.ID, 5, 7)[0].Status)
	leased, _ = answered(b)
	require.False(t, leased, "c may serve by now")
	leased, _ = answered(c)
	require.True(t, leased)

	n.stand(7, ownership.Away, 5, c.ID)
	leased, _ = answered(b)
	require.True(t, leased, "what c has got stands in the table that b is given")

	// b, which knows of no claim, hears of all of them, and has a lease when it
	// asks again.
	other := begin(t, "b")
	other.see(t, membertest.Up("a", 1))
	other.link(membertest.Up("a", 1))
	other.pass(time.Minute)
	theirs := other.section()
	for _, leased := range []bool{false, true} {
		require.False(t, other.Leased())
		answer, err := section.Asked(b.ID, theirs.Ask())
		require.NoError(t, err)
		require.NoError(t, theirs.Answered(n.id, other.cfg.Clock.Since(), answer))
		require.Equal(t, leased, other.Leased())
	}
	require.Equal(t, ownership.Claim{Epoch: 5, By: c.ID}, other.core.Claims()[7])
	require.Error(t, theirs.Answered(n.id, other.cfg.Clock.Since(), []byte{1, 2, 3}), "half a table")
	_, err := section.Asked(b.ID, nil)
	require.ErrorContains(t, err, "0 bytes of claims, 8 are accepted")
}

// What a process reads in its first moments after it stood still may have
// waited for it, whether the watch has noticed the gap or has not run yet.
func TestStoodStill(t *testing.T) {
	t.Parallel()
	wall := time.UnixMilli(1e12)
	n := begin(t, "a", func(c *Config) { c.Clock = clock.New(func() time.Time { return wall }) })
	require.False(t, n.StoodStill(wall), "the watch has never run")
	n.OnTick(gapTick)
	require.False(t, n.StoodStill(wall))
	n.OnTick(GapLimit)
	require.True(t, n.StoodStill(wall))
	require.EqualValues(t, 1, n.gaps.Load())
	wall = wall.Add(ResumeTime)
	require.False(t, n.StoodStill(wall), "it was sent since")
	n.pass(GapLimit + time.Second)
	require.True(t, n.StoodStill(wall), "nobody has noticed yet")
}

// A node that was out of touch tells who it has heard from that others serve.
func TestWhoToldOfASuccessionIsSaid(t *testing.T) {
	t.Parallel()
	n, other := begin(t, "a"), begin(t, "b")
	a, b := membertest.Up("a", 1), membertest.Up("b", 1)
	n.see(t, b)
	n.link(b)
	n.serving(7, 1)
	other.see(t, a)
	other.stand(7, ownership.Away, 2, membertest.ID("c", 1))
	theirs, ours := other.section(), n.section()
	answer, err := theirs.Asked(n.id, ours.Ask())
	require.NoError(t, err)
	require.NoError(t, ours.Answered(b.ID, n.cfg.Clock.Since(), answer))
	require.NotEqual(t, ownership.Serve, n.Decide(7).Verdict)
	said := n.cfg.Events.Since(0)
	require.Len(t, said, 1)
	require.Equal(t, "succeeded", said[0].Kind)
	require.Equal(t, map[string]any{"partitions": 1, "told_by": "b"}, said[0].Data)
}

// Those count that the newest roster names, present or not: a process that has
// ended counts no more, and neither does the boot that took its place, until a
// roster names it.
func TestElectorsAreThoseWhoCount(t *testing.T) {
	t.Parallel()
	frozen, ended := membertest.Up("c", 1), membertest.Up("d", 1)
	frozen.Up, ended.Up, ended.Ended = false, false, true
	roster := func(version uint64, names ...string) (r ownership.Roster) {
		r.Version = version
		for _, name := range names {
			r.Electors = append(r.Electors, membertest.ID(name, 1))
		}
		return r
	}
	for mode, want := range map[ownership.Mode][]string{ownership.Majority: {"a", "b", "c"}, ownership.Available: nil} {
		n := begin(t, "a", func(c *Config) { c.Mode = mode })
		n.see(t, membertest.Up("b", 1), frozen, ended, membertest.Up("d", 2), membertest.Up("e", 1))
		require.Empty(t, n.Electors(), "no roster is known yet")
		n.setRoster(membertest.ID("b", 1), 2, ownership.Rosters{Now: roster(2, "a", "b", "c", "d"), Before: roster(1, "a", "e")})
		require.Equal(t, want, n.Electors())
	}
}
