package drain

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

var errStopped = errors.New("the node has stopped")

// fake is a node that serves a partition and holds one record in another.
type fake struct {
	*Drainer
	state  member.State
	counts atomic.Bool // others wait for the node's vote
	kept   [ring.Partitions]atomic.Bool
	silent []string // who has not confirmed what is held
	core   *ownership.Core
	cancel context.CancelFunc
}

const served, held = 5, 7

func begin(t *testing.T, others ...*member.Member) *fake {
	t.Helper()
	self := membertest.ID("a", 1)
	leaving := membertest.Up("a", 1)
	leaving.State = member.StateLeaving
	view, err := member.NewView(self, append([]*member.Member{leaving}, others...), ring.Params{VirtualNodes: 10, Load: 1.25, Copies: 2}, nil)
	require.NoError(t, err)
	store, err := session.NewStore(session.Config{Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return key, false }})
	require.NoError(t, err)
	store.Open(held)
	_, err = store.Do(&session.Op{Kind: session.Put, Key: membertest.KeyIn(held), Fields: []session.Field{{Name: "f", Value: "1"}}})
	require.NoError(t, err)
	f := &fake{state: member.StateReady, core: ownership.New(ownership.Config{Self: self}, view)}
	f.core.Set(served, ownership.Warm, ownership.Claim{Epoch: 1, By: self}, false)
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f.Drainer = New(Config{
		Self: self, Context: ctx, Stopped: errStopped, State: func() member.State { return f.state },
		Leave: func() error { f.state = member.StateLeaving; return nil },
		View:  func() *member.View { return view }, Store: store, Gate: f.core.Gate(), Recheck: func() {}, Kept: func(p int) bool { return f.kept[p].Load() }, Unconfirmed: func() []string { return f.silent }, MayLeave: func() bool { return !f.counts.Load() },
		Timeout: 3 * time.Second, Log: log, Events: events.New(time.Now), Go: func(g func()) { go g() },
	})
	return f
}

// handOver makes all that the node serves and holds another one's.
func (f *fake) handOver() {
	f.core.Set(served, ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)}, false)
	f.cfg.Store.Drop(held)
}

func TestRunWaitsUntilNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		time.AfterFunc(time.Second, f.handOver)
		start := time.Now()
		var seen []Status
		require.NoError(t, f.Run(t.Context(), func(s Status) { seen = append(seen, s) }))
		require.Equal(t, member.StateLeaving, f.state)
		require.Equal(t, Status{Partitions: 2, Unsynced: 1}, seen[0], "before it is announced")
		require.Equal(t, Status{}, seen[len(seen)-1])
		require.InDelta(t, time.Second+lingering, time.Since(start), float64(2*poll), "routers have time to hear of it")
		require.True(t, f.Drained())

		before := len(seen)
		require.NoError(t, f.Run(t.Context(), func(s Status) { seen = append(seen, s) }))
		require.Equal(t, []Status{{}}, seen[before:], "there is nothing left to do")
	})
}

// A node whose vote the others wait for stays until they do not.
func TestRunWaitsUntilTheNodeDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		f.handOver()
		f.counts.Store(true)
		time.AfterFunc(2*time.Second, func() { f.counts.Store(false) })
		start := time.Now()
		require.NoError(t, f.Run(t.Context(), func(Status) {}))
		require.InDelta(t, 2*time.Second, time.Since(start), float64(2*poll))

		f.counts.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, f.Run(ctx, func(Status) {}), "what it held is safe")
	})
}

// Where those who have confirmed are too few, the node that could be one more is
// waited for, as long as it may come back.
func TestRunWaitsForWhoIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, back := range []time.Duration{2 * time.Second, time.Hour} {
			f := begin(t, membertest.Up("b", 1))
			f.cfg.Timeout = time.Hour
			f.core.Set(served, ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)}, false)
			f.kept[held].Store(true)
			timer := time.AfterFunc(back, f.handOver)
			start := time.Now()
			seen := Status{}
			require.NoError(t, f.Run(t.Context(), func(s Status) { seen.Kept = max(seen.Kept, s.Kept); seen.Partitions = s.Partitions }))
			require.Equal(t, Status{Kept: 1}, seen, "it counts as handed over")
			require.InDelta(t, min(back, missingPatience)+lingering, time.Since(start), float64(2*poll))
			require.True(t, f.Drained())
			timer.Stop()
		}
	})
}

// A copy that arrives while the node lingers is handed over as well.
func TestRunSeesWhatArrivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		f.handOver()
		time.AfterFunc(lingering/2, func() {
			f.core.Set(served, ownership.Fetching, ownership.Claim{Epoch: 3, By: membertest.ID("a", 1)}, false)
		})
		time.AfterFunc(time.Second, f.handOver)
		start := time.Now()
		require.NoError(t, f.Run(t.Context(), func(Status) {}))
		require.GreaterOrEqual(t, time.Since(start), time.Second+lingering)
	})
}

func TestRunEnds(t *testing.T) {
	ignore := func(Status) {}
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := f.Run(ctx, ignore)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "drain: unsynced=1: context deadline exceeded")
		require.False(t, f.Drained())

		time.AfterFunc(time.Second, f.cancel)
		require.Equal(t, errStopped, f.Run(t.Context(), ignore), "the node has ended meanwhile")
		require.Equal(t, errStopped, f.Run(t.Context(), ignore), "and before")
	})
	synctest.Test(t, func(t *testing.T) {
		f := begin(t)
		start := time.Now()
		err := f.Run(t.Context(), ignore)
		require.EqualError(t, err, "drain: no other node is there to take 1 records: unsynced=1")
		require.InDelta(t, alonePatience, time.Since(start), float64(2*poll))
		f.cfg.Store.Drop(held)
		require.NoError(t, f.Run(t.Context(), ignore), "there is nothing to take")
		require.False(t, f.Drained(), "it still serves")
	})
	synctest.Test(t, func(t *testing.T) { // who is cut off may come back, and take what is held
		cut := membertest.Up("b", 1)
		cut.Up, cut.Gone = false, true
		f := begin(t, cut)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.ErrorIs(t, f.Run(ctx, ignore), context.DeadlineExceeded)
		cut.Ended = true
		require.ErrorIs(t, f.Run(t.Context(), ignore), ErrNobodyThere)
	})
	synctest.Test(t, func(t *testing.T) { // who joins takes it in a moment
		joining := membertest.Up("b", 1)
		joining.State = member.StateJoining
		f := begin(t, joining)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.ErrorIs(t, f.Run(ctx, ignore), context.DeadlineExceeded)
	})
	synctest.Test(t, func(t *testing.T) { // who stands still may come back, and waits for this one's vote then
		f := begin(t)
		f.counts.Store(true)
		after := func() { time.AfterFunc(3*time.Second, func() { f.counts.Store(false) }) }
		start := time.Now()
		after()
		require.ErrorIs(t, f.Run(t.Context(), ignore), ErrNobodyThere)
		require.InDelta(t, 3*time.Second, time.Since(start), float64(2*poll))
		f.cfg.Store.Drop(held)
		f.counts.Store(true)
		after()
		require.NoError(t, f.Run(t.Context(), ignore))
		require.InDelta(t, 6*time.Second, time.Since(start), float64(4*poll))
	})
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		f.cfg.Leave = func() error { return errors.New("no gossip") }
		require.EqualError(t, f.Run(t.Context(), ignore), "drain: no gossip")
	})
}

func TestRunsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- f.Run(t.Context(), func(Status) {}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.Run(ctx, func(Status) { t.Error("two run") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "drain: another one is under way: unsynced=1: context deadline exceeded")

		go func() { second <- f.Run(t.Context(), func(Status) {}) }()
		synctest.Wait()
		f.handOver()
		require.NoError(t, <-first)
		require.NoError(t, <-second)
	})
}

// An operator is told what has become of the node, and may leave.
func TestStartAdvises(t *testing.T) {
	for _, c := range []struct {
		others []*member.Member
		end    bool
		want   string
	}{
		{nil, false, "drain: no other node is there to take 1 records: unsynced=1; the node stays, out of the ring: start another and drain again, or SIGTERM ends it without them"},
		{[]*member.Member{membertest.Up("b", 1)}, false, "drain: unsynced=1: context deadline exceeded; the node stays, out of the ring: drain again, or SIGTERM ends it"},
		{[]*member.Member{membertest.Up("b", 1)}, true, errStopped.Error()},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := begin(t, c.others...)
			if c.end {
				time.AfterFunc(100*time.Millisecond, f.cancel)
			}
			var last Status
			ended := f.Start(func(s Status) { last = s })
			require.EqualError(t, <-ended, c.want)
			require.Equal(t, Status{Partitions: 2, Unsynced: 1}, last)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1))
		time.AfterFunc(time.Second, f.handOver)
		require.NoError(t, <-f.Start(func(Status) {}))
	})
}

// A drain that does not end in time says whom it waited for.
func TestRunNamesWhoDoesNotConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, membertest.Up("b", 1), membertest.Up("c", 1))
		f.silent = []string{"b", "c"}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := f.Run(ctx, func(Status) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "drain: unsynced=1, not confirmed by b, c: ")
	})
}
