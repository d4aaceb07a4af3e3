package membership

import (
	"testing"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

var theirs = ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}

// gossiped is a member as gossip tells of it. older says that it speaks a version
// that follows nobody's parameters.
func gossiped(t *testing.T, name string, boot int, older bool, m member.Meta) *memberlist.Node {
	t.Helper()
	m.Role, m.State = member.RoleNode, max(m.State, member.StateReady)
	b, err := m.Encode()
	require.NoError(t, err)
	if older {
		b[0] = member.WireParams - 1
	}
	return &memberlist.Node{Name: membertest.ID(name, boot).String(), Meta: b}
}

// A node that joins members of an older version takes over their parameters,
// for they take nobody with other ones.
func TestJoinerTakesOverWhatOlderMembersHave(t *testing.T) {
	older := gossiped(t, "b", 1, true, member.Meta{Params: theirs.String()})
	newer := gossiped(t, "c", 1, false, member.Meta{Params: theirs.String()})
	left := gossiped(t, "d", 1, true, member.Meta{Params: "partitions=1024 vnodes=9 load=1.25 copies=2", State: member.StateLeaving})
	dead := gossiped(t, "e", 1, true, member.Meta{Params: "partitions=1024 vnodes=9 load=1.25 copies=2"})
	dead.State = memberlist.StateDead

	m := gossiping(t, config("a"))
	require.NoError(t, m.announce(func(own *member.Meta) { own.State = member.StateJoining }))
	require.NoError(t, m.gossip.NotifyMerge([]*memberlist.Node{newer, left, dead}), "who can follow, or has ended, is no reason to refuse")
	require.Empty(t, m.gossip.elderParams(), "the view says what a newer one has")
	require.ErrorContains(t, m.gossip.NotifyMerge([]*memberlist.Node{left, older, newer}), "parameters differ: vnodes=5 here, vnodes=100 at b")
	require.Equal(t, theirs.String(), m.gossip.elderParams())
	require.Empty(t, m.gossip.elderParams(), "once")

	require.NoError(t, m.announce(func(own *member.Meta) { own.Params = theirs.String() }))
	require.NoError(t, m.gossip.NotifyMerge([]*memberlist.Node{left, older, newer}))
	require.Equal(t, theirs.String(), m.Params())

	m = gossiping(t, config("a"))
	require.Error(t, m.gossip.NotifyAlive(older), "who has its place gives nothing up for an older one that comes")
	require.Empty(t, m.gossip.elderParams())
	require.NoError(t, m.gossip.NotifyAlive(newer))
}

// All nodes do the same in a cut network. Routers, members too old to say, and
// those that are ending are no reason to refuse.
func TestModesMustAgree(t *testing.T) {
	m := gossiping(t, config("a"))
	require.NoError(t, m.announce(func(own *member.Meta) { own.Mode = "available" }))
	other := member.Meta{Params: m.Params(), Mode: "majority"}
	err := m.gossip.NotifyAlive(gossiped(t, "b", 1, false, other))
	require.EqualError(t, err, "parameters differ: -partition-mode available here, majority at b: all nodes must have the same; to change it stop all of them")
	require.True(t, member.IsMismatch(err))
	require.Error(t, m.gossip.NotifyMerge([]*memberlist.Node{gossiped(t, "b", 1, false, other)}))
	ends := other
	ends.State = member.StateLeaving
	dead := gossiped(t, "b", 1, false, other)
	dead.State = memberlist.StateDead
	same, silent := other, other
	same.Mode, silent.Mode = "available", ""
	require.NoError(t, m.gossip.NotifyMerge([]*memberlist.Node{dead, gossiped(t, "c", 1, false, ends), gossiped(t, "d", 1, false, same), gossiped(t, "e", 1, false, silent)}))
	require.NoError(t, m.announce(func(own *member.Meta) { own.Mode = "" }))
	require.NoError(t, m.gossip.NotifyAlive(gossiped(t, "b", 1, false, other)), "a router works beside either")
}

// A member states the parameters by which its ring is placed, those of the
// eldest; the eldest states what all want.
func TestParametersOfTheEldestAreFollowed(t *testing.T) {
	cfg := config("m")
	m := gossiping(t, cfg)
	see := func(name string, boot int, wants ring.Params) {
		id := membertest.ID(name, boot)
		m.hear(id, true, false)
		h := m.gossip.heard[id.String()]
		h.Meta.Params, h.Meta.Wants = theirs.String(), wants
		m.gossip.heard[id.String()] = h
		m.Update()
	}
	more := ring.Params{Copies: 3}
	see("a", 2, more) // younger than this one
	require.Equal(t, cfg.Params, m.View().Table.Params())
	require.Equal(t, cfg.Params.String(), m.Params())

	require.NoError(t, m.announce(func(own *member.Meta) { own.Wants = more }))
	m.Update() // this one is the eldest, and all want that
	m.Update()
	require.Equal(t, 3, m.View().Target())
	require.Equal(t, m.View().Table.Params().String(), m.Params())

	see("b", 0, ring.Params{})
	m.Update()
	require.Equal(t, theirs, m.View().Table.Params(), "an elder one is met when a cut heals")
	require.Equal(t, theirs.String(), m.Params())
}
