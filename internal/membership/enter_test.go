package membership

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

// entering runs f on a member that joins, with the context of all that the
// member starts; it ends after f, and with it what was started.
func entering(t *testing.T, f func(m *Members, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := config("ada")
		cfg.Expect = 1
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cfg.Go = func(f func(context.Context)) { go f(ctx) }
		m, err := New(cfg, member.Meta{Role: member.RoleNode, State: member.StateJoining})
		require.NoError(t, err)
		f(m, ctx)
		cancel()
		synctest.Wait()
	})
}

// A member takes its place as soon as it has heard all others, and after a
// second even if one of them is silent.
func TestEnterWaitsForTheOthersOrASecond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ heardAfter, enteredAfter time.Duration }{
		"all are heard":   {0, 0},
		"one is late":     {290 * time.Millisecond, 300 * time.Millisecond},
		"one stays quiet": {time.Hour, enterWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entering(t, func(m *Members, ctx context.Context) {
				began := time.Now()
				require.NoError(t, m.Enter(ctx, func() bool { return time.Since(began) >= c.heardAfter }))
				require.Equal(t, c.enteredAfter, time.Since(began))
				require.Equal(t, member.StateReady, m.State())
			})
		})
	}
}

// A node that was told whom to join does not serve before it has joined: it
// would answer for sessions that others hold.
func TestEnterWaitsForACluster(t *testing.T) {
	t.Parallel()
	joining, ready := membertest.Up("bob", 1), membertest.Up("bob", 1)
	joining.State = member.StateJoining
	router := membertest.Up("gate", 1)
	router.Role = member.RoleRouter
	for name, c := range map[string]struct {
		expect int
		sees   []*member.Member
		enters bool
	}{
		"nobody":                      {0, nil, false},
		"a router":                    {0, []*member.Member{router}, false},
		"a node that waits too":       {0, []*member.Member{joining}, false},
		"fewer than found one":        {3, []*member.Member{joining, router}, false},
		"as many as found one":        {2, []*member.Member{joining}, true},
		"a node of a running cluster": {0, []*member.Member{ready}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entering(t, func(m *Members, ctx context.Context) {
				m.cfg.Expect, m.cfg.Seeds = c.expect, []string{"10.0.0.1:8084"}
				see := func(others ...*member.Member) {
					own := membertest.Up("ada", 1)
					own.State = member.StateJoining
					view, err := member.NewView(m.cfg.Self, append([]*member.Member{own}, others...), m.cfg.Params, nil)
					require.NoError(t, err)
					m.SetView(view)
				}
				see(c.sees...)
				require.NoError(t, m.Enter(ctx, func() bool { return true }))
				if c.enters {
					require.Equal(t, member.StateReady, m.State())
					require.Empty(t, m.Waiting())
					return
				}
				require.Equal(t, member.StateJoining, m.State())
				require.Contains(t, m.Waiting(), "10.0.0.1:8084")
				time.Sleep(time.Hour)
				require.Equal(t, member.StateJoining, m.State())
				see(ready)
				time.Sleep(time.Second)
				require.Equal(t, member.StateReady, m.State(), "it goes on looking")
			})
		})
	}
}

// A node that may found a cluster alone gives others, which may know its
// address of a boot before, the time to reach it.
func TestEnterLetsAClusterComeFirst(t *testing.T) {
	t.Parallel()
	joining, ready := membertest.Up("bob", 1), membertest.Up("bob", 1)
	joining.State = member.StateJoining
	for name, c := range map[string]struct {
		comes *member.Member // after 390 ms
		after time.Duration
	}{
		"nobody comes":      {nil, time.Second},
		"a cluster comes":   {ready, 400 * time.Millisecond},
		"another one waits": {joining, 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entering(t, func(m *Members, ctx context.Context) {
				m.cfg.FoundAfter = time.Second
				began := time.Now()
				m.cfg.Go(func(context.Context) {
					time.Sleep(390 * time.Millisecond)
					if c.comes == nil {
						return
					}
					own := membertest.Up("ada", 1)
					own.State = member.StateJoining
					view, err := member.NewView(m.cfg.Self, []*member.Member{own, c.comes}, m.cfg.Params, nil)
					require.NoError(t, err)
					m.SetView(view)
				})
				require.Contains(t, m.Waiting(), "within 1s of its start")
				require.NoError(t, m.Enter(ctx, func() bool { return true }))
				require.Equal(t, c.after, time.Since(began))
				require.Equal(t, member.StateReady, m.State())
			})
		})
	}
}

func TestEnterEndsWithItsContext(t *testing.T) {
	t.Parallel()
	entering(t, func(m *Members, ctx context.Context) {
		why := errors.New("told to stop")
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		require.ErrorIs(t, m.Enter(ctx, func() bool { return false }), why)
		require.Equal(t, member.StateJoining, m.State())
	})
}

// Another process that has the name, and was started at the same moment, is met
// here at the latest.
func TestEnterFailsWhereTheNameIsTaken(t *testing.T) {
	t.Parallel()
	entering(t, func(m *Members, ctx context.Context) {
		first := membertest.ID("ada", 0)
		m.gossip = &gossip{heard: map[string]heard{first.String(): {ID: first, Alive: true, Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, Peer: "10.0.0.1:83"}}}}
		m.cfg.Answers = func(context.Context, member.ID, string) bool { return true }
		require.ErrorContains(t, m.Enter(ctx, func() bool { return true }), "boot "+first.Boot)
		require.Equal(t, member.StateJoining, m.State())
	})
}

// A member that is kept off the ring runs on meanwhile, and takes its place
// when the time is over, unless it has begun to leave.
func TestEnterLaterWhereHeldOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ meanwhile, then member.State }{
		"still joining": {member.StateJoining, member.StateReady},
		"drained":       {member.StateLeaving, member.StateLeaving},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entering(t, func(m *Members, ctx context.Context) {
				m.counts[membertest.ID("bob", 1)] = flapDeaths
				hold := m.holdOff()
				require.Equal(t, 5*time.Second, hold)
				require.NoError(t, m.Enter(ctx, func() bool { return true }))
				time.Sleep(hold - time.Millisecond)
				require.Equal(t, member.StateJoining, m.State())
				require.NoError(t, m.SetState(c.meanwhile))
				time.Sleep(2 * time.Millisecond)
				require.Equal(t, c.then, m.State())
			})
		})
	}
}

// The end of a member that is held off ends its wait.
func TestHeldOffMemberEnds(t *testing.T) {
	t.Parallel()
	entering(t, func(m *Members, ctx context.Context) {
		var ended atomic.Bool
		ctx, cancel := context.WithCancel(ctx)
		m.cfg.Go = func(f func(context.Context)) { go func() { f(ctx); ended.Store(true) }() }
		m.counts[membertest.ID("bob", 1)] = flapDeaths
		require.NoError(t, m.Enter(ctx, func() bool { return true }))
		synctest.Wait()
		require.False(t, ended.Load())
		cancel()
		synctest.Wait()
		require.True(t, ended.Load())
		require.Equal(t, member.StateJoining, m.State())
	})
}

// Only a router that was told of nobody is warned, and only while it is alone.
func TestWarnIfAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role   member.Role
		seeds  []string
		joined bool // a node has joined it
		warned int
		waited time.Duration
	}{
		"a router told of nobody": {member.RoleRouter, nil, false, 1, aloneWarn},
		"a router told of one":    {member.RoleRouter, []string{"127.0.0.1:1"}, false, 0, 0},
		"a router joined by one":  {member.RoleRouter, nil, true, 0, aloneWarn},
		"a node":                  {member.RoleNode, nil, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := config("ada")
				cfg.Seeds = c.seeds
				var said bytes.Buffer
				cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
				m, err := New(cfg, member.Meta{Role: c.role, State: member.StateJoining})
				require.NoError(t, err)
				if c.joined {
					view, err := member.NewView(m.cfg.Self, []*member.Member{membertest.Up("bob", 1)}, m.cfg.Params, nil)
					require.NoError(t, err)
					m.SetView(view)
				}
				began := time.Now()
				m.WarnIfAlone(t.Context())
				require.Equal(t, c.warned, strings.Count(said.String(), "no node is known"))
				require.Equal(t, c.waited, time.Since(began))
			})
		})
	}
}

// A node whose links do not work in both directions takes its place only when
// they do, and says so meanwhile. A router has no peer port.
func TestEnterWaitsForLinksInBothDirections(t *testing.T) {
	entering(t, func(m *Members, ctx context.Context) {
		var linked atomic.Bool
		m.cfg.Linked = func() (bool, []string) { return linked.Load(), []string{"bob", "cyd"} }
		m.own.Peer = "192.0.2.1:8083"
		began := time.Now()
		require.NoError(t, m.Enter(ctx, func() bool { return true }))
		require.Equal(t, clusterWait, time.Since(began))
		require.Equal(t, member.StateJoining, m.State())
		require.Equal(t, "the links with bob, cyd do not work in both directions: can they reach the peer port of this node, 192.0.2.1:8083, and does it reach theirs?", m.Waiting())
		time.Sleep(time.Hour)
		require.Equal(t, member.StateJoining, m.State())
		linked.Store(true)
		time.Sleep(2 * recheck)
		require.Equal(t, member.StateReady, m.State())
		require.Empty(t, m.Waiting())
	})
	entering(t, func(m *Members, ctx context.Context) {
		m.own.Role = member.RoleRouter
		m.cfg.Linked = func() (bool, []string) { return false, nil }
		require.NoError(t, m.Enter(ctx, func() bool { return true }))
		require.Equal(t, member.StateReady, m.State())
	})
}

// Who leaves before it was ready has not been part of a cluster, and does not look
// like it to one that looks for one.
func TestWhoLeavesBeforeItWasReadyIsNoCluster(t *testing.T) {
	t.Parallel()
	entering(t, func(m *Members, ctx context.Context) {
		m.cfg.Expect, m.cfg.Seeds = 3, []string{"10.0.0.1:8084"}
		require.NoError(t, m.Enter(ctx, func() bool { return true }))
		require.NoError(t, m.SetState(member.StateLeaving))
		require.Equal(t, member.StateLeaving, m.State(), "here it does")
		require.Equal(t, member.StateJoining, m.self().State, "to the others it is one that waits too")
		require.Empty(t, m.Waiting())
		require.NoError(t, m.ready())
		require.NoError(t, m.SetState(member.StateReady))
		require.Equal(t, member.StateJoining, m.self().State, "it takes no place any more")
	})
	entering(t, func(m *Members, _ context.Context) {
		require.NoError(t, m.SetState(member.StateReady))
		require.NoError(t, m.SetState(member.StateLeaving))
		require.Equal(t, member.StateLeaving, m.self().State)
	})
}

// A node with sessions from its disk waits for those that it knew when it last
// ran, for so long; one without waits for those that have some. A cluster that
// runs is joined at once.
func TestEnterWaitsForThoseWithSessions(t *testing.T) {
	t.Parallel()
	joining := func(name string, keeps bool) *member.Member {
		m := membertest.Up(name, 1)
		m.State, m.Keeps = member.StateJoining, keeps
		return m
	}
	gone := joining("cyd", false)
	gone.Up, gone.Gone = false, true
	waiting := joining("bob", true)
	waiting.Waits = true
	unready := joining("bob", false)
	unready.Waits = true
	for name, c := range map[string]struct {
		keeps   bool
		awaited []string
		sees    []*member.Member
		waits   string // for whom
		ends    bool   // after StartWait
	}{
		"all are there":                     {true, []string{"bob", "cyd"}, []*member.Member{joining("bob", true), joining("cyd", false)}, "", false},
		"one is not":                        {true, []string{"bob", "cyd"}, []*member.Member{joining("bob", true)}, "cyd", true},
		"one has ended":                     {true, []string{"bob", "cyd"}, []*member.Member{joining("bob", true), gone}, "cyd", true},
		"one is told of as alive":           {true, []string{"dan"}, []*member.Member{joining("dan", true)}, "dan", true},
		"nobody is":                         {true, []string{"bob", "cyd"}, nil, "bob, cyd", true},
		"it has none, and another has some": {false, nil, []*member.Member{joining("bob", true)}, "bob", false},
		"it has none, and nobody has":       {false, nil, []*member.Member{joining("bob", false)}, "", false},
		"another one waits":                 {true, nil, []*member.Member{waiting}, "bob", true},
		"both wait":                         {true, []string{"cyd"}, []*member.Member{waiting}, "cyd", true},
		"another one says so, without any":  {true, nil, []*member.Member{unready}, "", false},
		"a cluster runs":                    {true, []string{"cyd"}, []*member.Member{membertest.Up("bob", 1)}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entering(t, func(m *Members, ctx context.Context) {
				m.cfg.Awaited, m.cfg.StartWait, m.own.Keeps = c.awaited, 30*time.Second, c.keeps
				own := membertest.Up("ada", 1)
				own.State = member.StateJoining
				view, err := member.NewView(m.cfg.Self, append([]*member.Member{own}, c.sees...), m.cfg.Params, nil)
				require.NoError(t, err)
				m.SetView(view)
				require.Equal(t, c.keeps, m.Loading())
				m.cfg.Connected = func(id member.ID) bool { return id.Name != "dan" }
				m.own.Waits = len(m.missed()) > 0
				require.NoError(t, m.Enter(ctx, func() bool { return true }))
				if c.waits == "" {
					require.Equal(t, member.StateReady, m.State())
					require.False(t, m.Loading())
					return
				}
				require.Equal(t, member.StateJoining, m.State())
				require.Contains(t, m.Waiting(), "waits for "+c.waits+":")
				time.Sleep(20 * time.Second)
				require.Equal(t, member.StateJoining, m.State())
				time.Sleep(10 * time.Second)
				require.Equal(t, c.ends, m.State() == member.StateReady)
				require.False(t, m.self().Waits)
			})
		})
	}
}

// A node tells the others that it waits, from its first word on, until it does not
// any more.
func TestWaitIsTold(t *testing.T) {
	t.Parallel()
	entering(t, func(m *Members, ctx context.Context) {
		var connected atomic.Bool
		cfg := m.cfg
		cfg.Connected = func(member.ID) bool { return connected.Load() }
		cfg.Linked = func() (bool, []string) { return false, nil } // so it does not enter
		cfg.Expect, cfg.StartWait, cfg.Awaited = 2, 30*time.Second, []string{"ada", "bob"}
		for _, keeps := range []bool{false, true} {
			own := member.Meta{Role: member.RoleNode, State: member.StateJoining, Keeps: keeps}
			var err error
			m, err = New(cfg, own)
			require.NoError(t, err)
			require.Equal(t, keeps, m.self().Waits)
		}
		require.NoError(t, m.Enter(ctx, func() bool { return true }))
		require.True(t, m.self().Waits)
		bob := membertest.Up("bob", 1)
		bob.State = member.StateJoining
		view, err := member.NewView(m.cfg.Self, []*member.Member{bob}, m.cfg.Params, nil)
		require.NoError(t, err)
		m.SetView(view)
		for _, is := range []bool{false, true, false} {
			connected.Store(is)
			time.Sleep(2 * recheck)
			require.Equal(t, !is, m.self().Waits)
		}
	})
}
