package dispatch

import (
	"context"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// A write that a frozen process, or a cut network, was about to forward comes
// when its client may have given it up.
func TestForwardedWritesMustArriveSoon(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := begin(t, "a", func(c *Config) { c.Clock = clock.New(func() time.Time { return now }) })
	sent := attempt.Attempt{Deadline: now.Add(serveTimeout), Sent: now, Fenced: true}
	now = now.Add(transitTime)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}))
	now = now.Add(time.Millisecond)
	require.ErrorIs(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), attempt.ErrTooLate)
	require.NoError(t, n.late(&request{work: line("GET k"), Attempt: sent}))
	sent.Fenced = false
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), "its writer has stood still with it, and waits")
	sent.Fenced, sent.Sent = true, now.Add(time.Hour)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), "a clock that is ahead")
	now = now.Add(serveTimeout)
	require.ErrorIs(t, n.late(&request{work: line("GET k"), Attempt: sent}), attempt.ErrTooLate, "its time is over")
}

// Without a lease the application is not given a request before the others were
// asked: they may have given its user to somebody else.
func TestApplicationWaitsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serving(t)
		n.link(membertest.Up("b", 1))
		key := "k"
		p := ring.Partition(key)
		n.serving(p, 1)
		here, err := n.AwaitOwner(t.Context(), key)
		require.NoError(t, err)
		require.True(t, here)

		n.cfg.Owner.OnTick(owner.GapLimit)
		require.True(t, n.stale(attempt.Attempt{Fenced: true}.Named(n.cfg.Clock.Now(), serveTimeout)))
		var answered atomic.Bool
		go func() {
			here, err := n.AwaitOwner(t.Context(), key)
			assert.NoError(t, err)
			assert.False(t, here, "b has it by now")
			answered.Store(true)
		}()
		synctest.Wait()
		require.False(t, answered.Load(), "the others are being asked")
		n.stand(p, ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)})
		time.Sleep(owner.AskTimeout)
		synctest.Wait()
		require.True(t, answered.Load())
		n.cfg.Owner.OnTick(0)
		require.False(t, n.stale(attempt.Attempt{Fenced: true}.Named(n.cfg.Clock.Now(), serveTimeout)), "that was long ago")
	})
}

// An owner that finds out while it asks that it has been succeeded runs no
// write any more that somebody may have sent elsewhere since. A read goes to
// the successor.
func TestOwnerSucceededWhileItAsks(t *testing.T) {
	for name, c := range map[string]struct {
		work work
		a    attempt.Attempt
		want error
	}{
		"write":              {opWork{putOf("k")}, attempt.Attempt{Fenced: true}, errOvertaken},
		"a program's own":    {opWork{putOf("k")}, attempt.Attempt{}, errNoOwner},
		"read":               {opWork{&session.Op{Kind: session.Get, Key: "k"}}, attempt.Attempt{Fenced: true}, errNoOwner},
		"command that reads": {line("GET k"), attempt.Attempt{Fenced: true}, errNoOwner},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := serving(t)
				n.link(membertest.Up("b", 1))
				p := ring.Partition("k")
				n.serving(p, 1)
				n.cfg.Owner.OnTick(owner.GapLimit)
				time.AfterFunc(recheck, func() { n.stand(p, ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)}) })
				_, err := n.serveLeased(t.Context(), &request{work: c.work, part: p, Attempt: c.a.Named(n.cfg.Clock.Now(), serveTimeout)})
				require.ErrorIs(t, err, c.want)
			})
		})
	}
}

// What a process reads when it goes on after it has stood still may have waited
// for it, and been done by another since. It is not passed on as if it were
// new.
func TestWritesReadAfterAStandstillAreNotPassedOn(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := begin(t, "a", func(c *Config) { c.Clock = clock.New(func() time.Time { return now }) })
	v := n.see(t, membertest.Up("b", 1))
	n.link(membertest.Up("b", 1))
	p := membertest.OwnedBy(t, v, "b")
	key := membertest.KeyIn(p)
	n.stand(p, ownership.Away, ownership.Claim{Epoch: 5, By: membertest.ID("b", 1)})
	try := func(a attempt.Attempt) error {
		_, err := n.try(t.Context(), &request{work: opWork{putOf(key)}, part: p, Attempt: a})
		return err
	}
	read := func() attempt.Attempt { return attempt.Attempt{Fenced: true}.Named(now, serveTimeout) }
	require.ErrorIs(t, try(read()), errNotSent, "it would go to b, to which there is no connection here")

	before := now
	now = now.Add(time.Second)
	n.cfg.Owner.OnTick(owner.GapLimit)
	require.ErrorIs(t, try(read()), errOvertaken)
	require.ErrorIs(t, try(attempt.Attempt{Sent: now}), errNotSent, "a program's own, which was not kept anywhere")
	_, err := n.try(t.Context(), &request{work: line("GET " + key), part: p, Attempt: read()})
	require.ErrorIs(t, err, errNotSent, "a read undoes nothing")

	now = now.Add(owner.ResumeTime)
	require.ErrorIs(t, try(read()), errNotSent, "it has come since")
	require.ErrorIs(t, try(attempt.Attempt{Sent: before, Fenced: true}), errOvertaken, "a router says when it was sent")

	n.cfg.Owner.OnTick(owner.GapLimit)
	require.ErrorIs(t, try(read()), errOvertaken)
	_, err = n.do(t.Context(), opWork{putOf(key)}, session.AckDefault, attempt.Attempt{Sent: now, Fenced: true, Repeat: true})
	require.ErrorIs(t, err, session.ErrUncertain, "an earlier attempt may have been run")
}

// A network that stood still delivers what it has held back to an owner that was
// succeeded meanwhile. The successor may have run another attempt of it, and
// more since.
func TestWhatWasSentToAnOwnerThatWasSucceededIsNotPassedOn(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	b := membertest.ID("b", 1)
	v := n.see(t, membertest.Up("b", 1))
	n.link(membertest.Up("b", 1))
	p := membertest.OwnedBy(t, v, "b")
	try := func(epoch uint64) error {
		_, err := n.try(t.Context(), &request{work: opWork{putOf(membertest.KeyIn(p))}, part: p, epoch: epoch})
		return err
	}
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 5, By: n.cfg.Self})
	n.cfg.Owner.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		claims := new(ownership.Table)
		claims[p] = ownership.Claim{Epoch: 6, By: b}
		return core.Ponged(now, now, b, "", claims, true)
	})
	require.ErrorIs(t, try(5), attempt.ErrOtherEpoch)
	require.ErrorIs(t, try(0), errNotSent, "sent by the ring: it would go to b, to which there is no connection here")
}

// An owner that stood still in the middle of a write has made it, and hears then
// that it has been succeeded. Whoever forwarded the write is told, and what the
// successor says of it is said of a repetition.
func TestWhoForwardedHearsThatAnAttemptMayHaveBeenMade(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	v := n.see(t, membertest.Up("b", 1))
	p := membertest.OwnedBy(t, v, "b")
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 5, By: n.cfg.Self})
	n.cfg.Owner.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		claims := new(ownership.Table)
		claims[p] = ownership.Claim{Epoch: 6, By: membertest.ID("b", 1)}
		return core.Ponged(now, now, membertest.ID("b", 1), "", claims, true)
	})
	for _, made := range []bool{true, false} {
		rep, err := n.dispatch(t.Context(), &request{
			work: opWork{putOf(membertest.KeyIn(p))}, part: p, epoch: 5, hops: 1, Attempt: attempt.Attempt{Repeat: made},
		})
		require.ErrorIs(t, err, attempt.ErrOtherEpoch)
		rep, err = decodeReply(encodeReply(rep, err))
		require.ErrorIs(t, err, attempt.ErrOtherEpoch)
		r := new(request)
		r.note(rep, err)
		require.Equal(t, made, r.Repeat)
	}
	for err, made := range map[error]bool{errMade: true, errUnanswered: true, errNoOwner: false, errNotSent: false} {
		r := new(request)
		r.note(reply{}, err)
		require.Equal(t, made, r.Repeat, err)
		r.note(reply{}, errNoOwner)
		require.Equal(t, made, r.Repeat, "it stays so")
	}
}

// The owner holds a forwarded write against its age before it runs it.
func TestOwnerRefusesAForwardedWriteThatTookLong(t *testing.T) {
	t.Parallel()
	b := begin(t, "b")
	b.serving(ring.Partition("k"), 1)
	b.leaseUntil(math.MaxInt64)
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = peer.Accept(ctx, far, peer.Config{Self: func() peer.Identity { return peer.Identity{Name: "b"} }}, b)
	})
	l, err := peer.Connect(ctx, near, peer.Config{Self: func() peer.Identity { return peer.Identity{Name: "a"} }})
	require.NoError(t, err)
	defer serving.Wait()
	defer cancel()
	defer l.Close()
	send := func(age time.Duration) error {
		now := time.Now()
		r := &request{work: opWork{putOf("k")}, Attempt: attempt.Attempt{Fenced: true}.Named(now, serveTimeout)}
		answer, err := l.Call(t.Context(), mesh.TypeRequest, encodeRequest(r, now.Add(-age), 0, 0))
		require.NoError(t, err)
		_, err = decodeReply(answer)
		return err
	}
	require.ErrorContains(t, send(2*transitTime), "to arrive")
	require.Nil(t, b.cfg.Store.Peek("k"))
	require.NoError(t, send(0))
	require.NotNil(t, b.cfg.Store.Peek("k"))
}
