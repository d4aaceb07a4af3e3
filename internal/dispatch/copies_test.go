package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Of the tombstones of before those are copied again of which it is not certain
// that each holder has them.
func TestTombstonesThatMayBeBehind(t *testing.T) {
	t.Parallel()
	n := serving(t)
	p, b := ring.Partition("{u}"), membertest.ID("b", 1).String()
	all := []string{"{u}1", "{u}2", "{u}3"}
	behind := func() []string {
		again, lacking := n.behind(p, slices.Clone(all))
		require.False(t, lacking)
		return again
	}
	n.deleting[p].Store(1) // this one
	require.Equal(t, all, behind(), "nobody knows what b has")
	n.cfg.Repairer.SetSynced(b, p)
	require.Equal(t, all, behind(), "nothing is sent to b")
	n.cfg.Replicator.Attach(t.Context(), b, mute{})
	require.Empty(t, behind())

	n.cfg.Replicator.Mark([]string{b}, "{u}2")
	require.Equal(t, []string{"{u}2"}, behind())
	n.deleting[p].Add(1)
	require.Equal(t, all, behind(), "another delete may not have marked what it has ended")
	n.deleting[p].Add(-1)
	n.cfg.Repairer.Refused(b, "{u}3")
	require.Equal(t, all, behind(), "b has refused one")

	again, lacking := n.behind(p, make([]string, maxAgain+1))
	require.Empty(t, again)
	require.True(t, lacking, "too many to be copied again, and so not confirmed")
}

// What is not waited for any more is copied all the same.
func TestCopiesThatAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	n := serving(t)
	n.leaseUntil(math.MaxInt64)
	b := membertest.ID("b", 1).String()
	n.cfg.Replicator.Attach(t.Context(), b, mute{})
	var keys []string
	for i := range 3*waitBatch + 1 {
		keys = append(keys, fmt.Sprint("{u}", i))
		_, err := n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: keys[i]}) // of what is not there nothing is copied
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Zero(t, n.waitAll(ctx, []string{b}, keys, 1))
	dirty, _ := n.cfg.Replicator.Lag()
	require.Equal(t, len(keys), dirty)
}

// What is known to be lacking is not made good by what has been copied.
func TestDeleteStaysUnconfirmed(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	for _, unconfirmed := range []bool{false, true} {
		r := reply{changed: []string{"k"}}
		r.Unconfirmed = unconfirmed
		n.copyDeletes(t.Context(), ring.Partition("k"), &r)
		require.Equal(t, unconfirmed, r.Unconfirmed)
	}
}

// A copy that a new ring wants counts in mode Majority once a majority has given a
// lease since: a lesser side sees its own ring while its lease lasts.
func TestCopiesOfANewRingCountWithANewLease(t *testing.T) {
	t.Parallel()
	for mode, waits := range map[ownership.Mode]bool{ownership.Majority: true, ownership.Available: false} {
		n := begin(t, "a", func(cfg *Config) { cfg.Mode = mode })
		require.True(t, n.stillLeased(), "no view has come yet")
		view := n.see(t, membertest.Up("b", 1))
		n.leaseUntil(n.cfg.Clock.Since() + ownership.LeaseTime - time.Millisecond)
		n.SetView(view, view)
		require.Equal(t, !waits, n.stillLeased())
		n.SetView(view, view)
		n.leaseUntil(n.ring.Load().since + ownership.LeaseTime)
		require.True(t, n.stillLeased())
		n.see(t, membertest.Up("b", 1), membertest.Up("c", 1))
		require.Equal(t, !waits, n.stillLeased(), "a view that the dispatcher has not been told of")
	}
}

// A write waits for that lease, as it does for its copies.
func TestWriteWaitsForTheLeaseOfItsRing(t *testing.T) {
	t.Parallel()
	for mode, waits := range map[ownership.Mode]bool{ownership.Majority: true, ownership.Available: false} {
		n := begin(t, "a", func(cfg *Config) { cfg.Mode = mode })
		view := n.see(t)
		n.SetView(view, view)
		n.leaseUntil(n.ring.Load().since + ownership.LeaseTime - time.Millisecond)
		confirm := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := n.confirm(ctx, 3, []string{"k"}, session.AckReplica) // of which there is to be no copy
			return err
		}
		require.Equal(t, waits, errors.Is(confirm(), session.ErrUncertain), mode)
		n.leaseUntil(n.ring.Load().since + ownership.LeaseTime)
		require.NoError(t, confirm())
	}
}

// In mode Majority another node stands in for one that is not reached only once
// the others have given a lease for longer: not in the second of a cut.
func TestStandInIsNoneInTheSecondOfACut(t *testing.T) {
	t.Parallel()
	b := membertest.ID("b", 1)
	for name, c := range map[string]struct {
		mode   ownership.Mode
		leased time.Duration // since the start; nothing ever came of b
		silent bool
	}{
		"leased as long as it":              {ownership.Majority, ownership.LeaseTime, false},
		"a little longer":                   {ownership.Majority, ownership.LeaseTime + apartAfter - 1, false},
		"for longer than it":                {ownership.Majority, ownership.LeaseTime + apartAfter, true},
		"the lesser side in the other mode": {ownership.Available, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := begin(t, "a", func(cfg *Config) { cfg.Mode = c.mode })
			n.see(t, membertest.Up("b", 1))
			n.link(membertest.Up("b", 1))
			n.leaseUntil(c.leased)
			n.look()
			silent := n.lag.silent.Load()
			require.Equal(t, c.silent, silent != nil && (*silent)[b.String()])
		})
	}
}
