// Package meshtest has what tests of the packages above a mesh need: a view of
// members that the test makes up, and a mesh that connects to nobody.
package meshtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/peer"
	"github.com/seed-95a32959/holdfast/ring"
)

// Params are those of the rings of these tests.
var Params = ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}

// Members implements mesh.Members with what a test says there is.
type Members struct {
	Self member.ID
	// Ring is Params, or what the test wants.
	Ring ring.Params

	view atomic.Pointer[member.View]
}

// NewMembers returns the members as self sees them that is alone.
func NewMembers(t testing.TB, self member.ID, params ring.Params) *Members {
	t.Helper()
	m := &Members{Self: self, Ring: params}
	m.See(t)
	return m
}

// See makes these members, and self, the view.
func (m *Members) See(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	view, err := member.NewView(m.Self, append([]*member.Member{membertest.Up(m.Self.Name, 1)}, members...), m.Ring, m.view.Load())
	require.NoError(t, err)
	m.view.Store(view)
	return view
}

// View implements mesh.Members, and so do the methods below, which do nothing.
func (m *Members) View() *member.View                                       { return m.view.Load() }
func (m *Members) SetGone(member.ID, string)                                {}
func (m *Members) SetBack(member.ID)                                        {}
func (m *Members) Mend(member.ID)                                           {}
func (m *Members) Recheck()                                                 {}
func (m *Members) Admits(member.ID, member.Role, netip.Addr) member.Refusal { return "" }
func (m *Members) KnowsAddress(netip.Addr) bool                             { return true }

// Idle returns a mesh of these members, with the given sections in its
// heartbeats. Its links are those that the test adds.
func Idle(t testing.TB, members *Members, clk clock.Clock, sections func(m *mesh.Mesh) []mesh.Section) *mesh.Mesh {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	counters := new(metric.Set)
	return mesh.New(ctx, mesh.Config{
		Self:    peer.Identity{Cluster: "test", Name: members.Self.Name, Boot: members.Self.Boot, Role: string(member.RoleNode), Wire: member.Wire, OldestWire: member.WireOldest},
		Dial:    func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is connected to") },
		Members: members, Sections: sections, Clock: clk, Log: slog.New(slog.DiscardHandler), Pulse: new(wait.Pulse),
		Go: func(f func()) { go f() }, Counters: counters, NodeCounters: counters,
	})
}

// Eventually polls until ok, and fails with what it last said.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not within 15 s: %s", what)
	}
}
