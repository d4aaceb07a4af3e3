package repair

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// still is a repairer whose links connect to nobody.
type still struct {
	*Repairer
	members *meshtest.Members
}

func begin(t *testing.T, name string, memory int64) *still {
	t.Helper()
	return beginIn(t, nil, name, memory)
}

// beginIn is begin for one that connects to the others of a network.
func beginIn(t *testing.T, network *meshtest.Network, name string, memory int64) *still {
	t.Helper()
	s := &still{members: meshtest.NewMembers(t, membertest.ID(name, 1), meshtest.Params)}
	store, err := session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return key, false }, MemoryLimit: memory,
	})
	require.NoError(t, err)
	replicator := replication.New(replication.Config{Store: store, Partitions: ring.Partitions, Now: time.Now})
	t.Cleanup(replicator.Close)
	cfg := Config{
		Away: func() bool { return false },
		Self: s.members.Self, View: s.members.View, Store: store, Replicator: replicator, Clock: clock.New(time.Now),
		Log: slog.New(slog.DiscardHandler), Events: events.New(time.Now), Pulse: new(wait.Pulse), Counters: new(metric.Set),
	}
	s.Repairer = New(cfg)
	o, err := owner.New(owner.Config{
		Isolated: func() bool { return false },
		Self:     cfg.Self, Params: meshtest.Params, Store: store, Copies: s, Clock: cfg.Clock, Log: cfg.Log, Events: cfg.Events, Pulse: cfg.Pulse,
		Orphaned: func(int, []member.ID) bool { return false }, Missing: func() (none []ownership.Missing) { return none }, Go: func(f func()) { t.Error("no claim is made here") }, Counters: new(metric.Set),
	})
	require.NoError(t, err)
	sections := func(m *mesh.Mesh) []mesh.Section { return []mesh.Section{o.Section(m)} }
	if network == nil {
		s.Bind(o, meshtest.Idle(t, s.members, cfg.Clock, sections))
	} else {
		s.Bind(o, network.Live(t, s.members, cfg.Clock, sections, s))
	}
	s.see(t)
	return s
}

// Serve implements peer.Handler.
func (s *still) Serve(r *peer.Request) { mesh.Answer(r)(s.cfg.Replicator.Serve(s, r.Type, r.Payload)) }

// ReadsMoved implements replication.Reader.
func (s *still) ReadsMoved() bool { return true }

// see lets the repairer see these members.
func (s *still) see(t *testing.T, members ...*member.Member) *member.View {
	t.Helper()
	view := s.members.See(t, members...)
	s.owner.SetView(view)
	s.SetView(view)
	return view
}

func (s *still) openAll() {
	for p := range ring.Partitions {
		s.cfg.Store.Open(p)
	}
}

func putOf(key string) *session.Op {
	return &session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}}
}

// A copy that should be elsewhere is dropped only after all that should have
// it have confirmed it.
func TestHandOverKeepsWhatNobodyHasConfirmed(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a", 0), membertest.Up("b", 1)
	n.members.Ring.Copies = 1
	v := n.see(t, b)
	p := membertest.OwnedBy(t, v, "b")
	key := membertest.KeyIn(p)
	n.cfg.Store.Open(p)
	_, err := n.cfg.Store.Do(putOf(key))
	require.NoError(t, err)
	n.cfg.Store.Close(p)
	require.Equal(t, []int{p}, n.held(v))
	require.ErrorIs(t, n.pass(t.Context(), b.ID), mesh.ErrNoLink)
	require.Equal(t, []string{"b"}, n.Unconfirmed())
	require.Equal(t, 1, n.cfg.Store.Count(p))
}

// silent is a node that takes no part, and may come back.
func silent(name string) *member.Member {
	m := membertest.Up(name, 1)
	m.Up, m.Gone = false, true
	return m
}

// A copy that all have who should is kept while these are too few, and a node is
// out of reach that may come back. A new ring begins anew.
func TestHandOverKeepsWhatTooFewHave(t *testing.T) {
	t.Parallel()
	const digest = 7
	for name, c := range map[string]struct {
		others  []*member.Member
		dropped bool
	}{
		"one of two, and one is silent": {[]*member.Member{membertest.Up("b", 1), silent("c")}, false},
		"one of two":                    {[]*member.Member{membertest.Up("b", 1)}, true},
		"two, and one is silent":        {[]*member.Member{membertest.Up("b", 1), membertest.Up("c", 1), silent("d")}, true},
	} {
		n := begin(t, "a", 0)
		view := n.see(t, c.others...)
		p := membertest.OwnedBy(t, view, "b")
		for len(view.CopyHolders(p)) < len(view.Others(n.cfg.Self)) { // all others hold it
			p++
		}
		dropped := false
		for _, id := range view.CopyHolders(p) {
			require.False(t, dropped, name)
			dropped = n.confirm(view, p, id, digest)
		}
		require.Equal(t, c.dropped, dropped, name)
		require.Equal(t, !c.dropped, n.Kept(p), name)
		require.False(t, n.Kept(p+1), name)
		if n.Kept(p) {
			n.see(t, membertest.Up("b", 1), membertest.Up("c", 1))
			require.False(t, n.Kept(p), name)
		}
	}
}

// Nothing leaves a node that was away for long before it knows what is of use.
func TestNodeThatWasAwayPassesNothingOn(t *testing.T) {
	t.Parallel()
	n, b := begin(t, "a", 0), membertest.Up("b", 1)
	n.see(t, b)
	n.mesh.AddIdle(b.ID, b.Peer)
	require.NoError(t, n.pass(t.Context(), b.ID))
	n.cfg.Away = func() bool { return true }
	require.ErrorIs(t, n.pass(t.Context(), b.ID), errAway)
}

func TestHandOverHasNothingToDoWithWhatBelongsHere(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", 0)
	v := n.see(t, membertest.Up("b", 1)) // with two copies both hold everything
	p := membertest.OwnedBy(t, v, "b")
	n.cfg.Store.Open(p)
	_, err := n.cfg.Store.Do(putOf(membertest.KeyIn(p)))
	require.NoError(t, err)
	require.Empty(t, n.held(v))
	require.NoError(t, n.handOver(t.Context(), n.mesh.AddIdle(membertest.ID("b", 1), "b:83")))
	require.Empty(t, n.Unconfirmed())
	require.Equal(t, 1, n.cfg.Store.Count(p))
}

// The account of who has a copy ends with whatever may have made it wrong.
func TestAccountOfCopiesStartsAnew(t *testing.T) {
	t.Parallel()
	n, b, c := begin(t, "a", 0), membertest.Up("b", 1), membertest.Up("c", 1)
	v := n.see(t, b)
	p := membertest.OwnedBy(t, v, "a")
	account := func() bool { return n.IsSynced(b.String(), p) }

	n.SetSynced(b.String(), p)
	require.True(t, account())
	n.Claimed(p, nil)
	require.False(t, account(), "a new claim, whose holders differ")
	n.Claimed(p, []string{b.String()})
	require.True(t, account())
	n.Forget(b.String())
	require.False(t, account(), "its stream of changes was interrupted")

	n.SetSynced(b.String(), p)
	without := n.see(t, c)
	n.SetView(without)
	n.see(t, b)
	require.False(t, account(), "it was no holder for a while")
	n.SetSynced(c.String(), p)
	require.False(t, n.IsSynced(c.String(), p), "no holder now")
}

// What was fetched key by key counts for the claim that asked, and for no
// longer than that.
func TestFetchedKeysAreOfOneClaim(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", 0)
	n.setFetched(7, 2, "k")
	require.True(t, n.hasFetched(7, 2, "k"))
	require.False(t, n.hasFetched(7, 3, "k"))
	n.setFetched(7, 1, "late")
	require.True(t, n.hasFetched(7, 2, "k"), "one that is late, of a claim before, takes nothing away")
	n.setFetched(7, 3, "new")
	require.False(t, n.hasFetched(7, 2, "k"))
	require.True(t, n.hasFetched(7, 3, "new"))
	n.endPull(7)
	require.False(t, n.hasFetched(7, 3, "new"))
}

// What becomes of a source that did not give what it had: whether it has ended
// or may come back.
func TestSourcesThatGiveNothing(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", 0)
	ended, silent := membertest.Up("b", 1), membertest.Up("c", 1)
	for _, m := range []*member.Member{ended, silent} {
		m.Up, m.Gone = false, true
	}
	ended.Ended = true
	n.see(t, ended, silent, membertest.Up("d", 1))
	var got sourced
	for _, m := range []*member.Member{ended, silent} {
		n.note(&got, m.ID, mesh.ErrNoLink)
	}
	n.note(&got, membertest.ID("d", 1), nil)
	require.Equal(t, sourced{
		heard: []member.ID{membertest.ID("d", 1)}, silent: []member.ID{silent.ID}, ended: []member.ID{ended.ID}, err: mesh.ErrNoLink,
	}, got)
}

// What became of the sources decides whether the partition is served as one of
// which there may be more.
func TestSourceThatHasEndedLeavesDoubt(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", 0)
	out := membertest.Up("c", 1)
	n.see(t, out)
	n.owner.Look(func(core *ownership.Core, _ time.Duration) {
		core.Set(7, ownership.Fetching, ownership.Claim{Epoch: 3, By: n.cfg.Self}, false)
	})
	out.Up, out.Gone = false, true // it may be alive
	n.see(t, out)
	require.False(t, n.unreached(7, 3, new(sourced)))
	require.False(t, n.owner.Decide(7).Unverified)
	require.False(t, n.unreached(7, 3, &sourced{ended: []member.ID{membertest.ID("b", 1)}}), "none is waited for")
	require.True(t, n.owner.Decide(7).Unverified)
}
