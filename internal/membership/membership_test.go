package membership

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

// config is that of a member which gossips on a network of its own.
func config(name string) Config {
	return Config{
		Self: membertest.ID(name, 1), Params: ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}, Cluster: "holdfast", Address: "127.0.0.1:1",
		Transport: func(string) (memberlist.Transport, error) {
			var network memberlist.MockNetwork
			return network.NewTransport("alone"), nil
		},
		CannotListen: func(err error) error { return err },
		Connected:    func(member.ID) bool { return false },
		Linked:       func() (bool, []string) { return true, nil },
		Isolated:     func() (bool, []string) { return false, nil },
		Unreached:    func(member.ID) (time.Duration, bool) { return 0, false },
		Answers:      func(context.Context, member.ID, string) bool { return false },
		Changed:      func(_, _ *member.View) {},
		Go:           func(f func(context.Context)) { f(context.Background()) },
		Clock:        clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Events: events.New(time.Now), Pulse: new(wait.Pulse), Counters: new(metric.Set),
	}
}

// gossiping is a member that has a gossip in which the test speaks.
func gossiping(t *testing.T, cfg Config) *Members {
	t.Helper()
	m, err := New(cfg, member.Meta{Role: member.RoleNode, State: member.StateReady, Params: cfg.Params.String()})
	require.NoError(t, err)
	require.NoError(t, m.Start())
	t.Cleanup(m.Shutdown)
	return m
}

func (m *Members) hear(id member.ID, alive, left bool) {
	m.gossip.mu.Lock()
	defer m.gossip.mu.Unlock()
	m.gossip.heard[id.String()] = heard{ID: id, Meta: member.Meta{Role: member.RoleNode, State: member.StateReady}, Alive: alive, Left: left, Since: time.Now(), Pinged: m.gossip.heard[id.String()].Pinged}
}

// pinged has a boot answer a packet of gossip.
func (m *Members) pinged(id member.ID) {
	m.gossip.NotifyPingComplete(&memberlist.Node{Name: id.String()}, 0, nil)
}

// A boot whose link answers keeps its name, until it says that it is leaving
// and a newer one has taken its place on the ring.
func TestBootThatAnswersKeepsItsName(t *testing.T) {
	older, newer := membertest.ID("b", 1), membertest.ID("b", 2)
	cfg := config("a")
	cfg.Connected = func(id member.ID) bool { return id == older }
	for _, c := range []struct {
		older, newer member.State
		want         member.ID
	}{
		{member.StateReady, member.StateReady, older},
		{member.StateLeaving, member.StateJoining, older},
		{member.StateLeaving, member.StateReady, newer},
	} {
		n := gossiping(t, cfg)
		n.hear(older, true, false)
		n.setTold(older, told{state: c.older})
		n.hear(newer, true, false)
		h := n.gossip.heard[newer.String()]
		h.Meta.State = c.newer
		n.gossip.heard[newer.String()] = h
		n.Update()
		require.Equal(t, c.want, n.View().Named("b").ID, "%v and %v", c.older, c.newer)
	}
}

// A member whose name another boot has sees that one on the ring, as all others
// do, and should hold nothing.
func TestReplacedMemberSeesWhoHasItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, newer := config("a"), membertest.ID("a", 2)
		cfg.Answers = func(context.Context, member.ID, string) bool { return true }
		n := gossiping(t, cfg)
		n.hear(newer, true, false)
		h := n.gossip.heard[newer.String()]
		h.Meta.Peer = "127.0.0.1:2"
		n.gossip.heard[newer.String()] = h
		n.Update()
		require.True(t, n.View().Holds(cfg.Self, 0))
		var taken error
		n.WatchName(t.Context(), func(err error) { taken = err })
		require.ErrorContains(t, taken, "taken by a running member at 127.0.0.1:2")
		n.Update()
		require.Equal(t, newer, n.View().Named("a").ID)
		require.False(t, n.View().Holds(cfg.Self, 0))
		require.Equal(t, []string{newer.String()}, n.View().CopyHolders(0))
		n.Shutdown()
		time.Sleep(time.Minute) // memberlist ends some of its goroutines by timers
	})
}

// One boot of each name takes part at most: the newest that gossip knows as
// alive and that has not ended, unless it is out of reach.
func TestNewestBootThatIsNotGoneTakesPart(t *testing.T) {
	n := gossiping(t, config("a"))
	rapid.Check(t, func(t *rapid.T) {
		clear(n.gossip.heard)
		clear(n.gone)
		want := map[string]int{"a": 1}
		type fact struct{ alive, left, gone, ended bool }
		facts := make(map[member.ID]fact)
		for _, name := range []string{"a", "b", "c"} {
			for boot := 1; boot <= 3; boot++ {
				if name == "a" && boot == 1 || rapid.Bool().Draw(t, "unknown") {
					continue
				}
				f := fact{alive: rapid.Bool().Draw(t, "alive"), left: rapid.Bool().Draw(t, "left"), gone: rapid.Bool().Draw(t, "gone")}
				f.ended = f.gone && rapid.Bool().Draw(t, "ended")
				facts[membertest.ID(name, boot)] = f
				n.hear(membertest.ID(name, boot), f.alive, f.left)
				if f.gone {
					n.gone[membertest.ID(name, boot)] = going{"refused", f.ended}
				}
				switch {
				case name == "a" || !f.alive || f.ended:
				case f.gone:
					want[name] = 0
				default:
					want[name] = boot
				}
			}
		}
		v, err := member.NewView(n.cfg.Self, n.collect(), n.cfg.Params, n.View())
		require.NoError(t, err)
		for _, name := range []string{"a", "b", "c"} {
			if want[name] == 0 {
				require.Nil(t, v.Named(name))
				continue
			}
			require.Equal(t, membertest.ID(name, want[name]), v.Named(name).ID)
		}
		for id, f := range facts {
			m := v.Member(id)
			require.Equal(t, f.gone || !f.alive, m.Gone, "%s", id)
			require.Equal(t, f.ended, m.Ended)
			require.Equal(t, f.left && !f.alive, m.Left)
			require.Equal(t, want[id.Name] == boot(id), m.Up, "%s", id)
		}
	})
}

func boot(id member.ID) (n int) {
	_, _ = fmt.Sscanf(id.Boot[:12], "%x", &n)
	return n
}

// States only go forward, whichever way the news takes.
func TestNewerStateCounts(t *testing.T) {
	t.Parallel()
	n := gossiping(t, config("a"))
	b := membertest.ID("b", 1)
	n.hear(b, true, false)
	see := func() member.State {
		n.Update()
		return n.View().Member(b).State
	}
	require.Equal(t, member.StateReady, see())
	n.setTold(b, told{state: member.StateJoining})
	require.Equal(t, member.StateReady, see())
	n.setTold(b, told{state: member.StateLeaving})
	require.Equal(t, member.StateLeaving, see())
	require.Empty(t, n.View().CopyHolders(0), "a leaving node owns nothing")

	n.gossip.mu.Lock()
	delete(n.gossip.heard, b.String())
	n.gossip.mu.Unlock()
	n.SetGone(b, "refused")
	n.Update()
	require.Empty(t, n.told, "what gossip has forgotten is forgotten here")
	require.Empty(t, n.gone)
}

// A member that is unfit takes part and is on nobody's ring, itself included.
// Its link tells before gossip does; gossip tells when it is fit again.
func TestUnfitMembersAreOffTheRing(t *testing.T) {
	t.Parallel()
	n := gossiping(t, config("a"))
	b := membertest.ID("b", 1)
	n.hear(b, true, false)
	nodes := func() (names []string) {
		n.Update()
		for _, m := range n.View().Nodes() {
			names = append(names, m.Name)
		}
		return names
	}
	require.NoError(t, n.SetState(member.StateReady))
	require.Equal(t, []string{"a", "b"}, nodes())
	section := n.StateSection()
	for said, want := range map[string][]string{"\x02\x00\x01": {"a"}, "\x02\x00\x00": {"a", "b"}, "\x02": {"a", "b"}} {
		_, err := section.Asked(b, []byte(said))
		require.NoError(t, err)
		require.Equal(t, want, nodes(), "%q", said)
	}
	_, err := section.Asked(b, []byte{2, 0, 1})
	require.NoError(t, err)
	section.Lost(b)
	require.Equal(t, []string{"a", "b"}, nodes(), "what it said on a link that is gone is old")

	require.NoError(t, n.SetUnfit("clock", "the clock is wrong"))
	require.NoError(t, n.SetUnfit("links", "nobody is reached"))
	require.Equal(t, []string{"b"}, nodes())
	require.Equal(t, []string{"nobody is reached", "the clock is wrong"}, n.Unfit())
	require.Equal(t, []byte{byte(member.StateReady), 0, 1}, section.Ask())
	require.NoError(t, n.SetUnfit("clock", ""))
	require.Equal(t, []string{"b"}, nodes(), "for another reason still")
	require.NoError(t, n.SetUnfit("links", ""))
	require.Equal(t, []string{"a", "b"}, nodes())
	require.Empty(t, n.Unfit())
}

// Who speaks a version that knows of no unfit members would keep this one on
// its ring, and rings that differ stop the cluster.
func TestUnfitOnlyWhereAllUnderstand(t *testing.T) {
	t.Parallel()
	n := gossiping(t, config("a"))
	b := membertest.ID("b", 1)
	n.hear(b, true, false)
	old := func(version int) {
		n.gossip.mu.Lock()
		h := n.gossip.heard[b.String()]
		h.Meta.Older = version
		n.gossip.heard[b.String()] = h
		n.gossip.mu.Unlock()
		n.Update()
	}
	old(member.WireUnfit - 1)
	require.NoError(t, n.SetUnfit("clock", "the clock is wrong"))
	require.False(t, n.self().Unfit)
	require.Equal(t, []string{"the clock is wrong"}, n.Unfit(), "it says so all the same")
	old(0)
	require.NoError(t, n.SetUnfit("clock", "the clock is wrong"))
	require.True(t, n.self().Unfit)
}

// The order of the map in which gossip is kept is random; views must not be.
func TestSnapshotOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	n := gossiping(t, config("a"))
	for i := range 20 {
		n.hear(membertest.ID(fmt.Sprint("m", i%7), rand.IntN(9)+1), i%3 != 0, false)
	}
	first, err := member.NewView(n.cfg.Self, n.collect(), n.cfg.Params, nil)
	require.NoError(t, err)
	for range 5 {
		again, err := member.NewView(n.cfg.Self, n.collect(), n.cfg.Params, nil)
		require.NoError(t, err)
		require.Equal(t, first.Members, again.Members)
		require.Equal(t, first.Table.Fingerprint(), again.Table.Fingerprint())
	}
}

// Whose connection is refused is gone, unless it has said that it was leaving:
// then it has left.
func TestLeavingIsNoCrash(t *testing.T) {
	for name, c := range map[string]struct {
		before func(m *Members, id member.ID)
		told   []string
	}{
		"it crashes":                 {before: func(*Members, member.ID) {}, told: []string{"joined", "gone", "ended"}},
		"it says so on its link":     {before: func(m *Members, id member.ID) { m.setTold(id, told{state: member.StateLeaving}) }, told: []string{"joined", "left"}},
		"it says so, and all see it": {before: func(m *Members, id member.ID) { m.setTold(id, told{state: member.StateLeaving}); m.Update() }, told: []string{"joined", "leaving", "left"}},
		"it says good-bye by gossip": {before: func(m *Members, id member.ID) { m.hear(id, false, true); m.Update() }, told: []string{"joined", "left"}},
	} {
		n, id := gossiping(t, config("a")), membertest.ID("b", 1)
		n.hear(id, true, false)
		n.Update()
		c.before(n, id)
		n.SetGone(id, "connection refused")
		n.Update()
		var told []string
		for _, ev := range n.cfg.Events.Since(0) {
			told = append(told, ev.Kind)
		}
		require.Equal(t, c.told, told, name)
	}
}
