package membership

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// watched is a node on the ring whose links are looked at.
func watched(t *testing.T, name string) (m *Members, isolated *atomic.Bool) {
	m, isolated = gossiping(t, config(name)), new(atomic.Bool)
	m.cfg.Isolated = func() (bool, []string) { return isolated.Load(), []string{"bob", "cyd"} }
	require.NoError(t, m.SetState(member.StateReady))
	m.Update()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.WatchLinks(ctx) })
	running.Go(func() { // gossip passes
		for ctx.Err() == nil {
			m.pinged(membertest.ID("bob", 1))
			select {
			case <-ctx.Done():
			case <-time.After(probeInterval):
			}
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return m, isolated
}

// One that is isolated for five looks is off the ring until two have found that
// it is not.
func TestIsolatedNodeLeavesTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, isolated := watched(t, "ann")
		m.hear(membertest.ID("bob", 1), true, false)
		m.Update()
		after := func(d time.Duration) bool { time.Sleep(d); synctest.Wait(); return m.IsIsolated() }
		isolated.Store(true)
		require.False(t, after((isolatedFor-1)*linksEvery))
		isolated.Store(false)
		require.False(t, after(linksEvery), "a bad moment")
		isolated.Store(true)
		require.False(t, after((isolatedFor-1)*linksEvery))
		require.True(t, after(linksEvery))
		require.Contains(t, m.Unfit()[0], "the links with bob, cyd do not work in both directions")
		require.True(t, m.self().Unfit)
		isolated.Store(false)
		require.True(t, after(linksEvery))
		require.False(t, after(linksEvery))
		require.Empty(t, m.Unfit())
	})
}

// Where all have left the ring, the one with the first name goes back alone.
func TestOneGoesBackWhereAllAreIsolated(t *testing.T) {
	for name, back := range map[string]bool{"ann": true, "cyd": false} {
		synctest.Test(t, func(t *testing.T) {
			m, isolated := watched(t, name)
			bob := membertest.ID("bob", 1)
			m.hear(bob, true, false)
			isolated.Store(true)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.True(t, m.IsIsolated())
			m.setTold(bob, told{state: member.StateReady, unfit: true})
			m.Update()
			isolated.Store(false) // for nobody is on the ring
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, !back, m.IsIsolated(), name)
			if !back { // until there is one again
				m.setTold(bob, told{state: member.StateReady})
				m.Update()
				time.Sleep(linkedFor * linksEvery)
				synctest.Wait()
				require.False(t, m.IsIsolated())
			}
		})
	}
}

// Who is not reached takes no part, though gossip knows it as alive.
func TestUnreachedTakesNoPart(t *testing.T) {
	t.Parallel()
	m := gossiping(t, config("ann"))
	bob, cyd := membertest.ID("bob", 1), membertest.ID("cyd", 1)
	for _, id := range []member.ID{bob, cyd} {
		m.hear(id, true, false)
		m.setTold(id, told{state: member.StateReady})
	}
	unreached := true
	m.cfg.Unreached = func(id member.ID) (time.Duration, bool) { return 1 - pingedLate, id == bob && unreached }
	m.Update()
	require.True(t, m.View().Member(bob).Up, "gossip has had no answer either: a cut, or a standstill of this process")
	m.pinged(bob)
	m.Update()
	who := m.View().Member(bob)
	require.False(t, who.Up)
	require.True(t, who.Unreached)
	require.False(t, m.View().HasEnded(bob))
	require.True(t, m.View().Misses(m.cfg.Self), "it may have what nobody else has")
	m.cfg.Unreached = func(member.ID) (time.Duration, bool) { return m.cfg.Clock.Since(), true }
	m.Update()
	require.True(t, m.View().Member(bob).Up, "the answer is older than that")
	unreached = false
	m.Update()
	require.True(t, m.View().Member(bob).Up)
}

// Who reaches nobody does not take that for the end of all others: they serve, and
// it has to leave. Once they say that they do not it may go on alone.
func TestWhoReachesNobodyIsNotAlone(t *testing.T) {
	t.Parallel()
	m := gossiping(t, config("ann"))
	all := []member.ID{membertest.ID("bob", 1), membertest.ID("cyd", 1)}
	dan := membertest.ID("dan", 1)
	for _, id := range append(all, dan) {
		m.hear(id, true, false)
		m.pinged(id)
		m.setTold(id, told{state: member.StateReady})
	}
	m.cfg.Unreached = func(id member.ID) (time.Duration, bool) { return 1 - pingedLate, id != dan }
	m.Update()
	require.False(t, m.View().Up(all[0]), "it reaches dan")
	m.SetGone(dan, "it refused")
	m.Update()
	require.True(t, m.View().Up(all[0]))
	require.True(t, m.View().Up(all[1]))
	m.setTold(all[0], told{state: member.StateReady, unfit: true})
	m.Update()
	require.False(t, m.View().Up(all[0]))
	require.True(t, m.View().Up(all[1]))
	m.setTold(all[1], told{state: member.StateReady, unfit: true})
	m.Update()
	require.False(t, m.View().Up(all[1]))
}
