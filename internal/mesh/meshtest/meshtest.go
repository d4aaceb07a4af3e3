// Package meshtest has what tests of the packages above a mesh need: a view of
// members that the test makes up, a mesh that connects to nobody, and meshes
// that are joined by pipes, which a bubble of testing/synctest may have.
package meshtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

// Params are those of the rings of these tests.
var Params = ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}

// Members implements mesh.Members with what a test says there is.
type Members struct {
	Self member.ID
	// Ring is Params, or what the test wants.
	Ring ring.Params
	// Gone, if set, hears of SetGone and SetEnded.
	Gone func(id member.ID, why string, ended bool)
	// Back, if set, hears of SetBack.
	Back func(id member.ID)

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

// SetGone implements mesh.Members.
func (m *Members) SetGone(id member.ID, why string) { m.setGone(id, why, false) }

// SetEnded implements mesh.Members.
func (m *Members) SetEnded(id member.ID, why string) { m.setGone(id, why, true) }

func (m *Members) setGone(id member.ID, why string, ended bool) {
	if m.Gone != nil {
		m.Gone(id, why, ended)
	}
}

// SetBack implements mesh.Members.
func (m *Members) SetBack(id member.ID) {
	if m.Back != nil {
		m.Back(id)
	}
}

// View implements mesh.Members, and so do the methods below, which do nothing.
func (m *Members) View() *member.View                                       { return m.view.Load() }
func (m *Members) Mend(member.ID)                                           {}
func (m *Members) Recheck()                                                 {}
func (m *Members) Admits(member.ID, member.Role, netip.Addr) member.Refusal { return "" }
func (m *Members) Keeps(member.ID, netip.Addr) bool                         { return true }
func (m *Members) KnowsAddress(netip.Addr) bool                             { return true }

// Idle returns a mesh of these members, with the given sections in its
// heartbeats. Its links are those that the test adds.
func Idle(t testing.TB, members *Members, clk clock.Clock, sections func(m *mesh.Mesh) []mesh.Section) *mesh.Mesh {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return mesh.New(ctx, config(members, clk, sections))
}

func config(members *Members, clk clock.Clock, sections func(m *mesh.Mesh) []mesh.Section) mesh.Config {
	counters := new(metric.Set)
	return mesh.Config{
		Self:    peer.Identity{Cluster: "test", Name: members.Self.Name, Boot: members.Self.Boot, Role: string(member.RoleNode), Wire: member.Wire, OldestWire: member.WireOldest},
		Params:  func() string { return Params.String() },
		Dial:    func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is connected to") },
		Members: members, Sections: sections, Clock: clk, HostAhead: func() time.Duration { return 0 }, Log: slog.New(slog.DiscardHandler), Pulse: new(wait.Pulse),
		Go: func(f func()) { go f() }, Counters: counters, NodeCounters: counters,
	}
}

// Network joins the meshes of one test by pipes. Its zero value is empty.
type Network struct {
	// Dialled, if set, is what a connection that a member makes to an address
	// is to it, which may be an error.
	Dialled func(by, address string, c net.Conn) (net.Conn, error)

	mu    sync.Mutex               // guards ports
	ports map[string]chan net.Conn // by the peer addresses of their members
}

// port returns the peer port at an address, which need not be open yet.
func (n *Network) port(address string) chan net.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports = make(map[string]chan net.Conn)
	}
	if n.ports[address] == nil {
		n.ports[address] = make(chan net.Conn)
	}
	return n.ports[address]
}

func (n *Network) dial(ctx context.Context, by, address string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case n.port(address) <- there:
		if n.Dialled != nil {
			return n.Dialled(by, address, here)
		}
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Live returns a mesh of these members that takes connections as
// [membertest.Up] tells of it, and makes them when it is told by Sync. What
// others ask goes to handler. It ends with the test.
func (n *Network) Live(t testing.TB, members *Members, clk clock.Clock, sections func(m *mesh.Mesh) []mesh.Section, handler peer.Handler) *mesh.Mesh {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	cfg := config(members, clk, sections)
	cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		return n.dial(ctx, members.Self.Name, address)
	}
	cfg.Handler, cfg.Go = handler, func(f func()) { group.Go(f) }
	m := mesh.New(ctx, cfg)
	group.Go(func() { m.Accept(ctx, &port{n.port(membertest.Up(members.Self.Name, 1).Peer), ctx}) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return m
}

// port implements net.Listener. It closes with its context.
type port struct {
	conns <-chan net.Conn
	ctx   context.Context
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error   { return nil }
func (p *port) Addr() net.Addr { return nil }

// Eventually polls until ok, and fails with what it last said.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not within 15 s: %s", what)
	}
}

// Forgetful is a connection that a firewall may forget: what is written to it
// is lost then, without an error.
type Forgetful struct {
	net.Conn
	Forgot atomic.Bool
}

func (f *Forgetful) Write(b []byte) (int, error) {
	if f.Forgot.Load() {
		return len(b), nil
	}
	return f.Conn.Write(b)
}
